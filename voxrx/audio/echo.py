"""What is done about the microphone hearing the speaker.

::

    played: what goes to the speaker ──► EchoControl
    heard:  the microphone's frames  ──► EchoControl ──► frames without the speaker's sound
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from voxrx.audio.detectors import BandDetector
from voxrx.audio.levels import energy_of
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError, MissingExtraError
from voxrx.records.frame import AudioFrame

if TYPE_CHECKING:
    import soxr
    from livekit import rtc

__all__ = ("EchoCanceller", "EchoChoice", "EchoControl", "HalfDuplex", "Headphones", "echo_control")

Samples: TypeAlias = NDArray[np.float32]

EchoChoice: TypeAlias = Literal["auto", "headphones", "half_duplex", "cancel"]
"""What can be done about the echo, by name; see `echo_control`."""


class EchoControl(Protocol):
    """Takes the speaker's sound out of the microphone's. Everything is called on one thread, and nothing blocks.

    Attributes
    ----------
    latency_ms : float >= 0 [ms]
        From handing sound to the speaker's device until the microphone's device delivers it: output and input latency
        together. May be set at any time.
    """

    latency_ms: float

    def played(self, frame: AudioFrame) -> None:
        """Take sound that has just been handed to the speaker's device; any rate and length."""
        ...

    def heard(self, frame: AudioFrame) -> AudioFrame:
        """Take the microphone's next frame; return one of the same length, rate and index without the speaker."""
        ...


class Headphones:
    """Does nothing: the microphone does not hear the speaker."""

    def __init__(self) -> None:
        self.latency_ms = 0.0

    def played(self, frame: AudioFrame) -> None:
        """Take what was played."""

    def heard(self, frame: AudioFrame) -> AudioFrame:
        """Return ``frame``."""
        return frame


class HalfDuplex:
    """Silences the microphone while the speaker plays: nobody can interrupt, and nothing interrupts itself.

    Frames are exact zeros from the first `played` until ``tail_ms`` and `latency_ms` after what was played has ended,
    by the clock; a frame that comes right at the end of that time passes.

    Parameters
    ----------
    clock : Clock
    tail_ms : float >= 0 [ms]
        How long the room goes on sounding.

    Attributes
    ----------
    latency_ms : float [ms]
    """

    def __init__(self, clock: Clock, *, tail_ms: float = 250) -> None:
        if not 0 <= tail_ms < math.inf:
            raise AudioFormatError(f"tail_ms: expected a number of at least 0, got {tail_ms!r}")
        self.latency_ms = 0.0
        self._clock = clock
        self._tail_ms = tail_ms
        self._ends: datetime | None = None  # when what was handed over has been played

    def played(self, frame: AudioFrame) -> None:
        """Silence the microphone for the length of ``frame`` and the tail."""
        now = self._clock.now()
        begins = now if self._ends is None else max(self._ends, now)
        self._ends = begins + timedelta(milliseconds=frame.duration_ms)

    def heard(self, frame: AudioFrame) -> AudioFrame:
        """Return ``frame``, or zeros while the speaker plays."""
        if self._ends is None:
            return frame
        if self._clock.now() < self._ends + timedelta(milliseconds=self._tail_ms + self.latency_ms):
            return frame.silenced()
        self._ends = None
        return frame


_RATE = 16_000
_BLOCK = 160  # 10 ms, as the canceller takes them
_HOP = 320  # 20 ms, as `BandDetector` takes them
_AUDIBLE = 1e-7  # -70 dBFS
_LOUD = 1e-5  # -50 dBFS


