"""Who is at work: the workers of a store, what each holds, and how fast it goes. Asks the store, never a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.domain.task import TaskRow
from treadle.ports.store import Store, WorkerRow


@dataclass(frozen=True, slots=True)
class HeldTask:
    """One task that a worker holds."""

    run_id: str
    activation: str
    node: str
    attempt: int
    since: float
    seconds: float
    """Held so long."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker, as `treadle workers` shows it. Seconds are by the store's clock."""

    worker: str
    state: str
    """Of the worker's state machine; `silent`: it has not been heard of lately, and holds tasks until they lapse."""
    host: str
    pid: int
    capacity: int
    held: int
    queues: tuple[str, ...]
    node_types: tuple[str, ...]
    graphs: tuple[str, ...]
    finished: int
    failed: int
    per_minute: float
    started_at: float
    seen_at: float
    up_seconds: float
    seen_seconds: float
    """Since it was last heard of."""
    tasks: Sequence[HeldTask]
    """What it holds, longest first; of a very large fleet not all are told."""


async def report(store: Store) -> list[WorkerReport]:
    """The workers that are alive, and those that are not but hold tasks, by name."""
    now, workers, leased = await store.now(), await store.workers(), await store.leased()
    held: dict[str, list[HeldTask]] = {}
    for task in leased:
        held.setdefault(task.worker or "", []).append(_held(task, now))
    return [_report(row, held.get(row.worker, []), now) for row in workers]


def _held(task: TaskRow, now: float) -> HeldTask:
    since = now if task.leased_at is None else task.leased_at
    return HeldTask(task.run_id, task.activation, task.node, task.attempt, since, max(now - since, 0.0))


def _report(row: WorkerRow, tasks: Sequence[HeldTask], now: float) -> WorkerReport:
    return WorkerReport(
        worker=row.worker,
        state=row.state.value if row.alive else "silent",
        host=row.host,
        pid=row.pid,
        capacity=row.capacity,
        held=max(row.held, len(tasks)),
        queues=row.queues,
        node_types=row.node_types,
        graphs=row.graphs,
        finished=row.finished,
        failed=row.failed,
        per_minute=row.per_minute if row.alive else 0.0,
        started_at=row.started_at,
        seen_at=row.seen_at,
        up_seconds=max(now - row.started_at, 0.0),
        seen_seconds=max(now - row.seen_at, 0.0),
        tasks=tasks,
    )
