"""PortAudio, through sounddevice: loaded when used, and opened and closed so that nobody waits for ever.

PortAudio keeps its books without a lock, so opening, closing and listing take turns here. A device that has stopped
delivering makes PortAudio's ``abort`` and ``close`` block until it delivers again, which may be never: each stream has
a thread that closes it, which is waited for only so long.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal

from voxrx.errors import DeviceError

__all__ = ("Stream", "calls", "described", "is_busy", "portaudio", "refreshed")

_LONGEST_TURN_SECONDS = 10.0
_LONGEST_CLOSE_SECONDS = 2.0

_turn = threading.Lock()
_open: set[Stream] = set()
_closes_at_exit = False

# PortAudio's numbers for what a user can do something about.
_BUSY = -9985
_REMEDIES = {
    _BUSY: "it is in use by another program, or gone",
    -9996: "there is no such device any more",
    -9997: "it does not take this sample rate",
    -9998: "it does not have that many channels",
}


def portaudio() -> Any:
    """Return the module sounddevice.

    Raises:
        DeviceError: If PortAudio is not installed; says how to get it.
    """
    try:
        import sounddevice
    except OSError as error:  # the package is there, but not the library that it binds
        raise DeviceError(f"microphones and speakers need the library PortAudio; {_how_to_install()}") from error
    except ImportError as error:
        raise DeviceError("microphones and speakers need the package sounddevice: pip install sounddevice") from error
    except Exception as error:  # of the module's own kind: PortAudio is there, and does not start
        raise DeviceError(f"PortAudio does not start: {described(error)}") from error
    global _closes_at_exit
    if not _closes_at_exit:
        _closes_at_exit = True
        atexit.register(_leave)  # after sounddevice's own, so that it runs before that
    return sounddevice


def _how_to_install() -> str:
    if sys.platform != "linux":
        return "the package brings it: pip install --force-reinstall sounddevice"
    commands = {
        "debian": "apt-get install libportaudio2",
        "ubuntu": "apt-get install libportaudio2",
        "fedora": "dnf install portaudio",
        "rhel": "dnf install portaudio",
        "suse": "zypper install libportaudio2",
        "arch": "pacman -S portaudio",
        "alpine": "apk add portaudio",
    }
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            name, _, value = line.partition("=")
            if name in ("ID", "ID_LIKE"):
                for system in value.strip('"').split():
                    if system in commands:
                        return f"install it: {commands[system]} (as root)"
    return "install your system's package for it: libportaudio2, portaudio or alike"


@contextlib.contextmanager
def calls(purpose: str) -> Generator[Any, None, None]:
    """Take a turn at PortAudio: gives the module, and makes its errors a `DeviceError` that begins with ``purpose``."""
    module = portaudio()
    if not _turn.acquire(timeout=_LONGEST_TURN_SECONDS):
        raise DeviceError(f"{purpose}: PortAudio has not come back from another call for {_LONGEST_TURN_SECONDS:g} s")
    try:
        yield module
    except module.PortAudioError as error:
        raise DeviceError(f"{purpose}: {described(error)}") from error
    finally:
        _turn.release()


def described(error: BaseException) -> str:
    """Return what PortAudio says, and what that means."""
    text = str(error.args[0]) if error.args else type(error).__name__
    remedy = _REMEDIES.get(error.args[1]) if len(error.args) > 1 else None
    return f"{remedy} ({text})" if remedy else text


def is_busy(error: BaseException) -> bool:
    """Return whether trying again might help."""
    cause = error.__cause__
    return cause is not None and len(cause.args) > 1 and cause.args[1] == _BUSY


def refreshed() -> bool:
    """Let PortAudio look for devices again, which it does only when it starts; not while a stream is open.

    Returns:
        Whether it did.
    """
    with calls("looking for devices") as module:
        if _open:
            return False
        while module._initialized:
            module._terminate()
        module._initialize()
        return True


class Stream:
    """A running PortAudio stream.

    Args:
        purpose: What it is for; errors begin with it.
        kind: Which of sounddevice's streams.
        gone: Called when it ends without having been closed.
        options: What sounddevice takes.

    Raises:
        DeviceError: If it cannot be opened or started.
    """

    def __init__(
        self, purpose: str, kind: Literal["RawInputStream", "RawOutputStream"], gone: Callable[[], None], **options: Any
    ) -> None:
        self._gone = gone
        self._plays_out = False
        self._to_close = threading.Event()
        self._closed = threading.Event()
        with calls(purpose) as module:
            stream = getattr(module, kind)(finished_callback=self._finished, **options)
            try:
                stream.start()
                self.latency_ms = float(stream.latency) * 1000.0
                """What PortAudio says about the time between the device and the callback."""
                # Begins now, since Python starts no threads any more when it ends.
                threading.Thread(target=self._close, args=(stream,), name="voxrx-closing", daemon=True).start()
            except BaseException:
                self._to_close.set()
                stream.close()
                raise
            _open.add(self)

    def close(self, *, after_playing: bool = False, timeout: float = _LONGEST_CLOSE_SECONDS) -> bool:
        """Stop and close it, at once or after what it was given has been played. Blocks ``timeout`` seconds at most.

        Returns:
            Whether it is closed; else its thread closes it as soon as the device lets it.
        """
        self._plays_out = after_playing
        self._to_close.set()
        return self._closed.wait(timeout)

    def _finished(self) -> None:
        if not self._to_close.is_set():
            self._gone()

    def _close(self, stream: Any) -> None:
        self._to_close.wait()
        stream.stop() if self._plays_out else stream.abort()  # here it may hang: not while others wait for a turn
        with _turn:
            stream.close()
        _open.discard(self)
        self._closed.set()


def _leave() -> None:
    """Close what is open when Python ends. A stream that cannot be closed must not keep the process from ending."""
    streams = tuple(_open)
    for stream in streams:
        stream.close(timeout=0.0)
    for stream in streams:
        stream.close(timeout=1.0)
    if not _turn.acquire(timeout=1.0) or _open:  # never released: nothing is opened any more
        portaudio()._initialized = 0  # else sounddevice would wait for that stream for ever
