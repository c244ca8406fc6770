"""Makes the spoken questions that ``voxrx demo`` plays to the assistant: one user's side of a conversation.

    python scripts/make_demo_speech.py            # writes voxrx/demo/questions.flac and questions.json
    python scripts/make_demo_speech.py --check    # and prints what the local provider hears in them

Needs the program ``flite`` (apt install flite) and voxrx[audio,local]. The result is committed, so that nobody else
needs flite. The same flite, numpy and libsndfile make the same bytes.

Why flite: its voices are cut from recordings of people and are recognised well; espeak-ng's are not. Why a faint room
tone under everything: no microphone delivers exact zeros, and a level picture of zeros is a picture of -120 dBFS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / "voxrx" / "demo"
RATE = 16_000
VOICE = "rms"  # cmu_us_rms: a man, recorded at 16 kHz
STRETCH = 1.1  # a little slower than flite's own pace
SEED = 20_240_115

SPEECH_DB = -20.0  # RMS of what is spoken, without the pauses in it
ROOM_DB = -75.0  # a quiet room, all the time
NOISE_DB = -47.0  # pink noise, 27 dB below the speech, during some of the questions only
# It comes up under the first words: in a pause, any detector that adapts to noise takes its beginning for speech.
NOISE_LATE_S, NOISE_RISE_S, NOISE_AFTER_S, NOISE_FALL_S = 0.1, 0.5, 1.0, 2.0
TAIL_S = 3.0  # room for the last answer

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Something the user says, ``pause_s`` after the end of what they said before."""

    text: str
    pause_s: float
    remark: str = ""
    noise: Literal["", "comes", "goes"] = ""


# Pauses leave an assistant 0.7 s to begin, the answer at 165 words a minute, and most of a second to spare.
LINES = (
    Line("hello", 1.5),
    Line("what time is it", 4.9),
    Line("what can you do", 3.5, "has a long answer"),
    Line("stop", 2.8, "interrupts the answer before it, about 2 s after its first word"),
    Line("what is the weather today", 6.5, "after a longer pause; background noise comes up", noise="comes"),
    Line("what is seven plus eight", 4.7, "over background noise, which fades after it", noise="goes"),
    Line("tell me a joke", 3.7),
    Line("goodbye", 5.4),
)


def decibels(samples: Samples) -> float:
    """RMS level in dBFS."""
    return 20 * float(np.log10(max(1e-6, np.sqrt(np.mean(samples**2)))))


def spoken(text: str) -> Samples:
    """What flite says, cut to its first and last audible sample, at SPEECH_DB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        pace = f"duration_stretch={STRETCH}"
        subprocess.run(["flite", "-voice", VOICE, "--setf", pace, "-t", text, "-o", str(path)], check=True)
        samples, rate = soundfile.read(path)
    assert rate == RATE, f"flite spoke at {rate} Hz"

    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)  # 10 ms
    levels = np.array([decibels(frame) for frame in frames])
    audible = np.flatnonzero(levels > levels.max() - 40)
    voiced = frames[levels > levels.max() - 25]
    cut = samples[audible[0] * 160 : (audible[-1] + 1) * 160]
    return with_edges(cut, seconds=0.01) * 10 ** ((SPEECH_DB - decibels(voiced.ravel())) / 20)


def with_edges(samples: Samples, *, seconds: float) -> Samples:
    """The samples with a raised cosine at both ends."""
    count = round(seconds * RATE)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(count) / count)
    faded = samples.copy()
    faded[:count] *= ramp
    faded[-count:] *= ramp[::-1]
    return faded


def pink(count: int, level_db: float, random: np.random.Generator) -> Samples:
    """Noise with equal power in each octave above 40 Hz."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / RATE), 40.0))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise * 10 ** ((level_db - decibels(noise)) / 20)


def passing_noise(count: int, random: np.random.Generator) -> Samples:
    """Pink noise that comes and goes: ``count`` samples without its fall."""
    rise, total = round(NOISE_RISE_S * RATE), count + round(NOISE_FALL_S * RATE)
    level = np.interp(np.arange(total), [0, rise, count, total], [ROOM_DB, NOISE_DB, NOISE_DB, ROOM_DB])
    return pink(total, 0.0, random) * 10 ** (level / 20)


