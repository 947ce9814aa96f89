"""Waiting requests, grouped by model and kind, so that a decision need not look at each."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from treadle.pool.state import Line

T = TypeVar("T")
Kind = tuple[str, bool]
"""Model, and whether somebody sits before the request."""


@dataclass(slots=True)
class _Group(Generic[T]):
    items: OrderedDict[int, tuple[float, T]] = field(default_factory=OrderedDict)
    arrived_sum: float = 0.0


class Queues(Generic[T]):
    """First in, first out, per model and kind. Every operation takes constant time, whatever waits."""

    def __init__(self) -> None:
        self._groups: dict[Kind, _Group[T]] = {}
        self._next = 0

    def __len__(self) -> int:
        return sum(len(group.items) for group in self._groups.values())

    def put(self, model: str, item: T, at: float, *, interactive: bool = False) -> tuple[Kind, int]:
        """Append a request; returns what `drop` takes."""
        kind = (model, interactive)
        group = self._groups.setdefault(kind, _Group())
        self._next += 1
        group.items[self._next] = (at, item)
        group.arrived_sum += at
        return kind, self._next

    def take(self, model: str, *, interactive: bool = False) -> tuple[float, T]:
        """Remove the oldest request; returns when it came, and itself. Raises KeyError if none waits."""
        kind = (model, interactive)
        group = self._groups[kind]
        _, (at, item) = group.items.popitem(last=False)
        self._left(kind, group, at)
        return at, item

    def drop(self, ticket: tuple[Kind, int]) -> bool:
        """Remove a request that nobody waits for any more; False if it has gone already."""
        kind, number = ticket
        group = self._groups.get(kind)
        found = group.items.pop(number, None) if group is not None else None
        if group is None or found is None:
            return False
        self._left(kind, group, found[0])
        return True

    def lines(self) -> list[Line]:
        """Tell what waits, as a decision sees it."""
        return [
            Line(
                model=model,
                count=len(group.items),
                oldest=next(iter(group.items.values()))[0],
                arrived_sum=group.arrived_sum,
                interactive=interactive,
                number=next(iter(group.items)),
            )
            for (model, interactive), group in self._groups.items()
        ]

    def _left(self, kind: Kind, group: _Group[T], at: float) -> None:
        group.arrived_sum -= at
        if not group.items:
            del self._groups[kind]
