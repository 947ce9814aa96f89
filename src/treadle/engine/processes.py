"""The processes of a worker: functions that are cpu-bound run there, each process one at a time, and are reused.

Each is a fresh interpreter, not a fork of this one, whose threads may hold any lock. A process that dies, or is killed
because time is up or the task was cancelled, takes one attempt with it; another is started when needed.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.engine.child import Answer, died, kill_group, listen, timed_out
from treadle.engine.child_side import LENGTH, refuse_while_loading
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.engine.context import Context
    from treadle.engine.execute import Callee

_MAIN = """
import sys
sys.path[:] = sys.argv[1:-3]
from treadle.engine.process_main import serve
serve(*map(int, sys.argv[-3:]))
"""


class Processes:
    """Up to `size` processes, started when first needed. Belongs to one event loop until it is closed."""

    def __init__(self, size: int = 0) -> None:
        """`size` 0: one for each core that this process may use."""
        self.size = size or _cores()
        self._idle: list[_Process] = []
        self._slots = asyncio.Semaphore(self.size)

    async def call(self, callee: Callee, given: Any, context: Context, node: str, timeout: float | None) -> Any:
        """Call a cpu-bound function in a process of its own, once one is free; `timeout` counts from then on.

        Cancelled: the process is killed, and all it started.

        Raises:
            NodeTimeout: The time ran out; the process and all it started are gone.
            ProcessDied: The process died under it.
            UsageError: Function, state or result cannot travel between processes. Without a result, it was not run.
        """
        refuse_while_loading()
        job = _pack(callee, given, context, node)
        async with self._slots:
            process = self._take() or await _Process.start()
            try:
                async with asyncio.timeout(timeout):
                    answer = await process.ask(job, context)
            except TimeoutError:
                process.kill()
                raise timed_out(node, timeout or 0.0) from None
            except (asyncio.IncompleteReadError, ConnectionError):
                raise died(node, process.kill()) from None
            except asyncio.CancelledError:
                process.kill()
                raise
            finally:
                if process.alive:
                    self._idle.append(process)
        return answer.result()

    def _take(self) -> _Process | None:
        while self._idle:
            process = self._idle.pop()
            if process.popen.poll() is None:
                return process
            process.kill()
        return None

    def close(self) -> None:
        """End the processes that are idle; who is called is ended with its call."""
        while self._idle:
            self._idle.pop().kill()
        self._slots = asyncio.Semaphore(self.size)


@dataclass(slots=True)
class _Process:
    popen: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lifeline: int
    """Closes with this process, whatever ends it; see `child_side.die_with`."""
    alive: bool = True

    @classmethod
    async def start(cls) -> _Process:
        ours, theirs = socket.socketpair()
        lifeline, life = os.pipe()
        told = [str(number) for number in (theirs.fileno(), lifeline, os.getpid())]
        popen: subprocess.Popen[bytes] | None = None
        try:
            popen = subprocess.Popen(  # noqa: ASYNC220  # milliseconds, a few times in the life of a worker
                [sys.executable, "-c", _MAIN, *sys.path, *told],
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the worker
            )
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            os.close(life)
            ours.close()
            if popen is not None:
                popen.kill()
                popen.wait()
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        _send(writer, pickle.dumps(_main_module()))
        return cls(popen, reader, writer, life)

    async def ask(self, job: bytes, context: Context) -> Answer:
        _send(self.writer, job)
        await self.writer.drain()
        return await listen(self.reader, context)

    def kill(self) -> int:
        """End it, and all it started. Returns its exit code; what ended it before counts."""
        kill_group(self.popen.pid)
        if self.alive:
            self.alive = False
            self.writer.transport.abort()
            os.close(self.lifeline)
        return self.popen.wait()


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(LENGTH.pack(len(data)) + data)


def _main_module() -> dict[str, str]:
    """Where the module `__main__` is from, for functions and classes that are defined there."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return {"init_main_from_name": spec.name}
    return {"init_main_from_path": str(Path(file).absolute())} if file else {}


def _pack(callee: Callee, given: Any, context: Context, node: str) -> bytes:
    try:
        pickle.dumps(callee.func)
    except Exception as error:
        raise UsageError(
            f"Node {node!r} is cpu_bound, and another process cannot find its function by name: {error}.",
            hint="Define it with def at the top level of a module, and let no other object take its name.",
        ) from error
    try:
        return pickle.dumps((callee.func, given, context.facts(), callee.wants_context))
    except Exception as error:
        raise UsageError(
            f"Node {node!r} is cpu_bound, and its state cannot be pickled: {error}. It was not run.",
            hint="Keep plain data in the state: numbers, text, lists, dicts, instances of classes of a module.",
        ) from error