class EchoCanceller:
    """Subtracts what the speaker plays from what the microphone hears, so that users can interrupt.

    WebRTC's canceller does the subtracting (the package ``livekit``), without noise suppression and gain control. It
    needs a moment to learn the room, leaks when the delay changes, and hears an echo in everything until it has
    learned that there is none. So what it returns passes only where that is safe:

    - While the speaker is silent, the microphone's sound passes as it is.
    - When the microphone does not hear the speaker (headphones, virtual devices), too, with 0.2 s after it, where it is
      louder than 40 dB below the answer; the rest is cleaned. This takes about `latency_ms` + 0.6 s of the first
      answer to be known. When headphones are taken off, it takes some seconds to be noticed.
    - Else only what is louder than the speaker has been in the microphone passes, cleaned, with 0.2 s after it; the
      rest is exact zeros. Until it is known how loud that is, which takes 0.3 s of speech of the first answer, nothing
      passes.

    Sound at other rates than 16 kHz is converted, which delays the microphone's by up to 60 ms; at 16 kHz, frames whose
    length is no multiple of 10 ms are delayed by up to 10 ms, others not at all. Samples that are not finite become 0.

    Parameters
    ----------
    latency_ms : float >= 0 [ms]

    Attributes
    ----------
    latency_ms : float [ms]
        Where the echo is looked for first, up to 0.3 s later than that. A change of 20 ms or more begins the learning
        anew.

    Raises
    ------
    MissingExtraError
        If livekit is not installed; from `played` and `heard` if soxr is missing and a rate has to be converted.
    """

    def __init__(self, *, latency_ms: float = 0.0) -> None:
        self.latency_ms = latency_ms
        self._module = _canceller(latency_ms)
        self._module_latency_ms = latency_ms
        self._reference = _Queue()
        self._reference_resampler: soxr.ResampleStream | None = None
        self._reference_rate = 0
        self._microphone = _Microphone(0)
        self._judge = _Judge(latency_ms)

    def played(self, frame: AudioFrame) -> None:
        """Keep ``frame`` as the reference for what is heard next."""
        rate = frame.sample_rate
        if rate != self._reference_rate:
            self._reference_rate = rate
            # Quick conversion is good enough for a reference, and has no delay: it must not come after its echo.
            self._reference_resampler = None if rate == _RATE else _resampler(rate, _RATE, quality="QQ")
        samples = _finite(frame.samples)
        if self._reference_resampler is not None:
            samples = self._reference_resampler.resample_chunk(samples)
        self._reference.put(samples)
        # What has waited for longer than the devices take has been heard already.
        longest_ms = frame.duration_ms + max(self.latency_ms, 20.0)
        self._reference.limit(round(longest_ms * _RATE / 1000))

    def heard(self, frame: AudioFrame) -> AudioFrame:
        """Return ``frame`` without what was played."""
        if abs(self.latency_ms - self._module_latency_ms) >= 20:
            self._module_latency_ms = self.latency_ms
            self._module = _canceller(self.latency_ms)
            self._judge = _Judge(self.latency_ms)
        if frame.sample_rate != self._microphone.rate:
            self._microphone = _Microphone(frame.sample_rate)
        microphone = self._microphone
        microphone.put(_finite(frame.samples))
        while (block := microphone.block()) is not None:
            microphone.put_back(self._cleaned(block))
        samples = microphone.take(len(frame))
        samples.flags.writeable = False
        return AudioFrame(samples, frame.sample_rate, frame.index)

    def _cleaned(self, block: Samples) -> Samples:
        reference = self._reference.take(_BLOCK)
        self._module.process_reverse_stream(_rtc_frame(reference))
        processed = _rtc_frame(block)
        self._module.process_stream(processed)
        cleaned = np.frombuffer(processed.data, np.int16) * np.float32(1 / 32_768)
        return self._judge.passed(reference, block, cleaned)


