"""Processes that go on: a call of a sandbox whose stdin and stdout are pipes that we hold the other ends of."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Limits
from treadle.sandboxes._calls import Calls

_CHUNK = 64 * 1024
_DAY_SECONDS = 86_400


def without_end(limits: Limits) -> Limits:
    """The same for a process that goes on: no bound on its wall time, a day of the processor."""
    return replace(limits, wall_seconds=math.inf, cpu_seconds=_DAY_SECONDS)


class ChildPipes:
    """The ends that the child gets."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.stderr: Callable[[], str] = str

    def close(self) -> None:
        self.stdin.close()
        self.stdout.close()


Run = Callable[[ChildPipes], Coroutine[Any, Any, ExecResult]]


class Spawned:
    """Implements `ports.sandbox.Process`. Needs a running event loop."""

    def __init__(self, calls: Calls, run: Run) -> None:
        """`run` makes the call: what it is given goes to the child."""
        child_in, write_end = os.pipe()
        read_end, child_out = os.pipe()
        self._pipes = ChildPipes(os.fdopen(child_in, "rb", 0), os.fdopen(child_out, "wb", 0))
        self._stdin, self._stdout = _OurEnd(write_end), _OurEnd(read_end)
        self._call = asyncio.ensure_future(self._run(calls, run))
        self._call.add_done_callback(self._on_end)

    async def read(self) -> bytes:
        while self._stdout.is_open:
            with suppress(BlockingIOError):
                return os.read(self._stdout.descriptor, _CHUNK)
            await self._stdout.readable()
        return b""

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if not self._stdin.is_open:
                raise BrokenPipeError
            try:
                view = view[os.write(self._stdin.descriptor, view) :]
            except BlockingIOError:
                await self._stdin.writable()

    def stderr(self) -> str:
        return self._pipes.stderr()

    async def wait(self) -> ExecResult:
        try:
            return await asyncio.shield(self._call)
        except asyncio.CancelledError:
            if not self._call.cancelled():
                raise
            raise SandboxUnavailable("The process was ended.") from None

    async def end(self, grace_seconds: float = 1.0) -> None:
        self._stdin.close()
        await asyncio.wait([self._call], timeout=grace_seconds)
        self._call.cancel()
        await asyncio.wait([self._call])
        self._stdout.close()

    async def _run(self, calls: Calls, run: Run) -> ExecResult:
        return await calls.run(run(self._pipes))

    def _on_end(self, call: asyncio.Future[ExecResult]) -> None:
        """What it said last can still be read: its output stays open on our side until `end`."""
        self._pipes.close()
        self._stdin.close()
        if not call.cancelled():
            call.exception()  # whoever waits is told


class _OurEnd:
    """A descriptor that never blocks, and whose closing wakes whoever waits for it."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    async def readable(self) -> None:
        await self._until(self._loop.add_reader)

    async def writable(self) -> None:
        await self._until(self._loop.add_writer)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._wake()
            os.close(self.descriptor)

    async def _until(self, watch: Callable[..., None]) -> None:
        self._waiter = self._loop.create_future()
        watch(self.descriptor, self._wake)
        try:
            await self._waiter
        finally:
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._loop.remove_reader(self.descriptor)
            self._loop.remove_writer(self.descriptor)
            if not waiter.done():
                waiter.set_result(None)
