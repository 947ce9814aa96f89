"""Sync nodes with a timeout run in a child process: a thread cannot be stopped, a process group can be killed."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from treadle.errors import NodeError, NodeTimeout, UsageError

if TYPE_CHECKING:
    from treadle.engine.context import Context
    from treadle.engine.execute import Callee


async def call_in_child(callee: Callee, view: Any, context: Context, node: str, timeout: float) -> Any:
    """Call a sync function in a forked child that leads its own process group; kill the group when time is up.

    The function sees the state as it is; of the context only what needs no store. What it returns is pickled.

    Raises:
        NodeTimeout: The time ran out; the child and all it started are gone.
        NodeError: The child died, or returned what cannot be pickled.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child touches no lock of ours: it calls and exits
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(callee, view, context, writing)
    os.close(writing)
    try:
        async with asyncio.timeout(timeout):
            data = await _read_all(reading)
    except TimeoutError:
        raise NodeTimeout(f"Node {node!r} ran longer than {timeout:g} s; it was stopped.") from None
    finally:
        _kill_group(pid)
        os.waitpid(pid, 0)  # noqa: ASYNC222  # it was just killed
    return _unpack(data, node)


def _child(callee: Callee, view: Any, context: Context, writing: int) -> None:
    """Never returns: the child must not run its parent's exit handlers."""
    os.setpgid(0, 0)
    try:
        result = callee.func(view, _ChildContext(context)) if callee.wants_context else callee.func(view)
        data = pickle.dumps(("ok", result))
    except BaseException as error:  # noqa: BLE001  # the parent raises it again
        text = "".join(traceback.format_exception(error))
        try:
            data = pickle.dumps(("error", error, text))
            pickle.loads(data)
        except Exception:  # noqa: BLE001  # an error that cannot travel goes as text
            data = pickle.dumps(("error", NodeError(f"{type(error).__name__}: {error}"), text))
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        sys.stdout.flush()
    finally:
        os._exit(0)


class _ChildContext:
    """What of the context works in a child process."""

    def __init__(self, context: Context) -> None:
        self.run_id = context.run_id
        self.activation = context.activation
        self.attempt = context.attempt
        self.idempotency_key = context.idempotency_key
        self.interrupt = context.interrupt

    def __getattr__(self, name: str) -> Any:
        raise UsageError(
            f"ctx.{name} is not available in a sync node with a timeout, which runs in a child process.",
            hint="Make the node async, or leave out its timeout.",
        )


async def _read_all(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb"))
    try:
        return await reader.read()
    finally:
        transport.close()


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group may not exist yet
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _unpack(data: bytes, node: str) -> Any:
    if not data:
        raise NodeError(f"The child process of node {node!r} died without a result.")
    kind, value, *rest = pickle.loads(data)  # our own child wrote it
    if kind == "ok":
        return value
    value.add_note(rest[0])
    raise value
