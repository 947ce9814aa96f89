"""What is merged, in which order, and what came of it: values, without any effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Settler = Literal["git", "rule", "model", "guess", ""]
"""Who settled a conflict. `guess`: a version of which nothing was known but that the tests of both tasks pass.
Empty: nobody could."""

Prove = Callable[[str, Sequence[str]], Awaitable[str]]
"""Tells what fails in a tree that holds the work of these tasks (by id); nothing: all their tests pass. It is called
within a step of the node, so it must not use the node's journal itself."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The work of one task, ready to be merged."""

    task: str
    commit: str
    title: str = ""
    """What the task was to do; a model that settles a conflict is told."""
    needs: tuple[str, ...] = ()
    """Tasks whose work it builds on. Those that are not to be merged now are merged already."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A conflict, and how it ended."""

    path: str
    kind: str
    task: str
    """Whose merge it was in."""
    by: Settler = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A task whose work is not in the merged whole."""

    task: str
    problem: str
    clash: tuple[str, ...] = ()
    """Tasks whose work it cannot be together with; empty: it fails by itself."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What can be had together: everything in it passes what proves it."""

    commit: str
    tree: str
    merged: tuple[str, ...] = ()
    """Tasks whose work is in it, in the order of their merges."""
    conflicts: tuple[Settled, ...] = ()
    left: tuple[LeftOut, ...] = field(default=())

    @property
    def culprit(self) -> str:
        """The first task that had to be left out; empty if none had to."""
        return self.left[0].task if self.left else ""

    @property
    def problem(self) -> str:
        return self.left[0].problem if self.left else ""

    def plain(self) -> dict[str, Any]:
        """For states and logs."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Merged:
        """Read what `plain` wrote. Raises msgspec.ValidationError."""
        return msgspec.convert(plain, cls)


def in_order(branches: Sequence[Branch]) -> list[Branch]:
    """What is needed first, otherwise the order that was given. Branches that need each other stay as they are."""
    left, found = list(branches), list[Branch]()
    while left:
        waited_for = {branch.task for branch in left}
        free = next((branch for branch in left if not waited_for & set(branch.needs)), left[0])
        found.append(free)
        left.remove(free)
    return found


async def first_bad(count: int, is_bad: Callable[[int], Awaitable[bool]]) -> int:
    """Find the first bad one of `count` states, of which the last is bad, with as few questions as bisection takes."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if await is_bad(middle) else (middle + 1, high)
    return low
