"""What the memory store keeps of a task and of a run."""

from __future__ import annotations

import msgspec

from treadle.domain.events import Event
from treadle.domain.task import Claim, RunRow, TaskRow, TaskState
from treadle.ports.store import NewRun


class Task(msgspec.Struct, eq=False):
    task_id: int
    run: Run
    activation: str
    node: str
    node_type: str
    queue: str
    rank: float
    state: TaskState = TaskState.READY
    attempt: int = 0
    deaths: int = 0
    lease_seq: int = 0
    worker: str | None = None
    lease_until: float | None = None
    not_before: float | None = None
    error: str | None = None
    leased_at: float | None = None

    def row(self) -> TaskRow:
        return TaskRow(
            self.task_id, self.run.run_id, self.activation, self.node, self.node_type, self.queue, self.state,
            self.attempt, self.lease_seq, self.worker, self.lease_until, self.not_before, self.error,
            self.leased_at if self.state is TaskState.LEASED else None,
        )  # fmt: skip

    def claim(self) -> Claim:
        return Claim(
            self.task_id, self.run.run_id, self.activation, self.node, self.node_type, self.run.graph, self.attempt,
            self.lease_seq,
        )  # fmt: skip


class Run:
    def __init__(self, new: NewRun, now: float) -> None:
        self.run_id = new.run_id
        self.graph = new.graph
        self.tenant = new.tenant
        self.project = new.project
        self.labels = dict(new.labels)
        self.status = new.status
        self.ended = False
        self.paused = False
        self.version = 1
        self.moved_by = ""
        """Task and lease_seq of the commit that made the present version; empty: a change from outside."""
        self.created_at = self.updated_at = now
        self.deadline = None if new.deadline_seconds is None else now + new.deadline_seconds
        self.error: str | None = None
        self.events: list[Event] = []
        self.tasks: dict[str, Task] = {}
        self.journal: dict[tuple[str, str, str], Event] = {}
        self.budgets = {kind: [limit, 0.0, 0.0] for kind, limit in new.budgets.items()}
        self.reserved: dict[tuple[str, str], dict[str, float]] = {}

    def row(self) -> RunRow:
        return RunRow(
            self.run_id, self.graph, self.status, self.version, len(self.events), self.tenant, self.project,
            self.created_at, self.updated_at, self.deadline, self.paused, self.error, self.labels,
        )  # fmt: skip
