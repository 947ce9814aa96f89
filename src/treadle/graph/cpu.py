"""The mark of a function that keeps a core busy, and so wants a process of its own instead of a thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from treadle.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__treadle_cpu_bound__"


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
    setattr(function, _MARK, True)
    return function


def is_cpu_bound(function: object) -> bool:
    return getattr(function, _MARK, False) is True
