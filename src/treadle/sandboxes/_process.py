"""Start one child, keep head and tail of what it prints, and see to it that it ends. Knows nothing of confinement."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Protocol

from treadle.sandboxes._disk import DiskWatch

_CHUNK = 64 * 1024
END_SECONDS = 5.0
"""How long a stopped child may take to end before it is killed outright."""
_PIPE_GRACE_SECONDS = 1.0
"""How long a pipe may stay open after its child has ended; only an escaped process can hold it that long."""


class Pipes(Protocol):
    """The child's ends of two pipes, and who wants to know what it says on stderr."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: Callable[[], str]


class Started(Protocol):
    """A child that runs."""

    @property
    def pid(self) -> int | None:
        """Process id on the host; None as long as it is not known."""

    async def exit(self) -> int:
        """Wait for its end: negative for a signal."""

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""

    def close(self) -> None:
        """Give back what belongs to it. It must have ended."""


class Program(Protocol):
    """What to start on the host."""

    @property
    def pipes(self) -> Pipes | None:
        """What it gets as stdin and stdout; closed here once it is started. None: what `run_child` gives it."""

    @property
    def end_seconds(self) -> float:
        """How long it may take to end once it is stopped, before it is killed outright."""

    def start(self, stdin: int, stdout: int, stderr: int) -> Started:
        """Start it with these descriptors.

        Raises:
            OSError: It could not be started; nothing runs.
        """


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the host as a child of ours. Its environment is exactly `env`; only `pass_fds` are inherited."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    pass_fds: tuple[int, ...] = ()
    pipes: Pipes | None = None
    end_seconds: float = END_SECONDS

    def start(self, stdin: int, stdout: int, stderr: int) -> Started:
        return _Popened(
            subprocess.Popen(
                self.argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(self.env),
                cwd=self.cwd,
                pass_fds=self.pass_fds,
                start_new_session=True,
            )
        )


