"""Limits of queues in the memory store: what one claim may still take of a queue, and when to ask again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from treadle.domain.limit import Limit, LimitRow
from treadle.domain.task import TaskState
from treadle.ports.store import no_limit
from treadle.stores.memory_rows import Task


class Gate:
    """How much one claim may take of a limited queue."""

    def __init__(self, limit: Limit, leased: Iterable[Task], begun: deque[float], now: float) -> None:
        self._limit = limit
        self._begun = begun
        self._now = now
        self._keys = Counter(task.key for task in leased)
        self._held = self._keys.total()

    @property
    def shut(self) -> bool:
        limit = self._limit
        return (limit.concurrency is not None and self._held >= limit.concurrency) or self.seconds is not None

    @property
    def seconds(self) -> float | None:
        """Until the rate allows another task; None if it does now."""
        limit = self._limit
        if limit.rate is None or len(self._begun) < limit.rate:
            return None
        return self._begun[-limit.rate] + limit.rate_seconds - self._now

    def admits(self, task: Task) -> bool:
        limit = self._limit
        return limit.per_key is None or task.key is None or self._keys[task.key] < limit.per_key

    def take(self, task: Task) -> None:
        self._keys[task.key] += 1
        self._held += 1
        if self._limit.rate is not None:
            self._begun.append(self._now)


class Limits:
    """The limits, and when tasks under a rate were begun."""

    def __init__(self) -> None:
        self._limits: dict[str, Limit] = {}
        self._begun: dict[str, deque[float]] = {}

    def __contains__(self, queue: str) -> bool:
        return queue in self._limits

    def __bool__(self) -> bool:
        return bool(self._limits)

    def put(self, limit: Limit) -> None:
        self._limits[limit.queue] = limit

    def remove(self, queue: str) -> None:
        if self._limits.pop(queue, None) is None:
            raise no_limit(queue)
        self._begun.pop(queue, None)

    def gate(self, queue: str, tasks: Iterable[Task], now: float) -> Gate:
        leased = (task for task in tasks if task.state is TaskState.LEASED and task.queue == queue)
        return Gate(self._limits[queue], leased, self._lately(queue, now), now)

    def rows(self, tasks: Iterable[Task], now: float) -> list[LimitRow]:
        held = Counter(task.queue for task in tasks if task.state is TaskState.LEASED)
        return [
            LimitRow(limit, held[queue], len(self._lately(queue, now))) for queue, limit in sorted(self._limits.items())
        ]

    def _lately(self, queue: str, now: float) -> deque[float]:
        begun = self._begun.setdefault(queue, deque())
        while begun and begun[0] <= now - self._limits[queue].rate_seconds:
            begun.popleft()
        return begun
