"""What the memory store keeps of a task and of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from treadle.domain.events import RESULTS, BudgetSettled, Draft, Event, type_of
from treadle.domain.task import Claim, RunRow, TaskRow, TaskState
from treadle.errors import BudgetExceeded
from treadle.ports.store import NewRun, over_already


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
    key: str | None = None

    def row(self) -> TaskRow:
        return TaskRow(
            self.task_id, self.run.run_id, self.activation, self.node, self.node_type, self.queue, self.state,
            self.attempt, self.lease_seq, self.worker, self.lease_until, self.not_before, self.error,
            self.leased_at if self.state is TaskState.LEASED else None, self.key,
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
        self.dedup = None if new.dedup is None else (new.tenant, new.dedup)
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

    def append(self, drafts: Iterable[Draft], now: float) -> None:
        events = self.events
        for draft in drafts:
            name, version = type_of(draft.payload)
            event = Event(
                len(events) + 1, draft.at or now, self.run_id, draft.activation, name, version, self.tenant,
                self.project, draft.payload, draft.step,
            )  # fmt: skip
            events.append(event)
            if draft.step is not None and draft.activation is not None:
                self.journal.setdefault((draft.activation, draft.step, name), event)
        self.updated_at = now

    def reserve(self, activation: str, key: str, amounts: Mapping[str, float]) -> None:
        if any((activation, key, name) in self.journal for name in RESULTS):
            return  # whoever asks has lost its lease, and will be given what is recorded
        if self.ended and any(amounts.values()):
            raise over_already(self.run_id)
        booked = self.reserved.get((activation, key), {})
        wanted = {kind: amount - booked.get(kind, 0.0) for kind, amount in amounts.items()}
        for kind, more in wanted.items():
            limit, spent, reserved = self.budgets.setdefault(kind, [None, 0.0, 0.0])  # type: ignore[list-item]
            if limit is not None and spent + reserved + more > limit:
                left = f"{limit - spent - reserved:g} of {limit:g}"
                raise BudgetExceeded(
                    f"The next call may take {amounts[kind]:g} {kind}; {left} are left. It was not made."
                )
        for kind, more in wanted.items():
            self.budgets[kind][2] += more
        self.reserved[activation, key] = {**booked, **amounts}

    def settle(self, key: tuple[str, str], amounts: Mapping[str, float], now: float) -> None:
        for kind, amount in self.reserved.pop(key, {}).items():
            self.budgets[kind][2] -= amount
        for kind, amount in amounts.items():
            limits = self.budgets.setdefault(kind, [None, 0.0, 0.0])  # type: ignore[list-item]
            limits[1] += amount
            self.append([Draft(BudgetSettled(kind, amount, limits[1]), key[0])], now)