class _Popened:
    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int | None:
        return self._popen.pid

    async def exit(self) -> int:
        """Reap it. Without pidfd (macOS, old kernels) a thread waits for it."""
        try:
            pidfd = os.pidfd_open(self._popen.pid)
        except (AttributeError, OSError):
            return await asyncio.to_thread(self._popen.wait)
        try:
            await readable(pidfd)
            return self._popen.wait()
        finally:
            os.close(pidfd)

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Finished:
    """How the host's child ended; `exit_code` is negative for a signal, as in `subprocess`."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool
    truncated: bool
    disk_full: bool = False


class Drain:
    """Reads one pipe to its end and keeps at most `keep` bytes: the first half and the last half."""

    def __init__(self, fd: int, keep: int) -> None:
        self.descriptor = fd
        self._head_size = keep // 2
        self._tail_size = keep - self._head_size
        self._head = bytearray()
        self._tail = bytearray()
        self._seen = 0
        self.ended = asyncio.get_running_loop().create_future()
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._on_readable)

    @property
    def dropped(self) -> int:
        """Bytes that were read and not kept."""
        return max(0, self._seen - self._head_size - self._tail_size)

    def close(self) -> None:
        """Stop reading. Idempotent."""
        asyncio.get_running_loop().remove_reader(self.descriptor)
        if not self.ended.done():
            self.ended.set_result(None)

    def text(self) -> str:
        """What was kept, with a line that says how much is missing; bytes that are no UTF-8 are replaced."""
        tail = self._tail[-self._tail_size :] if self._tail_size else bytearray()
        if not self.dropped:
            return (self._head + tail).decode("utf-8", "replace")
        note = f"\n[... {self.dropped} bytes left out ...]\n"
        return self._head.decode("utf-8", "replace") + note + tail.decode("utf-8", "replace")

    def _on_readable(self) -> None:
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.close()
            return
        self._seen += len(data)
        room = self._head_size - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_size + _CHUNK:
            del self._tail[: len(self._tail) - self._tail_size]


class Child:
    """One running child process, watched by the running event loop."""

    def __init__(self, program: Program, *, stdin: bytes, keep: int) -> None:
        """Start it.

        Raises:
            OSError: The program could not be started; nothing runs.
        """
        self.started_at = time.monotonic()
        self._end_seconds = program.end_seconds
        pipes = program.pipes
        self.stdout: Drain | None = None
        with ExitStack() as theirs:
            source = theirs.enter_context(pipes.stdin if pipes else _stdin_file(stdin))
            if pipes is None:
                read_out, sink = _pipe(theirs)
                self.stdout = Drain(read_out, keep)
            else:
                sink = theirs.enter_context(pipes.stdout).fileno()
            read_err, complaints = _pipe(theirs)
            self.stderr = Drain(read_err, keep)
            try:
                self._started = program.start(source.fileno(), sink, complaints)
            except BaseException:
                self._close_drains()
                raise
        if pipes is not None:
            pipes.stderr = self.stderr.text
        self._exited = asyncio.ensure_future(self._started.exit())

    @property
    def pid(self) -> int | None:
        """Process id on the host; valid until `close`. None as long as it is not known."""
        return self._started.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._exited.result() if self._exited.done() else None

    async def wait(self) -> int:
        """Wait for its end, and for the end of its output. Cancelling the wait leaves it running."""
        code = await asyncio.shield(self._exited)
        await asyncio.wait([drain.ended for drain in self._drains], timeout=_PIPE_GRACE_SECONDS)
        return code

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        self._started.signal(number)

    async def end(self, stop: Callable[[], None]) -> None:
        """Stop it, or kill it if that does not help. Returns when it is gone, however often the caller is cancelled."""
        cancelled = False
        ending = asyncio.ensure_future(self._end(stop))
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                cancelled = True
        ending.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _end(self, stop: Callable[[], None]) -> None:
        stop()
        try:
            await asyncio.wait_for(self.wait(), self._end_seconds)
        except TimeoutError:
            self._started.signal(signal.SIGKILL)
            await self.wait()

    def close(self) -> None:
        """Give back the pipes. The child must have ended."""
        self._close_drains()
        self._started.close()

    def _close_drains(self) -> None:
        for drain in self._drains:
            drain.close()
            os.close(drain.descriptor)

    @property
    def _drains(self) -> list[Drain]:
        return [self.stderr] if self.stdout is None else [self.stdout, self.stderr]


async def run_child(
    program: Program,
    *,
    stdin: bytes,
    wall_seconds: float,
    keep: int,
    stop: Callable[[Child], None],
    prepare: Callable[[Child], Awaitable[None]] | None = None,
    disk: DiskWatch | None = None,
    elsewhere: Callable[[], int | None] | None = None,
) -> Finished:
    """Run one child to its end, to a limit, or to the cancellation of the caller.

    Args:
        stop: Ends the child and everything it started; called at a limit, on cancellation and on failure.
        prepare: Awaited once it is started; what it raises ends the child and is raised here.
        disk: Looks at what it writes, while it runs and when it has ended.
        elsewhere: Where it has somebody else start what writes: the process above that, called in a thread.

    Raises:
        OSError: The program could not be started.
    """
    child = Child(program, stdin=stdin, keep=keep)
    timed_out = False
    try:
        async with asyncio.timeout(wall_seconds):
            if prepare is not None:
                await prepare(child)
            await _end_or_full(child, disk, elsewhere or (lambda: child.pid))
    except TimeoutError:
        timed_out = True
    finally:
        try:
            if child.exit_code is None:
                await child.end(lambda: stop(child))
        finally:
            child.close()
    assert child.exit_code is not None
    if disk is not None:
        await asyncio.to_thread(disk.look)
    return Finished(
        exit_code=child.exit_code,
        stdout=child.stdout.text() if child.stdout else "",
        stderr=child.stderr.text(),
        seconds=time.monotonic() - child.started_at,
        timed_out=timed_out,
        truncated=bool((child.stdout and child.stdout.dropped) or child.stderr.dropped),
        disk_full=disk is not None and disk.is_full,
    )


async def _end_or_full(child: Child, disk: DiskWatch | None, above: Callable[[], int | None]) -> None:
    """Wait for the end of a child, or until it has filled the disk."""
    if disk is None:
        await child.wait()
        return
    watching = asyncio.ensure_future(disk.exceeded(above))
    waiting = asyncio.ensure_future(child.wait())
    try:
        done, _ = await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (watching, waiting):
            task.cancel()
        await asyncio.gather(watching, waiting, return_exceptions=True)


def memory_file(data: bytes) -> int:
    """A descriptor from which `data` can be read once, without a pipe that could fill up. The caller closes it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("treadle", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _stdin_file(data: bytes) -> IO[bytes]:
    return os.fdopen(memory_file(data), "rb") if data else open(os.devnull, "rb")


def _pipe(theirs: ExitStack) -> tuple[int, int]:
    """A new pipe, whose end for writing goes with the stack."""
    read_end, write_end = os.pipe()
    theirs.callback(os.close, write_end)
    return read_end, write_end


async def readable(fd: int) -> None:
    """Wait until a descriptor can be read, or has come to its end."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)
