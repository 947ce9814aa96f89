"""What a new run begins with: its first events and entry tasks, as one value for the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import Draft, RunStarted
from treadle.domain.task import NewTask, RunStatus
from treadle.engine import advance
from treadle.engine.advance import Placing
from treadle.engine.results import RunOptions
from treadle.errors import UsageError
from treadle.graph.plan import Position
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import NewRun, Store


async def seconds_until(store: Store, options: RunOptions) -> float | None:
    """How long after now a run is to begin; None: at once. Raises UsageError for what cannot be."""
    delay, at = options.delay_seconds, options.at
    if at is not None:
        if delay is not None:
            raise UsageError(
                "A run begins after a delay or at a time, not both; it was not started.", hint="Give one of them."
            )
        delay = max(at.timestamp() - await store.now(), 0.0)
    if delay is not None and not 0 <= delay < float("inf"):
        raise UsageError(f"A delay of {delay} s cannot be; the run was not started.", hint="Give 0 or more seconds.")
    return delay or None


def first_plan(
    graph: CompiledGraph, run_id: str, initial_state: Any, labels: dict[str, str], hand_on: int, place: Placing | None
) -> tuple[Position, list[NewTask], list[Draft], RunStatus]:
    """Where a new run stands, its entry tasks, and what its log begins with."""
    state = graph.schema.initial({} if initial_state is None else initial_state)
    position = Position(graph)
    tasks, held = advance.first_tasks(run_id, position.start(state), hand_on, place)
    started = RunStarted(state=msgspec.Raw(codec.encode_shared(state)), labels=labels, spec=msgspec.Raw(graph.spec))
    events: list[Draft] = [Draft(started), *held]
    status = RunStatus.RUNNING
    if not tasks:
        end, status, _ = advance.ending(position)
        events.append(Draft(end))
    return position, tasks, events, status


def delayed(tasks: Sequence[NewTask], seconds: float) -> list[NewTask]:
    """Entry tasks that become due later; one that waits for an answer goes on doing so."""
    return [task if task.held else msgspec.structs.replace(task, delay_seconds=seconds, lease=False) for task in tasks]


def new_run(
    graph: CompiledGraph, run_id: str, options: RunOptions, tasks: Sequence[NewTask], events: Sequence[Draft],
    status: RunStatus, *, worker: str | None = None, lease_seconds: float = 10.0, delay: float | None = None,
) -> NewRun:  # fmt: skip
    """One run as the store takes it. Its dedup key is told apart by the graph's name."""
    deadline = options.deadline_seconds
    if delay is not None and status is RunStatus.RUNNING:
        tasks = delayed(tasks, delay)
        status = RunStatus.PENDING if any(not task.held for task in tasks) else status
        deadline = None if deadline is None else deadline + delay
    return NewRun(
        run_id,
        graph.pin,
        events,
        tasks,
        worker,
        lease_seconds,
        options.tenant,
        options.project,
        options.labels,
        deadline,
        options.budgets,
        status,
        None if options.dedup is None else f"{graph.name}:{options.dedup}",
    )
