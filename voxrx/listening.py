"""Listening: from an input to the frames that are heard, and what there is to say about them.

::

    input ──► mute, echo ──► heard ──┬──► frames
                                     └──► voice_activity ──► signals
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import cast

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable
from reactivex.subject import Subject

from voxrx import audio
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError, DeviceError
from voxrx.records import AudioFrame
from voxrx.records.signals import ErrorReported, InputMuted, ListeningStarted, ListeningStopped, Signal

__all__ = ("Listening",)

OPEN_SECONDS = 15.0

_FRAMES_BEHIND = 50  # so many may wait for the engine's thread, before the microphone's own buffer fills


class Listening:
    """What an engine hears. Everything is called, and calls, on the engine's thread.

    Args:
        clock: Tells the time.
        scheduler: The clock's, on the engine's thread.
        here: Runs an action on the engine's thread.
        frame: Gets every frame as it is heard.
        signal: Gets what there is to say: that listening started and stopped, levels and speech, a device's trouble.
        voice_activity: What finds speech.
        report: Gets the name of what raised, and what it raised.

    Attributes:
        echo: What takes the speaker's sound out; None: nothing does.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        scheduler: abc.SchedulerBase,
        here: Callable[[Callable[[], None]], None],
        frame: Callable[[AudioFrame], None],
        signal: Callable[[Signal], None],
        voice_activity: Callable[[Observable[AudioFrame]], Observable[Signal]],
        report: Callable[[str, BaseException], None],
    ) -> None:
        self.echo: audio.EchoControl | None = None
        self._clock = clock
        self._scheduler = scheduler
        self._here = here
        self._frame = frame
        self._signal = signal
        self._voice_activity = voice_activity
        self._report = report
        self._is_muted = False
        self._heard: Subject[AudioFrame] | None = None  # another one each time, so that what comes late is known
        self._opening: asyncio.Future[None] | None = None
        self._source = SerialDisposable()

    @property
    def is_on(self) -> bool:
        """Whether something is listened to, or a microphone being opened."""
        return self._heard is not None

    def start(self, source: Observable[AudioFrame]) -> asyncio.Future[None] | None:
        """Listen to ``source``; return what is done when the microphone is open, or None if nothing is to be opened."""
        if self._heard is not None:
            return self._opening
        self._heard = heard = Subject[AudioFrame]()
        heard.subscribe(self._frame)
        heard.pipe(self._voice_activity).subscribe(self._signal, self._fail)
        if isinstance(source, audio.Microphone):
            return self._open(source, heard)
        if isinstance(source, audio.AudioFile):
            source = source.paced(self._scheduler)
        self._signal(ListeningStarted(at=self._clock.now()))
        self._subscribe(
            heard,
            lambda: source.subscribe(
                lambda frame: self._here(lambda: self._hear(heard, frame)),
                lambda error: self._here(lambda: self._fail(error) if self._heard is heard else None),
                lambda: self._here(lambda: self.stop() if self._heard is heard else None),
            ),
        )
        return None

    def stop(self, error: Exception | None = None) -> None:
        """Close the input. Not listening: does nothing."""
        heard, self._heard = self._heard, None
        if heard is None:
            return
        self._source.disposable = CompositeDisposable()
        opening, self._opening = self._opening, None
        if opening is not None and not opening.done():
            opening.set_exception(error or DeviceError("listening was stopped before the microphone was open"))
        try:
            heard.on_completed()  # speech that goes on ends here
        except Exception as raised:
            self._report("the audio input", raised)
        self._signal(ListeningStopped(at=self._clock.now()))

    def mute(self, is_muted: bool) -> None:
        """Take the input for silence, or not any more."""
        self._is_muted = is_muted
        self._signal(InputMuted(at=self._clock.now(), is_muted=is_muted))

    def _open(self, source: audio.Microphone, heard: Subject[AudioFrame]) -> asyncio.Future[None]:
        """Subscribe to a microphone; what it says of its device is said on.

        What this thread does not take in time waits in the microphone's own buffer, which drops and counts.
        """
        from voxrx.operators import hand_off

        self._opening = opening = asyncio.get_running_loop().create_future()
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # it need not be awaited
        behind = hand_off(  # frame by frame: a slow observer must not keep this thread from everything else
            self._scheduler, size=_FRAMES_BEHIND, overflow="block", timeout=threading.TIMEOUT_MAX, batch=1
        )

        def give_up(_: abc.SchedulerBase, __: object = None) -> None:
            if self._heard is heard and self._opening is not None:
                self._fail(DeviceError(f"the microphone has not opened within {OPEN_SECONDS:g} s"))

        self._subscribe(
            heard,
            lambda: CompositeDisposable(
                self._scheduler.schedule_relative(OPEN_SECONDS, give_up),
                source.signals.subscribe(lambda signal: self._here(lambda: self._device_said(heard, signal))),
                source.pipe(behind).subscribe(
                    lambda frame: self._hear(heard, frame),
                    lambda error: self._fail(error) if self._heard is heard else None,
                ),
            ),
        )
        return opening

    def _subscribe(self, heard: Subject[AudioFrame], subscribed: Callable[[], abc.DisposableBase]) -> None:
        """Subscribe to the source, unless whoever is told of it has stopped listening at once."""
        if self._heard is heard:
            subscription = subscribed()
            if self._heard is heard:
                self._source.disposable = subscription
            else:
                subscription.dispose()

    def _device_said(self, heard: Subject[AudioFrame], signal: Signal) -> None:
        if self._heard is not heard:
            return
        self._signal(signal)
        if isinstance(signal, ListeningStarted) and self._opening is not None:
            opening, self._opening = self._opening, None
            if not opening.done():  # who waited may have given up
                opening.set_result(None)

    def _hear(self, heard: Subject[AudioFrame], frame: AudioFrame) -> None:
        """Hand a frame on, without what is not to be heard."""
        if self._heard is not heard:
            return
        if not isinstance(cast(object, frame), AudioFrame):
            error = AudioFormatError(f"expected an AudioFrame, got {frame!r:.100}; AudioFrame.of(...) makes one")
            self._report("the audio input", error)
            return
        try:
            if self._is_muted:
                frame = frame.silenced()
            elif self.echo is not None:
                frame = self.echo.heard(frame)
            heard.on_next(frame)
        except Exception as error:  # what raised is subscribed no longer: it would hear nothing any more
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._signal(ErrorReported(at=self._clock.now(), message=f"audio input: {error}"))
        self.stop(error)
