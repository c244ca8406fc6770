"""This side of the speech worker: starts the process, sends requests, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxrx.errors import MissingExtraError, ProviderError
from voxrx.providers import speech_process
from voxrx.providers.speech_process import LENGTHS, packed

__all__ = ("SpeechWorker", "Traffic", "WorkerLostError")

_STARTING_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
_MOST_WAITING_BYTES = 16 * 2**20  # eight minutes of sound that the process has not read: it hangs


class WorkerLostError(ProviderError):
    """The worker process has ended, or hangs."""


@dataclass
class Traffic:
    """What went over the pipes since it was last asked for."""

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True)
class _Answer:
    fields: dict[str, Any]
    payload: bytes


class SpeechWorker:
    """One process, from its start to its end. Use it on the loop's thread.

    Args:
        lost: Called once, when the process has ended without being asked to.
    """

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._starting: asyncio.Task[asyncio.subprocess.Process] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Queue[_Answer | WorkerLostError]] = {}
        self._acknowledged: dict[int, Callable[[], None]] = {}
        self._requests = 0
        self._received = 0
        self._traffic = Traffic()
        self._end: str | None = None

    @property
    def pid(self) -> int | None:
        """The process, once it was started."""
        return None if self._process is None else self._process.pid

    async def start(self, recogniser: dict[str, Any] | None, voice: dict[str, Any] | None) -> int | None:
        """Start the process and load what it needs; return the voice's sample rate.

        Raises:
            MissingExtraError: If a package is not installed.
            ProviderError: If it could not be started, or could not load.
        """
        # By its path and not by ``-m``: nothing of voxrx is imported there, and no file in the user's folder can
        # take the place of a module of the standard library. A task, so that a cancelled start leaks no process.
        self._starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                str(Path(speech_process.__file__)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )
        try:
            process = await asyncio.shield(self._starting)
        except OSError as error:
            raise ProviderError(f"the speech worker could not be started as {sys.executable!r}: {error}") from error
        self._process = process
        self._reader = asyncio.create_task(self._read(process))
        loaded = await self.call("start", seconds=_STARTING_SECONDS, recogniser=recogniser, voice=voice)
        return loaded.fields["sample_rate"]

    async def call(self, operation: str, *, seconds: float = _ANSWER_SECONDS, **fields: object) -> _Answer:
        """Send a request and return its one answer.

        Raises:
            ProviderError: If the worker could not do it.
            WorkerLostError: If it ended, or did not answer in time.
        """
        request = self._send(operation, fields)
        queue = self._answers[request] = asyncio.Queue()
        try:
            return await self._next(queue, operation, seconds)
        finally:
            del self._answers[request]

    async def stream(self, operation: str, **fields: object) -> AsyncGenerator[bytes, None]:
        """Send a request and yield the payloads of its answers; leaving early cancels it.

        Raises:
            ProviderError: If the worker could not do it.
            WorkerLostError: If it ended, or did not answer in time.
        """
        request = self._send(operation, fields)
        queue = self._answers[request] = asyncio.Queue()
        done = False
        try:
            while not done:
                answer = await self._next(queue, operation, _ANSWER_SECONDS)
                done = answer.fields["last"]
                if answer.payload:
                    yield answer.payload
        finally:
            del self._answers[request]
            if not done and self._end is None:
                self.post("cancel", of=request)

    def post(
        self, operation: str, payload: bytes = b"", *, done: Callable[[], None] | None = None, **fields: object
    ) -> None:
        """Send a request that nobody waits for; ``done`` is called when it was carried out, or never will be."""
        try:
            request = self._send(operation, fields, payload)
        except WorkerLostError:
            if done is not None:
                done()
            return
        if done is not None:
            self._acknowledged[request] = done

    def take_traffic(self) -> Traffic:
        """Return what was sent and received since the last call."""
        traffic, self._traffic = self._traffic, Traffic()
        return traffic

    async def close(self) -> None:
        """End the process: by closing its input, then by terminating it, then by killing it."""
        self._fail("it was closed", tell=False)
        if self._starting is None:
            return
        with contextlib.suppress(Exception):
            self._process = await self._starting
        if (process := self._process) is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        if self._reader is None:  # what is left in the pipe has to be read, or `wait` may not return
            self._reader = asyncio.create_task(self._read(process))
        for stop in (process.terminate, process.kill):
            try:
                async with asyncio.timeout(1.0):
                    await process.wait()
                break
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    stop()
        await _closed(process)
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    def _send(self, operation: str, fields: dict[str, object], payload: bytes = b"") -> int:
        if self._end is not None:
            raise WorkerLostError(f"the speech worker is not there: {self._end}")
        assert self._process is not None
        assert self._process.stdin is not None
        self._requests += 1
        message = packed({"id": self._requests, "op": operation, **fields}, payload)
        self._process.stdin.write(message)
        self._traffic.messages_sent += 1
        self._traffic.bytes_sent += len(message)
        if self._process.stdin.transport.get_write_buffer_size() > _MOST_WAITING_BYTES:
            self._kill("it does not read any more")
            raise WorkerLostError("the speech worker was lost: it does not read any more")
        return self._requests

    async def _next(self, queue: asyncio.Queue[_Answer | WorkerLostError], operation: str, seconds: float) -> _Answer:
        answer = None
        while answer is None:
            before = self._received
            try:
                async with asyncio.timeout(seconds):
                    answer = await queue.get()
            except TimeoutError:
                if self._received == before:  # it is not just busy with what was asked earlier
                    self._kill(f"it did not answer {operation!r} within {seconds:g} seconds")
        if isinstance(answer, WorkerLostError):
            raise answer
        if (missing := answer.fields.get("missing")) is not None:
            raise MissingExtraError.of(missing, extra="local", purpose="the local provider")
        if (error := answer.fields.get("error")) is not None:
            raise ProviderError(f"the speech worker failed: {error}")
        return answer

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while True:
                header, payload = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
                fields = json.loads(await process.stdout.readexactly(header))
                body = await process.stdout.readexactly(payload)
                self._received += 1
                self._traffic.messages_received += 1
                self._traffic.bytes_received += LENGTHS.size + header + payload
                if (queue := self._answers.get(fields["id"])) is not None:
                    queue.put_nowait(_Answer(fields, body))
                elif (done := self._acknowledged.pop(fields["id"], None)) is not None:
                    done()
        except (asyncio.IncompleteReadError, OSError):
            code = await process.wait()
            self._fail(f"it ended with code {code}", tell=True)
        except asyncio.CancelledError:
            if self._end is None:  # the loop ends, and nobody is left to close this worker
                self._fail("the loop ended", tell=False)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.stdout.read()
                await _closed(process)
            raise

    def _kill(self, reason: str) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._fail(reason, tell=True)

    def _fail(self, reason: str, *, tell: bool) -> None:
        """Settle everything that waits for an answer; the first reason counts."""
        if self._end is not None:
            return
        self._end = reason
        for queue in self._answers.values():
            queue.put_nowait(WorkerLostError(f"the speech worker was lost: {reason}"))
        acknowledged, self._acknowledged = self._acknowledged, {}
        for done in acknowledged.values():
            done()
        if tell:
            self._lost(reason)


async def _closed(process: asyncio.subprocess.Process) -> None:
    """Wait until a process that is ending has ended, and its pipes are closed."""
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
    await asyncio.sleep(0)  # the transport closes one step after its last pipe
