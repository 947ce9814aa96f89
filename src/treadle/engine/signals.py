"""Control flow that is no error: how a node leaves without a result. Caught by `execute`, never shown to a user."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.engine.context import Context


class Signal(BaseException):
    """A way out of a node. Not an Exception, so that a node's own `except Exception` lets it pass."""


class Pause(Signal):
    """The node asked something and nobody has answered yet."""

    def __init__(self, key: str, value: Any) -> None:
        super().__init__(key, value)  # all of it, so that it can come back from a child process
        self.key = key
        self.value = value


class Sleep(Signal):
    """The node wants to go on later."""

    def __init__(self, key: str, seconds: float) -> None:
        super().__init__(key, seconds)
        self.key = key
        self.seconds = seconds


current_context: ContextVar[Context | None] = ContextVar("treadle_context", default=None)


def interrupt(value: Any) -> Any:
    """Ask the outside world from inside a node; returns the answer once somebody has given it.

    The node ends here and starts again from its top when answered, so what comes before should be journaled
    (`ctx.step`) or cheap. Several interrupts in one node are answered one after the other.
    """
    context = current_context.get()
    if context is None:
        raise UsageError("interrupt() was called outside a node.", hint="Call it in a node's function.")
    return context.interrupt(value)
