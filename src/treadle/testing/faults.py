"""Fault injection: a store whose calls can be held up, lost, or lose their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from treadle.errors import StoreUnavailable
from treadle.ports.store import Store

Fault = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""(name of the call, how to make it) -> its answer. May make it never, late, twice, or hide its answer."""
CALLS = frozenset({
    "announce", "budgets", "change", "claim", "commit", "create_run", "delete_run", "events", "get_blob", "history",
    "journal", "leased", "limits", "now", "pause_schedule", "put_blob", "put_schedule", "record", "release",
    "remove_limit", "remove_schedule", "reserve", "run", "runs", "schedules", "set_limit", "sweep", "tasks", "tick",
    "vacuum", "wait", "workers",
})  # fmt: skip


class FaultyStore:
    """Implements the store port over another store; every call goes through `fault`."""

    def __init__(self, inner: Store, fault: Fault) -> None:
        self.inner = inner
        self.fault = fault

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in CALLS:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self.fault(name, lambda: found(*args, **kwargs))

        return call


def unavailable(name: str) -> StoreUnavailable:
    """What a caller sees of a store that is away, or whose answer was lost."""
    return StoreUnavailable(f"The store did not answer {name!r} (injected fault).")


def loses_answers(*names: str, times: int = 1) -> Fault:
    """Each of these calls is carried out, but its caller is told that the store is away: so many times each."""
    left = dict.fromkeys(names, times)

    async def fault(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        answer = await call()
        if left.get(name, 0):
            left[name] -= 1
            raise unavailable(name)
        return answer

    return fault


def loses_calls(*names: str, times: int = 1) -> Fault:
    """Each of these calls fails without effect, so many times each."""
    left = dict.fromkeys(names, times)

    async def fault(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if left.get(name, 0):
            left[name] -= 1
            raise unavailable(name)
        return await call()

    return fault
