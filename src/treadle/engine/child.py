"""Child processes seen from the worker: talking with one, and forking one for a sync node with a timeout.

A thread cannot be stopped, a process group can be killed. What is cpu-bound runs in the pool, see `processes`.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.engine.child_side import LENGTH, ChildContext, die_with, perform, teller
from treadle.engine.signals import current_context
from treadle.errors import NodeTimeout, ProcessDied

if TYPE_CHECKING:
    from treadle.engine.context import Context
    from treadle.engine.execute import Callee


async def call_in_child(callee: Callee, given: Any, context: Context, node: str, timeout: float) -> Any:
    """Call a sync function in a forked child that leads its own process group; kill the group when time is up.

    The function sees the state and its module as they are; of the context only what needs no store. What it returns is
    pickled. If this process dies, the child is killed.

    Raises:
        NodeTimeout: The time ran out; the child and all it started are gone.
        ProcessDied: The child died.
        UsageError: It returned what cannot be pickled.
    """
    reading, writing = os.pipe()
    lifeline, ours = os.pipe()
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child touches no lock of ours: it calls and exits
        pid = os.fork()
    if pid == 0:
        for end in (reading, ours):
            os.close(end)
        _child(callee, given, context, writing, lifeline, parent)
    for end in (writing, lifeline):
        os.close(end)
    reader, transport = await _reader(reading)
    try:
        async with asyncio.timeout(timeout):
            answer = await listen(reader, context)
    except TimeoutError:
        raise timed_out(node, timeout) from None
    except asyncio.IncompleteReadError:
        kill_group(pid)
        raise died(node, _reap(pid)) from None
    finally:
        kill_group(pid)
        _reap(pid)
        transport.close()
        os.close(ours)
    return answer.result()


def _child(callee: Callee, given: Any, context: Context, writing: int, lifeline: int, parent: int) -> None:
    """Never returns: the child must not run its parent's exit handlers."""
    os.setpgid(0, 0)
    try:
        die_with(parent, lifeline)
        facts = context.facts()
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            tell = teller(pipe.write)
            current_context.set(ChildContext(facts, tell))  # type: ignore[arg-type]
            perform(callee.func, given, facts if callee.wants_context else None, tell)
        sys.stdout.flush()
    finally:
        os._exit(0)


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(descriptor, "rb"))
    return reader, transport


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a function in a child process."""

    kind: str
    values: Sequence[Any]

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        if self.kind == "error":
            error, trace = self.values
            error.add_note(trace)
            raise error
        return self.values[0]


async def listen(reader: asyncio.StreamReader, context: Context) -> Answer:
    """Hear a child out.

    Raises:
        asyncio.IncompleteReadError: It died before it had said that.
    """
    while True:
        [length] = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        kind, *values = pickle.loads(await reader.readexactly(length))  # our own child wrote it
        match kind:
            case "log":
                context.log(values[0], **values[1])
            case "emit":
                context.emit(values[0])
            case _:
                return Answer(kind, values)


def timed_out(node: str, timeout: float) -> NodeTimeout:
    return NodeTimeout(f"Node {node!r} ran longer than {timeout:g} s; it was stopped.")


def died(node: str, code: int) -> ProcessDied:
    """What to say of a child that ended without a result; `code` is negative for a signal."""
    how = f"ended with exit code {code}"
    if code < 0:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
    hint = "SIGKILL from outside mostly means that memory ran out." if code == -signal.SIGKILL else None
    return ProcessDied(f"The child process of node {node!r} {how}; this attempt has no result.", hint=hint)


def kill_group(pid: int) -> None:
    """Kill a child and all it started, as far as that stayed in its process group."""
    for kill in (os.killpg, os.kill):  # the group may not exist yet
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _reap(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])  # it was just killed
    except ChildProcessError:
        return 0  # reaped already
