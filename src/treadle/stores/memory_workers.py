"""The workers that the memory store has heard of."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from treadle.domain.task import TaskState
from treadle.ports.clock import Clock
from treadle.ports.store import WORKER_SEEN_SECONDS, WorkerRow
from treadle.stores.memory_rows import Task


class Workers:
    """See `ports.store.Presence`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, WorkerRow] = {}

    def announce(self, worker: WorkerRow) -> None:
        now = self._clock.now()
        known = self._rows.get(worker.worker)
        started = known.started_at if known is not None else now
        self._rows[worker.worker] = msgspec.structs.replace(worker, started_at=started, seen_at=now)
        if not worker.capacity:
            del self._rows[worker.worker]

    def told(self, tasks: Iterable[Task]) -> list[WorkerRow]:
        """Those that are alive, or hold some of these tasks, by name."""
        held: dict[str | None, int] = {}
        for task in tasks:
            held[task.worker] = held.get(task.worker, 0) + 1
        since = self._clock.now() - WORKER_SEEN_SECONDS
        rows = [
            msgspec.structs.replace(self._rows[name], held=held.get(name, 0), alive=self._rows[name].seen_at > since)
            for name in sorted(self._rows)
        ]
        return [row for row in rows if row.alive or row.held]


def longest_held(tasks: Iterable[Task]) -> list[Task]:
    """Leased ones, by worker, the one held longest first."""
    leased = (task for task in tasks if task.state is TaskState.LEASED)
    return sorted(leased, key=lambda task: (task.worker or "", task.leased_at or 0.0, task.task_id))