class _Judge:
    """Decides for each 10 ms what passes: the microphone's sound, the canceller's, or nothing.

    Two things are learned. `_unheard`: whether the microphone stays quiet when the speaker is loud, at every delay
    that can be; judged by the ear of `voice_activity`, so that an echo which is not noticed is one which does not
    interrupt. `_coupling_db`: how loud the echo gets, relative to the loudest that was played within the delays that
    can be, which holds whatever the delay is; the 95th percentile of where the canceller found mostly echo.
    """

    _REACH_MS = 300  # how much later than told, and how long, the echo may be
    _LEAST_HOPS = 8
    _MANY_HOPS = 50
    _LEAST_BLOCKS = 30
    _MOSTLY_ECHO = 1 / 16  # what is left by the canceller: -12 dB
    _MARGIN_DB = 2.0
    _FAINT = 1e-4  # -40 dB: an echo that is missed because it is softer than the noise most of the time
    _HOLD_BLOCKS = 20

    def __init__(self, latency_ms: float) -> None:
        hops = round((latency_ms + self._REACH_MS) / 20) + 2
        self._powers: deque[float] = deque([0.0] * (2 * hops), maxlen=2 * hops)
        self._was_loud = np.zeros(hops, bool)
        self._loud = np.zeros(hops)
        self._heard = np.zeros(hops)
        self._peak = 0.0
        self._unheard = False
        self._detector = BandDetector(_RATE)
        self._half: tuple[float, Samples] | None = None
        self._coupling_db = 0.0
        self._learned = 0
        self._before = 0.0
        self._open_for = 0

    def passed(self, reference: Samples, block: Samples, cleaned: Samples) -> Samples:
        """Return what passes of 10 ms: of `block`, from the microphone, or of `cleaned`, from the canceller."""
        power = energy_of(reference) / _BLOCK
        self._powers.append(power)
        self._hear(power, block)
        loudest = max(self._powers)
        if loudest < _AUDIBLE:
            self._open_for = 0
            return block
        heard, left, before = energy_of(block) / _BLOCK, energy_of(cleaned) / _BLOCK, self._before
        self._before = left
        self._learn_coupling(heard, left, loudest)
        if self._unheard:
            is_user, passes, otherwise = heard > loudest * self._FAINT, block, cleaned
        else:
            is_user, passes, otherwise = self._is_louder(min(before, left), loudest), cleaned, _silence(_BLOCK)
        if is_user:
            self._open_for = self._HOLD_BLOCKS
        elif self._open_for:
            self._open_for -= 1
        return passes if self._open_for else otherwise

    def _is_louder(self, left: float, loudest: float) -> bool:
        """Return whether more is left than the speaker alone would leave, were nothing of it cancelled."""
        limit_db = self._coupling_db + self._MARGIN_DB
        return self._learned >= self._LEAST_BLOCKS and left > loudest * 10 ** (limit_db / 10)

    def _learn_coupling(self, power: float, left: float, loudest: float) -> None:
        if power < 1e-9 or left > power * self._MOSTLY_ECHO:
            return
        coupling_db = 10 * math.log10(power / loudest)
        if self._learned < self._LEAST_BLOCKS:
            self._coupling_db = max(self._coupling_db, coupling_db) if self._learned else coupling_db
        else:
            self._coupling_db += 0.19 if coupling_db > self._coupling_db else -0.01  # in balance at the 95th percentile
        self._learned += 1

    def _hear(self, power: float, block: Samples) -> None:
        """Learn from each second block, with the one before, whether the speaker is heard."""
        if self._half is None:
            self._half = power, block
            return
        first_power, first = self._half
        self._half = None
        power = max(power, first_power)
        self._peak = max(power, self._peak * 0.995)
        self._was_loud[1:] = self._was_loud[:-1]
        self._was_loud[0] = power > max(_LOUD, self._peak / 10)
        scores = self._detector.scores(np.concatenate((first, block)))
        if not scores or not self._was_loud.any():
            return
        self._loud = self._loud * 0.99 + self._was_loud
        self._heard = self._heard * 0.99 + self._was_loud * (scores[-1] >= 0.35)
        if self._loud.min() < self._LEAST_HOPS:
            return
        share = float((self._heard / self._loud).max())
        if share < 0.3:
            self._unheard = True
        elif share > 0.9 and self._loud.max() > self._MANY_HOPS:  # users speak over an answer, too, but not as long
            self._unheard = False


