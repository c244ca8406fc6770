"""Sound files: reading one as a stream of frames, and writing frames to one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler

from voxrx.audio.rates import SAMPLE_RATES_HZ, Resampler, checked_frame_ms, checked_rate, rates, samples_in
from voxrx.clock import SystemClock
from voxrx.errors import AudioFileError, MissingExtraError
from voxrx.records.frame import AudioFrame

if TYPE_CHECKING:
    import numpy as np
    import soundfile
    from numpy.typing import NDArray

__all__ = ("AudioFile", "WavWriter", "audio_file", "wav_writer")

_BLOCK_SECONDS = 1.0


def audio_file(
    path: str | os.PathLike[str], *, realtime: bool = True, sample_rate: int = 16_000, frame_ms: float = 20
) -> AudioFile:
    """Return the sound of a file as a cold observable of frames; see `AudioFile`.

    Parameters
    ----------
    path : str or path-like
        A file in any format that libsndfile reads: WAV, FLAC, OGG, MP3, AIFF and others.
    realtime : bool
        True: frames come when a microphone would have delivered them. False: as fast as the subscriber takes them.
    sample_rate : int [Hz, 1,000 to 768,000]
        What frames have; a file of another rate is converted.
    frame_ms : number [ms, at most 10,000]
        Length of a frame; rounded to whole samples.

    Raises
    ------
    AudioFormatError
        If ``sample_rate`` or ``frame_ms`` cannot be. What is wrong with the file goes to the subscriber instead.
    """
    return AudioFile(path, realtime=realtime, sample_rate=sample_rate, frame_ms=frame_ms)


class AudioFile(Observable[AudioFrame]):
    """The sound of a file, as frames of equal length.

    Mono (channels are averaged), at one sample rate, the last frame filled up with zeros; `AudioFrame.index` counts
    from 0. Samples that are not finite become 0, others are limited to [-1, 1]. The file is opened on subscribing, read
    in blocks of a second, and closed on completion, error and dispose. Each subscription reads the file anew.

    With ``realtime=True`` frames come on the thread of the scheduler that was given to `subscribe`, else on a timer
    thread of its own; nothing blocks. With ``realtime=False`` `subscribe` emits everything before it returns, on its
    caller's thread, whatever scheduler it was given.

    Errors, all of them to the subscriber: `AudioFileError` if the file is missing, empty, broken, or no sound file,
    `MissingExtraError` if soundfile or soxr are not installed.

    Attributes
    ----------
    path : pathlib.Path
    realtime : bool
    sample_rate : int [Hz]
    frame_ms : float [ms]
    """

    def __init__(
        self, path: str | os.PathLike[str], *, realtime: bool = True, sample_rate: int = 16_000, frame_ms: float = 20
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self.realtime = realtime
        self.sample_rate = checked_rate(sample_rate)
        self.frame_ms = checked_frame_ms(frame_ms, sample_rate)

    def paced(self, scheduler: abc.SchedulerBase) -> Observable[AudioFrame]:
        """Return the frames, each on ``scheduler`` when its last sample would have been captured.

        Frame ``i`` comes ``(i + 1) * frame_ms`` after subscribing, by the scheduler's own time. Each is scheduled
        absolutely, so that delays do not add up: what comes late is caught up. Completion comes with the last frame.
        """

        def subscribe(observer: abc.ObserverBase[AudioFrame], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            return self._subscribe_paced(observer, scheduler)

        return Observable(subscribe)

    def _subscribe_core(
        self, observer: abc.ObserverBase[AudioFrame], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        if not self.realtime:
            return self._subscribe_unpaced(observer)
        if scheduler is not None:
            return self._subscribe_paced(observer, scheduler)
        return self._subscribe_paced(observer, SystemClock().scheduler)

    def _subscribe_unpaced(self, observer: abc.ObserverBase[AudioFrame]) -> abc.DisposableBase:
        reader = self._opened(observer)
        if reader is None:
            return Disposable()

        def emit_all(_: abc.SchedulerBase, __: object = None) -> abc.DisposableBase | None:
            with reader:
                while (frame := _next_frame(reader, observer)) is not None:
                    observer.on_next(frame)
            return None

        # On the trampoline of the subscribing thread the frames come once the whole pipeline is subscribed, so that an
        # operator which has enough (`take`) can stop the reading.
        return CompositeDisposable(CurrentThreadScheduler.singleton().schedule(emit_all), Disposable(reader.close))

    def _subscribe_paced(
        self, observer: abc.ObserverBase[AudioFrame], scheduler: abc.SchedulerBase
    ) -> abc.DisposableBase:
        reader = self._opened(observer)
        if reader is None:
            return Disposable()
        started = scheduler.now
        timer = SerialDisposable()
        disposable = CompositeDisposable(timer, Disposable(reader.close))
        first = _next_frame(reader, observer)

        def schedule(frame: AudioFrame) -> None:
            def emit(_: abc.SchedulerBase, __: object = None) -> abc.DisposableBase | None:
                following = _emitted(reader, observer, frame)
                if following is not None and not disposable.is_disposed:
                    schedule(following)
                return None

            timer.disposable = scheduler.schedule_absolute(_captured(started, frame), emit)

        if first is not None:
            schedule(first)
        return disposable

    def _opened(self, observer: abc.ObserverBase[AudioFrame]) -> _Reader | None:
        try:
            return _Reader(self.path, self.sample_rate, samples_in(self.frame_ms, self.sample_rate))
        except (AudioFileError, MissingExtraError) as error:
            observer.on_error(error)
            return None

    def __repr__(self) -> str:
        return f"AudioFile({str(self.path)!r}, realtime={self.realtime}, sample_rate={self.sample_rate})"


def _emitted(reader: _Reader, observer: abc.ObserverBase[AudioFrame], frame: AudioFrame) -> AudioFrame | None:
    """Emit ``frame`` and return the one after it; a subscriber that raises ends the subscription."""
    try:
        observer.on_next(frame)
    except BaseException:
        reader.close()
        raise
    return _next_frame(reader, observer)


def _next_frame(reader: _Reader, observer: abc.ObserverBase[AudioFrame]) -> AudioFrame | None:
    """Return the next frame; None after completing, failing or closing."""
    try:
        frame = reader.read()
    except (AudioFileError, MissingExtraError) as error:
        reader.close()
        observer.on_error(error)
        return None
    if frame is None and not reader.closed:
        reader.close()
        observer.on_completed()
    return frame


def _captured(started: datetime, frame: AudioFrame) -> datetime:
    return started + timedelta(seconds=frame.end / frame.sample_rate)


class _Reader:
    """An open file that gives frames; `close` may come from another thread, in the middle of a `read`."""

    def __init__(self, path: Path, sample_rate: int, frame_samples: int) -> None:
        self._path = path
        self._lock = threading.Lock()  # libsndfile crashes when a file is closed while it is read
        self._file = _opened_file(path)
        self.closed = False
        self._frames = self._all_frames(sample_rate, frame_samples)

    def read(self) -> AudioFrame | None:
        """Return the next frame; None at the end, or after `close`."""
        return next(self._frames, None)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            self._file.close()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _all_frames(self, sample_rate: int, size: int) -> Iterator[AudioFrame]:
        import numpy as np

        index = 0
        rest = np.empty(0, np.float32)
        for block in self._blocks(sample_rate):
            samples = np.concatenate((rest, block))
            samples.flags.writeable = False  # frames are views of the block: made read-only once, copied never
            whole = len(samples) - len(samples) % size
            for begin in range(0, whole, size):
                if self.closed:
                    return
                yield AudioFrame(samples[begin : begin + size], sample_rate, index)
                index += size
            rest = samples[whole:]
        if len(rest) and not self.closed:
            last = np.concatenate((rest, np.zeros(size - len(rest), np.float32)))
            last.flags.writeable = False
            yield AudioFrame(last, sample_rate, index)

    def _blocks(self, sample_rate: int) -> Iterator[NDArray[np.float32]]:
        import numpy as np

        resampler = Resampler(self._file.samplerate, sample_rate)
        size = max(1, int(self._file.samplerate * _BLOCK_SECONDS))
        while (block := self._read_block(size)) is not None:
            if not np.isfinite(block).all():
                block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
            mono = np.clip(block, -1.0, 1.0).mean(axis=1, dtype=np.float32)
            yield np.clip(resampler.convert(mono), -1.0, 1.0)  # a resampled step overshoots
        yield np.clip(resampler.finish(), -1.0, 1.0)

    def _read_block(self, size: int) -> NDArray[np.float32] | None:
        with self._lock:
            if self.closed:
                return None
            try:
                block: NDArray[Any] = self._file.read(size, dtype="float32", always_2d=True)
            except (RuntimeError, OSError) as error:
                raise AudioFileError(
                    f"{self._path}: cannot be read further ({_reason(error)}); the file is broken here, convert or "
                    "record it again"
                ) from error
        return block if len(block) else None


def _opened_file(path: Path) -> soundfile.SoundFile:
    sound_files = _soundfile("reading sound files")
    if not path.exists():
        raise AudioFileError(f"{path}: there is no such file; the path is looked up from {Path.cwd()}")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "not a regular file"
        raise AudioFileError(f"{path}: is {kind}; give the path of a sound file")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{path}: the file is empty (0 bytes); record or copy it again")
    try:
        file = sound_files.SoundFile(str(path))
    except PermissionError as error:
        raise AudioFileError(f"{path}: {error.strerror}") from error
    except TypeError as error:  # what soundfile says to .raw, which has no header to tell the format
        raise AudioFileError(
            f"{path}: raw samples do not tell their format; give a file with a header, such as WAV"
        ) from error
    except (RuntimeError, OSError) as error:
        reason = "not readable" if not os.access(path, os.R_OK) else _reason(error)
        raise AudioFileError(
            f"{path}: cannot be opened as a sound file ({reason}); it is broken or of another kind: WAV, FLAC, OGG, "
            "MP3 and AIFF can be read"
        ) from error
    problem = None
    if file.samplerate not in SAMPLE_RATES_HZ:
        problem = f"its header says {file.samplerate} Hz, {rates()} can be read; correct the header"
    elif file.frames == 0:
        problem = "it has a header but no samples; record it again"
    if problem is not None:
        file.close()
        raise AudioFileError(f"{path}: {problem}")
    return file


def wav_writer(path: str | os.PathLike[str], *, sample_rate: int | None = None) -> WavWriter:
    """Return an observer that writes the frames it gets to a WAV file; see `WavWriter`.

    Parameters
    ----------
    path : str or path-like
        An existing file is replaced, when the first frame comes.
    sample_rate : int [Hz, 1,000 to 768,000] or None
        The file's rate; None: that of the first frame.

    Raises
    ------
    AudioFormatError
        If ``sample_rate`` cannot be.
    """
    return WavWriter(path, sample_rate=sample_rate)


class WavWriter(abc.ObserverBase[AudioFrame]):
    """Writes frames to a mono WAV file of 16-bit samples, one after the other, whatever their index.

    Frames of another rate are converted. What is beyond full scale is limited to it; samples that are not finite
    become 0. The file is made by the first frame, or, if none came and ``sample_rate`` was given, empty on closing.
    Completion, error and `close` finish it; frames after that are ignored. Writing blocks the thread that delivers;
    `close` may come from any, and twice.

    `on_next` and `close` raise `AudioFileError` if the file cannot be written, and `MissingExtraError` if soundfile or
    soxr are missing.

    Attributes
    ----------
    path : pathlib.Path
    sample_rate : int or None [Hz]
        None until the first frame, if none was given.
    """

    def __init__(self, path: str | os.PathLike[str], *, sample_rate: int | None = None) -> None:
        self.path = Path(path)
        self.sample_rate = None if sample_rate is None else checked_rate(sample_rate)
        self._lock = threading.RLock()
        self._file: soundfile.SoundFile | None = None
        self._resampler: Resampler | None = None
        self._rate_in = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the file is finished."""
        return self._closed

    def on_next(self, value: AudioFrame) -> None:
        """Write a frame."""
        with self._lock:
            if self._closed:
                return
            file = self._file or self._created(self.sample_rate or value.sample_rate)
            if value.sample_rate != self._rate_in or self._resampler is None:
                self._write_rest(file)
                self._rate_in = value.sample_rate
                self._resampler = Resampler(value.sample_rate, file.samplerate)
            self._write(file, self._resampler.convert(value.samples))

    def on_error(self, error: Exception) -> None:
        """Close the file with what has come."""
        self.close()

    def on_completed(self) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Write what a rate conversion held back, and close the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._file is None and self.sample_rate is not None:
                self._created(self.sample_rate)
            if (file := self._file) is not None:
                try:
                    self._write_rest(file)
                finally:
                    with self._reported():
                        file.close()

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"WavWriter({str(self.path)!r}, sample_rate={self.sample_rate})"

    def _created(self, sample_rate: int) -> soundfile.SoundFile:
        sound_files = _soundfile("writing sound files")
        with self._reported():
            file: soundfile.SoundFile = sound_files.SoundFile(
                str(self.path), "w", samplerate=sample_rate, channels=1, format="WAV", subtype="PCM_16"
            )
        self._file = file
        self.sample_rate = sample_rate
        return file

    def _write_rest(self, file: soundfile.SoundFile) -> None:
        if self._resampler is not None:
            self._write(file, self._resampler.finish())

    def _write(self, file: soundfile.SoundFile, samples: NDArray[np.float32]) -> None:
        import numpy as np

        if len(samples):
            # Scaled here, since libsndfile scales by 32,767: 16-bit samples come back as they were read.
            finite = np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)
            with self._reported():
                file.write(np.clip(np.rint(finite * 32_768.0), -32_768, 32_767).astype(np.int16))

    @contextlib.contextmanager
    def _reported(self) -> Generator[None, None, None]:
        try:
            yield
        except (RuntimeError, OSError) as error:
            raise AudioFileError(
                f"{self.path}: cannot be written ({_reason(error)}); the folder must exist, be writable, and have room"
            ) from error


def _reason(error: BaseException) -> str:
    text: Any = getattr(error, "error_string", None) or error
    return str(text).strip().rstrip(".")


def _soundfile(purpose: str) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, but not libsndfile
        raise MissingExtraError.of("soundfile", extra="audio", purpose=purpose) from error
    return soundfile
