"""Tasks and runs: their states and the moves between them. Pure tables; the stores enforce them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from treadle.domain.events import Event
from treadle.errors import UsageError


class TaskState(StrEnum):
    """Where one activation of a node stands."""

    WAITING = "waiting"
    """Not yet due: a retry or sleep in the future, or an interrupt nobody has answered."""
    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkerState(StrEnum):
    """Where a worker stands."""

    IDLE = "idle"
    """Made, not started."""
    SERVING = "serving"
    DRAINING = "draining"
    """Claims nothing more, and finishes what it holds."""
    STOPPED = "stopped"


class RunStatus(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    """Paused, or nothing can move until somebody answers."""
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in _ENDED

    @property
    def told(self) -> str:
        """The state as part of a sentence: `Run 'r1' has failed; ...`."""
        return _TOLD[self]


_TOLD = {
    RunStatus.PENDING: "has not begun",
    RunStatus.RUNNING: "is running",
    RunStatus.WAITING: "is waiting",
    RunStatus.DONE: "is done",
    RunStatus.ERROR: "has failed",
    RunStatus.CANCELLED: "was cancelled",
}
_ENDED = frozenset({RunStatus.DONE, RunStatus.ERROR, RunStatus.CANCELLED})

TASK_MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset({TaskState.READY, TaskState.CANCELLED}),
    TaskState.READY: frozenset({TaskState.LEASED, TaskState.WAITING, TaskState.CANCELLED}),
    TaskState.LEASED: frozenset(
        {TaskState.DONE, TaskState.FAILED, TaskState.WAITING, TaskState.READY, TaskState.CANCELLED}
    ),
    TaskState.DONE: frozenset(),
    TaskState.FAILED: frozenset({TaskState.READY, TaskState.CANCELLED}),
    TaskState.CANCELLED: frozenset(),
}
"""Every move a task may make. `leased -> ready` is a lapsed or released lease; `failed -> ready` is `retry`."""


WORKER_MOVES: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.IDLE: frozenset({WorkerState.SERVING, WorkerState.STOPPED}),
    WorkerState.SERVING: frozenset({WorkerState.DRAINING, WorkerState.STOPPED}),
    WorkerState.DRAINING: frozenset({WorkerState.STOPPED}),
    WorkerState.STOPPED: frozenset({WorkerState.SERVING}),
}
"""Every move a worker may make. A worker that dies makes none: its leases lapse."""


def check_move(old: TaskState, new: TaskState) -> None:
    """Raise UsageError for a move that the table does not allow."""
    if new not in TASK_MOVES[old]:
        raise UsageError(f"A task cannot go from {old.value!r} to {new.value!r}.")


AGEING_SECONDS = 60.0
"""One step of priority. A task that has waited so much longer comes first, so a stream of others cannot starve it."""


class NewTask(msgspec.Struct, frozen=True, gc=False):
    """A task to be created by a commit."""

    activation: str
    node: str
    """Qualified name in the graph: `sub/edit` for a node of a subgraph."""
    node_type: str
    queue: str = "default"
    priority: int = 0
    """Higher is claimed first; one step is worth AGEING_SECONDS of waiting."""
    delay_seconds: float | None = None
    """None: due now. Otherwise waiting until then."""
    held: bool = False
    """Waiting for an answer; no clock makes it ready."""
    lease: bool = False
    """Hand on: the committing worker gets it, leased, in the same commit. Tasks of limited queues are only claimed."""
    key: str | None = None
    """What a limit per key of its queue counts by."""

    @property
    def head_start(self) -> float:
        """Seconds by which it comes before a task of priority 0 that is due at the same time."""
        return self.priority * AGEING_SECONDS

    def rank(self, now: float) -> float:
        """Where it stands among ready tasks: the least is claimed first. Fixed, so that whoever waits rises."""
        return now + (self.delay_seconds or 0.0) - self.head_start


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A task leased to a worker. `lease_seq` fences: a commit that names an older one changes nothing."""

    task_id: int
    run_id: str
    activation: str
    node: str
    node_type: str
    graph: str
    """`name@hash` of the graph that the run is pinned to."""
    attempt: int
    lease_seq: int
    start: Event | None = None
    """The run's first event, if nothing else that matters has happened in it yet and the store had it at hand. The run
    is at version 1 then, and its log need not be read."""


class TaskRow(msgspec.Struct, frozen=True):
    """A live or failed task as a reader sees it. Done tasks live on in the log only."""

    task_id: int
    run_id: str
    activation: str
    node: str
    node_type: str
    queue: str
    state: TaskState
    attempt: int
    lease_seq: int
    worker: str | None
    lease_until: float | None
    not_before: float | None
    error: str | None
    leased_at: float | None = None
    """When its present holder got it."""
    key: str | None = None


def claim_of(task: TaskRow, graph: str) -> Claim:
    """The claim that a leased row stands for."""
    return Claim(
        task.task_id, task.run_id, task.activation, task.node, task.node_type, graph, task.attempt, task.lease_seq
    )


class RunRow(msgspec.Struct, frozen=True):
    """A run as a reader sees it."""

    run_id: str
    graph: str
    status: RunStatus
    version: int
    """Rises with every planned commit and every change from outside, which names the version it saw."""
    last_seq: int
    """Sequence number of its newest event."""
    tenant: str
    project: str
    created_at: float
    updated_at: float
    deadline: float | None = None
    paused: bool = False
    error: str | None = None
    labels: dict[str, str] = {}
    """What the starter of the run wrote on it, e.g. the goal."""
