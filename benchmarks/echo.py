"""The echo of an answer, and what it costs to take it out: ``python -m benchmarks.echo [--quick]``.

The answer is recorded speech, its echo that of a room which sounds for 50 ms, and the noise that of a quiet room.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from reactivex import from_iterable
from reactivex import operators as rx

from benchmarks.measure import Row, per_call
from voxrx import AudioFrame, demo
from voxrx.audio import EchoCanceller, audio_file, level_db, voice_activity
from voxrx.clock import VirtualClock
from voxrx.records.signals import SpeechStarted

RATE = 16_000
FRAME = 320
BEGIN = 2 * RATE  # where the answer begins

Sound = NDArray[np.float32]


def rows(*, quick: bool) -> Iterator[Row]:
    """Measure, and yield the lines of the result."""
    question = np.concatenate(
        [f.samples for f in audio_file(demo.questions(), realtime=False).pipe(rx.to_list()).run()]
    )
    word = question[round(22.35 * RATE) : round(24.0 * RATE)]
    answer = np.concatenate([np.zeros(BEGIN), np.resize(question[round(34.0 * RATE) : round(35.2 * RATE)], 8 * RATE)])
    answer = answer.astype(np.float32)
    noise = (np.random.default_rng(1).standard_normal(len(answer)) * 10 ** (-65 / 20)).astype(np.float32)

    for delay_ms in (100,) if quick else (40, 100, 200, 300):
        for echo_db in (-10,) if quick else (-6, -20):
            microphone = noise + _echo(answer, echo_db, delay_ms)
            left = _talked_through(answer, microphone, delay_ms)
            erle = [
                f"{min(99.0, level_db(microphone[at : at + RATE]) - level_db(left[at : at + RATE])):.0f}"
                for at in (BEGIN, BEGIN + RATE, BEGIN + 4 * RATE)
            ]
            yield Row(
                f"echo of {echo_db} dB after {delay_ms} ms: taken out in second 1, 2, 5",
                f"{', '.join(erle)} dB; {len(_onsets(left))} false begins of speech",
                "0 begins",
                "",
            )

    for name, echo_db, limit in (("no echo", None, "60 ms"), ("echo of -10 dB", -10, "200 ms")):
        for at_s in (2,) if quick else (1, 2, 5):
            user = noise.copy()
            begin = BEGIN + at_s * RATE
            user[begin : begin + len(word)] += word
            microphone = user if echo_db is None else user + _echo(answer, echo_db, 100)
            found = _onsets(_talked_through(answer, microphone, 100))
            later = f"{(found[0] - _onsets(user)[0]) / RATE * 1000:.0f} ms later" if found else "not found"
            yield Row(f"{name}: a user who speaks {at_s} s into the answer", later, limit, "")

    control = EchoCanceller(latency_ms=100)
    frame = AudioFrame(answer[-FRAME:].copy(), RATE)

    def hear() -> None:
        control.played(frame)
        control.heard(frame)

    yield Row("one 20 ms frame, played and heard", f"{per_call(hear, 50, 3 if quick else 20):.0f} us", "", "")


def _echo(played: Sound, db: float, delay_ms: int) -> Sound:
    response = np.random.default_rng(0).standard_normal(800) * np.exp(-np.arange(800) / 116)
    response *= 10 ** (db / 20) / np.sqrt(np.sum(response**2))
    delayed = np.concatenate([np.zeros(delay_ms * RATE // 1000), np.convolve(played, response)])
    return delayed[: len(played)].astype(np.float32)


def _talked_through(played: Sound, microphone: Sound, latency_ms: int) -> Sound:
    control = EchoCanceller(latency_ms=latency_ms)
    out: list[Sound] = []
    for at in range(0, len(microphone), FRAME):
        if at >= BEGIN:
            control.played(AudioFrame(played[at : at + FRAME], RATE, at))
        out.append(control.heard(AudioFrame(microphone[at : at + FRAME], RATE, at)).samples)
    return np.concatenate(out)


def _onsets(sound: Sound) -> list[int]:
    frames = [AudioFrame(sound[at : at + FRAME], RATE, at) for at in range(0, len(sound), FRAME)]
    signals = from_iterable(frames).pipe(voice_activity(clock=VirtualClock()), rx.to_list()).run()
    return [signal.sample for signal in signals if isinstance(signal, SpeechStarted)]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.echo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases only")
    for row in rows(quick=parser.parse_args().quick):
        print(f"{row.name:<66} {row.value}{f'   must {row.must}' if row.must else ''}", flush=True)


if __name__ == "__main__":
    main()