class _Queue:
    """Samples that wait."""

    def __init__(self) -> None:
        self._samples = _silence(0)

    def __len__(self) -> int:
        return len(self._samples)

    def put(self, samples: Samples) -> None:
        self._samples = np.concatenate((self._samples, samples)) if len(self._samples) else samples

    def limit(self, count: int) -> None:
        """Forget the oldest beyond ``count``."""
        self._samples = self._samples[max(0, len(self._samples) - count) :]

    def take(self, count: int) -> Samples:
        """Return the oldest ``count``, with zeros after them if there are fewer."""
        taken, self._samples = self._samples[:count], self._samples[count:]
        return taken if len(taken) == count else np.concatenate((taken, _silence(count - len(taken))))


class _Microphone:
    """The microphone's samples, of one rate, on their way through the canceller's blocks."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._to_canceller: soxr.ResampleStream | None = None
        self._from_canceller: soxr.ResampleStream | None = None
        if rate not in (0, _RATE):
            self._to_canceller = _resampler(rate, _RATE)
            self._from_canceller = _resampler(_RATE, rate)
        self._in = _Queue()
        self._out = _Queue()

    def put(self, samples: Samples) -> None:
        self._in.put(samples if self._to_canceller is None else self._to_canceller.resample_chunk(samples))

    def block(self) -> Samples | None:
        return self._in.take(_BLOCK) if len(self._in) >= _BLOCK else None

    def put_back(self, block: Samples) -> None:
        self._out.put(block if self._from_canceller is None else self._from_canceller.resample_chunk(block))

    def take(self, count: int) -> Samples:
        """Return ``count`` samples; what is missing comes before them, as zeros, and delays all that follows."""
        missing = max(0, count - len(self._out))
        ready = self._out.take(count - missing)
        return np.concatenate((_silence(missing), ready)) if missing else ready


def echo_control(choice: EchoChoice | EchoControl, *, clock: Clock) -> EchoControl:
    """Return what deals with the echo.

    Parameters
    ----------
    choice : str or EchoControl
        ``"headphones"``: `Headphones`. ``"half_duplex"``: `HalfDuplex`. ``"cancel"``: `EchoCanceller`. ``"auto"``:
        `EchoCanceller` if the package for it is installed, else `HalfDuplex`. An `EchoControl` is returned as it is.
    clock : Clock

    Raises
    ------
    AudioFormatError
        If ``choice`` is none of these.
    MissingExtraError
        If ``choice`` is ``"cancel"`` and livekit is not installed.
    """
    if choice == "auto":
        try:
            return EchoCanceller()
        except MissingExtraError:
            return HalfDuplex(clock)
    if choice == "headphones":
        return Headphones()
    if choice == "half_duplex":
        return HalfDuplex(clock)
    if choice == "cancel":
        return EchoCanceller()
    if not isinstance(choice, str) and callable(getattr(choice, "heard", None)):
        return choice
    names = ", ".join(repr(name) for name in get_args(EchoChoice))
    raise AudioFormatError(f"echo control: expected {names}, or an EchoControl, got {choice!r}")


def _canceller(latency_ms: float) -> rtc.AudioProcessingModule:
    try:
        from livekit import rtc
    except ImportError as error:
        raise MissingExtraError.of("livekit", extra="echo", purpose="cancelling the speaker's echo") from error
    module = rtc.AudioProcessingModule(echo_cancellation=True)
    module.set_stream_delay_ms(round(latency_ms))
    return module


def _rtc_frame(block: Samples) -> rtc.AudioFrame:
    from livekit import rtc

    data = np.rint(np.clip(block, -1.0, 1.0) * 32_767).astype(np.int16)
    return rtc.AudioFrame(bytearray(data), _RATE, 1, _BLOCK)


def _resampler(from_rate: int, to_rate: int, *, quality: str = "HQ") -> soxr.ResampleStream:
    try:
        import soxr
    except ImportError as error:
        raise MissingExtraError.of("soxr", extra="echo", purpose="converting sample rates") from error
    return soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=quality)


def _finite(samples: Samples) -> Samples:
    return samples if np.isfinite(samples).all() else np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


def _silence(count: int) -> Samples:
    samples = np.zeros(count, np.float32)
    samples.flags.writeable = False
    return samples
