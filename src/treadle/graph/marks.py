"""How a function wants to be called: with the context or not, and, if it is sync, elsewhere than in a thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from treadle.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
_CPU_BOUND = "__treadle_cpu_bound__"
_INLINE = "__treadle_inline__"


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a node or condition wants the context as its second argument."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 and (
        positional[1].name in ("ctx", "context") or positional[1].default is positional[1].empty
    )


def cpu_bound(function: F) -> F:
    """Let a sync function run in one of the worker's processes: threads share one core, processes do not.

    It must be defined at the top level of a module, and what it is given and returns must be picklable. Of `ctx`, these
    work there: `run_id`, `activation`, `attempt`, `idempotency_key`, `log`, `emit`, `interrupt`, `sleep`.

    Raises:
        UsageError: It is async, or cannot be found by name from another process.
    """
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{name} is async, so it cannot be cpu_bound.", hint="Write it with def.")
    if "<locals>" in name or "<lambda>" in name or not inspect.isfunction(function):
        raise UsageError(
            f"{name} cannot be cpu_bound: another process could not find it by name.",
            hint="Define a function for it with def, at the top level of a module.",
        )
    setattr(function, _CPU_BOUND, True)
    return function


def is_cpu_bound(function: object) -> bool:
    return getattr(function, _CPU_BOUND, False) is True


def inline(function: F) -> F:
    """Let a sync function be called on the event loop, without a thread: for what computes a little and never waits.

    While it runs, nothing else in its process does. In a node with a timeout the mark is without effect.

    Raises:
        UsageError: It is async, or takes `ctx`, whose operations wait.
    """
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{name} is async, so it is not called in a thread.", hint="Leave out @inline.")
    if takes_context(function):
        raise UsageError(f"{name} takes ctx, so it cannot be inline.", hint="Write it with async def.")
    try:
        setattr(function, _INLINE, True)
    except AttributeError as exc:
        raise UsageError(f"{name} cannot be marked.", hint="Call it in a function of your own, and mark that.") from exc
    return function


def is_inline(function: object) -> bool:
    return getattr(function, _INLINE, False) is True
