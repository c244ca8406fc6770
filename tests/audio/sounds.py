"""Sound made up for tests, at exact levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxrx.records.frame import AudioFrame

Sound = NDArray[np.float32]


def silence(seconds: float, rate: int = 16_000) -> Sound:
    return np.zeros(round(seconds * rate), np.float32)


def sine(seconds: float, *, hz: float = 1000.0, amplitude: float = 1.0, rate: int = 16_000) -> Sound:
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seconds: float, db: float, *, rate: int = 16_000, seed: int = 1) -> Sound:
    """White noise of exactly `db` dBFS."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (samples * 10 ** (db / 20) / np.sqrt(np.mean(samples**2))).astype(np.float32)


def speech(seconds: float, db: float = -20.0, *, rate: int = 16_000) -> Sound:
    """Four syllables per second: harmonics of a gliding 120 Hz voice under three formants; exactly `db` dBFS."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120.0 + 15.0 * np.sin(2 * np.pi * 0.7 * t)) / rate
    shift = 1.0 + 0.3 * np.sin(2 * np.pi * 2.0 * t)
    voice = np.zeros(len(t))
    for harmonic in range(1, 30):
        hz = 120.0 * harmonic
        if hz * 1.2 < rate / 2:
            formants = ((600.0, 1.0), (1500.0, 0.4), (2600.0, 0.2))
            gain = sum(g * np.exp(-(((hz - f * shift) / 250.0) ** 2)) for f, g in formants) + 0.01
            voice += gain * np.sin(harmonic * phase)
    syllables = np.abs(np.sin(2 * np.pi * 2.0 * t + 0.3)) ** 1.5 + 0.003
    samples = voice * syllables
    return (samples * 10 ** (db / 20) / np.sqrt(np.mean(samples**2))).astype(np.float32)


def joined(*parts: Sound) -> Sound:
    return np.concatenate(parts)


def frames_of(samples: Sound, *, size: int = 320, rate: int = 16_000, index: int = 0) -> list[AudioFrame]:
    """The sound in frames of `size` samples; the last one may be shorter."""
    return [AudioFrame(samples[begin : begin + size], rate, index + begin) for begin in range(0, len(samples), size)]
