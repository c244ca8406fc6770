"""PortAudio, through sounddevice: loaded when used, and opened and closed so that nobody waits for ever.

PortAudio keeps its books without a lock, so opening, closing and listing take turns here. A device that has stopped
delivering makes PortAudio's ``abort`` and ``close`` block until it delivers again, which may be never: closing runs on
a thread of its own, and is waited for only so long.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from voxrx.errors import DeviceError

__all__ = ("Stream", "calls", "described", "portaudio", "refreshed")

_LONGEST_TURN_SECONDS = 10.0
_LONGEST_CLOSE_SECONDS = 2.0

_turn = threading.Lock()
_open: set[Stream] = set()

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
        make: ``make(sounddevice)`` returns one of its streams, not started.

    Raises:
        DeviceError: If it cannot be opened or started.
    """

    def __init__(self, purpose: str, make: Callable[[Any], Any]) -> None:
        with calls(purpose) as module:
            self._stream = make(module)
            _open.add(self)
            if len(_open) == 1:
                atexit.unregister(_leave)
                atexit.register(_leave)  # after sounddevice's own, so that it runs before that
            try:
                self._stream.start()
            except BaseException:
                _open.discard(self)
                self._stream.close()
                raise

    @property
    def latency_ms(self) -> float:
        """What PortAudio says about the time between the device and the callback."""
        return float(self._stream.latency) * 1000.0

    def close(self, *, after_playing: bool = False, timeout: float = _LONGEST_CLOSE_SECONDS) -> bool:
        """Stop and close it, at once or after what it was given has been played. Blocks ``timeout`` seconds at most.

        Returns:
            Whether it is closed; else a thread is left behind that closes it as soon as the device lets it.
        """
        closing = threading.Thread(target=self._close, args=(after_playing,), name="voxrx-closing", daemon=True)
        closing.start()
        closing.join(timeout)
        return not closing.is_alive()

    def _close(self, after_playing: bool) -> None:
        stream, module = self._stream, portaudio()
        with contextlib.suppress(module.PortAudioError):
            stream.stop() if after_playing else stream.abort()  # here it may hang: not while others wait for a turn
        with _turn, contextlib.suppress(module.PortAudioError):
            stream.close()
        _open.discard(self)


def _leave() -> None:
    """Close what is open when Python ends. A stream that cannot be closed must not keep the process from ending."""
    closed = [stream.close(timeout=1.0) for stream in tuple(_open)]
    if not all(closed):
        atexit.unregister(portaudio()._exit_handler)  # would wait for that stream for ever
