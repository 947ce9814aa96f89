"""What happens in a child process that runs a node's function: one that was forked for it, or one of a worker's pool.

Parent and child talk in frames, each a length and a pickle. The parent is trusted, and so is the child: both are ours.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import struct
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from treadle.domain import codec
from treadle.engine.signals import Pause, Sleep, current_context
from treadle.errors import NodeError, UsageError

LENGTH = struct.Struct("!Q")
Tell = Callable[..., None]
"""Sends one frame to the parent: a kind (`log`, `emit`, `ok`, `error`) and what belongs to it."""
_loading = False
"""This process is a child that is importing what it shall run."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a child may know of its task."""

    run_id: str
    activation: str
    attempt: int
    idempotency_key: str
    answers: Mapping[str, bytes]
    """Key of an interrupt -> its answer, encoded."""
    slept: frozenset[str]
    """Keys of sleeps that are over."""


class ChildContext:
    """What of the context works in a child process; the rest needs the store."""

    def __init__(self, facts: Facts, tell: Tell) -> None:
        self.run_id = facts.run_id
        self.activation = facts.activation
        self.attempt = facts.attempt
        self.idempotency_key = facts.idempotency_key
        self._facts = facts
        self._tell = tell
        self._asked = 0

    def interrupt(self, value: Any, *, key: str | None = None) -> Any:
        key = key or self._next("interrupt")
        if key not in self._facts.answers:
            raise Pause(key, value)
        return codec.decode(self._facts.answers[key])

    def sleep(self, seconds: float) -> None:
        key = self._next("sleep")
        if key not in self._facts.slept:
            raise Sleep(key, seconds)

    def _next(self, what: str) -> str:
        self._asked += 1
        return f"{what}:{self._asked - 1}"

    def log(self, message: str, **fields: Any) -> None:
        self._tell("log", message, fields)

    def emit(self, value: Any) -> None:
        self._tell("emit", value)

    def heartbeat(self) -> None:
        """The worker renews the lease meanwhile, and ends this process if it is lost."""

    def __getattr__(self, name: str) -> Any:
        raise UsageError(
            f"ctx.{name} is not available in a child process; sync nodes with a timeout, or cpu_bound, run in one.",
            hint="Do it in an async node before or after; here, ctx.log, emit, interrupt and sleep work.",
        )


def perform(function: Callable[..., Any], given: Any, facts: Facts | None, tell: Tell) -> None:
    """Call a node's function and tell what came of it. `facts`: for a context, if it wants one. Raises nothing."""
    try:
        tell("ok", function(given) if facts is None else function(given, current_context.get()))
    except BaseException as error:  # noqa: BLE001  # the parent raises it again
        tell_error(error, tell)


def tell_error(error: BaseException, tell: Tell) -> None:
    """An error that cannot travel goes as text."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever its class does when it is pickled
        error = NodeError(f"{type(error).__name__}: {error}")
    tell("error", error, text)


def teller(write: Callable[[bytes], object]) -> Tell:
    """A `Tell` that may be called from any thread."""
    lock = threading.Lock()

    def tell(kind: str, *values: Any) -> None:
        try:
            data = pickle.dumps((kind, *values))
        except Exception as error:
            raise UsageError(
                f"What a child process said ({kind}) cannot be pickled, so it was lost: {error}.",
                hint="Return plain data: numbers, text, lists, dicts, instances of classes of a module.",
            ) from error
        with lock:
            write(LENGTH.pack(len(data)) + data)

    return tell


# -- dying with the parent ---------------------------------------------------------------------------------------------


def die_with(parent: int, lifeline: int) -> None:
    """Let this process group be killed once the parent is gone, however it ended.

    `lifeline` is the reading end of a pipe of which the parent holds the other end, and into which nobody writes. Where
    the kernel can, it kills the group itself when that end closes, whatever the group is doing; a thread that looks
    every second sees to the rest.
    """
    if hasattr(fcntl, "F_SETSIG"):
        try:
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:
            pass  # a sandbox that lacks it: the thread below remains
    threading.Thread(target=_watch, args=(parent, lifeline), name="treadle-lifeline", daemon=True).start()


def _watch(parent: int, lifeline: int) -> None:
    poller = select.poll()
    poller.register(lifeline, 0)  # that the other end closed is always told
    while not poller.poll(1000) and os.getppid() == parent:
        pass
    os.killpg(0, signal.SIGKILL)


# -- importing what it shall run ---------------------------------------------------------------------------------------


@contextmanager
def importing() -> Iterator[None]:
    """While what is run here is imported, nothing may be started: the program would run itself, without end."""
    global _loading
    _loading = True
    try:
        yield
    finally:
        _loading = False


def refuse_while_loading() -> None:
    """Raise UsageError if a program is about to run itself again, because a child imports it."""
    if _loading:
        raise UsageError(
            "The program starts runs while it is imported by a process that shall run its cpu_bound functions.",
            hint='Start them under: if __name__ == "__main__":',
        )
