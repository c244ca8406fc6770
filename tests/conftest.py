"""What all tests share: a clock that stands still, a manager on it, and threads that are joined."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from voxrx.clock import VirtualClock
from voxrx.manager import StateManager

# No test meets the sound card of the machine: for ALSA, and so for PortAudio, there is none. tests/devices has others.
os.environ["ALSA_CONFIG_PATH"] = str(Path(__file__).with_name("devices") / "none.conf")

PATIENCE = 20.0
"""How long a test waits, in seconds, for what should come at once; past it, the test fails."""


class Running:
    """A function on a thread of its own."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._value: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function(*self._args)
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        """Wait for the end; return what the function returned, or raise what it raised."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), f"{self._function!r} did not end"
        if self.error is not None:
            raise self.error
        return self._value


class Threads:
    """Starts threads, and joins them when the test is over."""

    def __init__(self) -> None:
        self.started: list[Running] = []

    def start(self, function: Callable[..., Any], *args: Any) -> Running:
        """Run ``function`` on a thread."""
        running = Running(function, args)
        self.started.append(running)
        return running

    def together(self, *functions: Callable[[], Any]) -> list[Any]:
        """Run all functions at the same time, and return their results."""
        barrier = threading.Barrier(len(functions))

        def run(function: Callable[[], Any]) -> Any:
            barrier.wait(PATIENCE)
            return function()

        started = [self.start(run, function) for function in functions]
        return [running.result() for running in started]


@pytest.fixture
def threads() -> Iterator[Threads]:
    """Threads for a test; all of them have ended when it is over."""
    threads = Threads()
    yield threads
    for running in threads.started:
        running.thread.join(PATIENCE)
        assert not running.thread.is_alive()


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still."""
    return VirtualClock()


@pytest.fixture
def manager(clock: VirtualClock) -> Iterator[StateManager]:
    """A manager on the virtual clock; closed in the end."""
    with StateManager(clock=clock) as manager:
        yield manager


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), PATIENCE))
    return True