def compose() -> tuple[Samples, dict[str, Any]]:
    """The sound, and the record of what is in it."""
    random = np.random.default_rng(SEED)
    pieces: list[tuple[int, Samples]] = []
    utterances: list[dict[str, Any]] = []
    noises: list[dict[str, Any]] = []
    at = begin = 0
    for line in LINES:
        start = at + round(line.pause_s * 100) * RATE // 100
        speech = spoken(line.text)
        at = start + len(speech)
        pieces.append((start, speech))
        utterances.append({"text": line.text, "start_s": start / RATE, "end_s": at / RATE, "remark": line.remark})
        if line.noise == "comes":
            begin = start + round(NOISE_LATE_S * RATE)
        elif line.noise == "goes":
            noise = passing_noise(at + round(NOISE_AFTER_S * RATE) - begin, random)
            pieces.append((begin, noise))
            end = begin + len(noise)
            noises.append({"kind": "pink", "start_s": begin / RATE, "end_s": end / RATE, "level_db": NOISE_DB})

    sound = pink(at + round(TAIL_S * RATE), ROOM_DB, random)
    for start, piece in pieces:
        sound[start : start + len(piece)] += piece
    record: dict[str, Any] = {
        "file": "questions.flac",
        "sample_rate": RATE,
        "duration_s": len(sound) / RATE,
        "voice": f"flite {VOICE}",
        "speech_level_db": SPEECH_DB,
        "room_level_db": ROOM_DB,
        "utterances": utterances,
        "noises": noises,
    }
    return sound, record


def check(sound: Samples, record: dict[str, Any]) -> bool:
    """Print what the local provider's recogniser hears in each utterance, one after another as in a conversation."""
    from voxrx.providers.recognition import CommandRecogniser, decided
    from voxrx.providers.speech_process import Hearing

    recogniser = CommandRecogniser()
    hearing = Hearing(recogniser.grammar.jsgf, list(recogniser.grammar.words))
    right = True
    for utterance in record["utterances"]:
        # The moments before and after are those that a session hears, too.
        part = sound[round((utterance["start_s"] - 0.2) * RATE) : round((utterance["end_s"] + 0.6) * RATE)]
        hearing.begin()
        for chunk in np.array_split(part * 32768, len(part) // 320):
            hearing.hear(chunk.astype("<i2").tobytes())
        heard = hearing.end()
        grammar, language = heard["grammar"], heard["language"]
        result = decided(
            heard["frames"],
            grammar and tuple(grammar),
            language and tuple(language),
            grammar=recogniser.grammar,
            threshold=recogniser.threshold,
        )
        is_right = result.understood and result.text == utterance["text"]
        right = right and is_right
        print(f"{'right' if is_right else 'WRONG'}: {utterance['text']!r} heard as {result.text!r}")
    return right


def main() -> int:
    """Write both files and print what is in them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="print what the local provider hears in it")
    arguments = parser.parse_args()

    sound, record = compose()
    assert np.abs(sound).max() < 0.99, "the speech clips"
    path = FOLDER / record["file"]
    soundfile.write(path, sound, RATE, subtype="PCM_16")
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    written, _ = soundfile.read(path)
    print(
        f"{path.name}: {len(written) / RATE:.1f} s, {path.stat().st_size / 1000:.0f} kB, peak {abs(written).max():.2f}"
    )
    for utterance in record["utterances"]:
        start, end = utterance["start_s"], utterance["end_s"]
        level = decibels(written[round(start * RATE) : round(end * RATE)])
        remark = f"  ({utterance['remark']})" if utterance["remark"] else ""
        print(f"{start:6.2f} - {end:5.2f} s  {level:6.1f} dBFS  {utterance['text']!r}{remark}")
    return 0 if not arguments.check or check(written, record) else 1


if __name__ == "__main__":
    sys.exit(main())
