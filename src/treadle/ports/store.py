"""The store port: runs, tasks, leases, events, journal and budgets behind one contract.

A store knows nothing of graphs: it keeps rows, fences commits and appends events. What comes next is decided by
`graph.plan` over the log. `treadle.testing.store_suite` is this contract as tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from treadle.domain.events import Draft, Event
from treadle.domain.limit import Limit, LimitRow
from treadle.domain.schedule import Schedule, ScheduleRow
from treadle.domain.task import Claim, NewTask, RunRow, RunStatus, TaskRow, WorkerState
from treadle.errors import Conflict, NotFound

WORKER_SEEN_SECONDS = 15.0
"""A worker that was not heard of for so long is not alive."""
TASKS = "tasks"
"""Topic of `Store.wait`: a task became ready."""


class NewRun(msgspec.Struct, frozen=True):
    """A run to be created, with its entry tasks."""

    run_id: str
    graph: str
    events: Sequence[Draft]
    tasks: Sequence[NewTask]
    worker: str | None = None
    """Takes the tasks marked `lease`."""
    lease_seconds: float = 10.0
    tenant: str = "default"
    project: str = "default"
    labels: Mapping[str, str] = {}
    deadline_seconds: float | None = None
    budgets: Mapping[str, float] = {}
    """Limit by kind; a kind without a limit is only counted."""
    status: RunStatus = RunStatus.RUNNING
    """`pending`: until the first delayed task is due."""
    dedup: str | None = None
    """A key that one live run of the tenant may have; an ended run gives it up."""


class TaskMove(msgspec.Struct, frozen=True, gc=False):
    """What a commit does to its task."""

    to: Literal["done", "ready", "waiting", "failed"]
    delay_seconds: float | None = None
    """For `waiting`: due after so long; None waits for an answer."""
    error: str | None = None
    uncounted: bool = False
    """The attempt does not count: the node did not fail, it asked to wait."""


class Commit(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one task: applied whole, or not at all."""

    run_id: str
    task_id: int
    lease_seq: int
    worker: str
    events: Sequence[Draft]
    move: TaskMove
    expected: int | None = None
    """Run version that the plan was made against; None when nothing was planned. A planned commit raises it by one."""
    tasks: Sequence[NewTask] = ()
    status: RunStatus | None = None
    """New status of the run, if it changes."""
    error: str | None = None
    after: str = ""
    """`name` of the commit, perhaps still under way, that this one was planned on top of: it, and no other change, must
    have made the version `expected`. Empty: whoever made it."""
    plan: int = 0
    """Tells plans apart that one holder of a task made, because the first met a conflict."""

    @property
    def name(self) -> str:
        """What others say that they were planned on top of; the same only if it is sent again."""
        return f"{self.task_id}.{self.lease_seq}.{self.plan}"


class CommitResult(msgspec.Struct, frozen=True, gc=False):
    """`committed`; `fenced`: the lease is gone; `conflict`: the run moved on, so plan again; `duplicate`: of a new run.

    Only the first changed anything.
    """

    status: Literal["committed", "fenced", "conflict", "duplicate"]
    version: int
    """The run's version after this item."""
    claims: tuple[Claim, ...] = ()
    """Created tasks that were handed on, in the order of `tasks`. None are while the run is paused, and none of queues
    with a limit."""
    run_status: RunStatus = RunStatus.RUNNING
    """The run's status after this item."""
    run_id: str = ""
    """Of a `duplicate`: the live run that has the key; version and status are that one's."""


class Change(msgspec.Struct, frozen=True):
    """A change of a run from outside its tasks: pause, resume, cancel, answer, retry, update.

    A run that goes on afterwards, and whose live tasks all wait for answers, is `waiting`.
    """

    run_id: str
    events: Sequence[Draft]
    expected: int | None = None
    """Version the caller saw; None: whatever it is now."""
    status: RunStatus | None = None
    """`cancelled` or `done` cancels every live task; holders are fenced out."""
    only_if: frozenset[RunStatus] = frozenset()
    """If given, the run must be in one of these states."""
    ready: Sequence[str] = ()
    """Activations whose waiting or failed task becomes ready; any other is passed over."""
    paused: bool | None = None
    error: str | None = None
    budgets: Mapping[str, float] = {}
    """New limits by kind."""
    graph: str | None = None
    """Pin the run to another graph (a migration)."""


class Budget(msgspec.Struct, frozen=True):
    """One kind of budget of a run. Holds at all times: spent + reserved <= limit."""

    kind: str
    limit: float | None
    spent: float
    reserved: float


class JournalEntry(msgspec.Struct, frozen=True):
    """A recorded effect of an activation."""

    draft: Draft
    settle: Mapping[str, float] = {}
    """Replaces what was reserved under the same key."""
    blob: bytes | None = None
    """What the draft names by its digest (`domain.events.blob_of`); kept with it, and not if another record won."""


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker: what it says of itself, and from `started_at` on what the store says of it, whatever is announced."""

    worker: str
    host: str
    pid: int
    capacity: int
    """Tasks run at once; 0: it has left."""
    queues: tuple[str, ...]
    state: WorkerState = WorkerState.SERVING
    node_types: tuple[str, ...] = ()
    """Of which it has functions, whatever the graph."""
    graphs: tuple[str, ...] = ()
    """That it knows, as `name@hash`."""
    finished: int = 0
    """Tasks that it finished since it began."""
    failed: int = 0
    """Attempts that failed."""
    per_minute: float = 0.0
    """Tasks finished a minute, over the last minute."""
    started_at: float = 0.0
    """When the store first heard of it, by the store's clock."""
    seen_at: float = 0.0
    """When the store last heard of it."""
    alive: bool = True
    """Seen lately. Otherwise it holds tasks still, until their leases lapse."""
    held: int = 0
    """Tasks leased to it."""
    knows: int = 0
    """Newest migration of the store's schema that its program has."""


Phase = Literal["pre", "post"]
"""`pre`: only adds, and older programs work on. `post`: takes away what only they need."""


class PendingMigration(msgspec.Struct, frozen=True):
    """A change of the schema that this program knows and the store does not have yet."""

    number: int
    name: str
    phase: Phase


class SchemaStatus(msgspec.Struct, frozen=True):
    """How the schema of a store stands; all zero where there is none."""

    schema: int = 0
    """Newest migration applied."""
    knows: int = 0
    """Newest migration that this program has."""
    pending: tuple[PendingMigration, ...] = ()


class Renewer(Protocol):
    """Renews leases from a thread of its own, over a connection of its own."""

    def renew(self, worker: str, held: Mapping[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        """Extend the leases of `held` (task id -> lease_seq); returns those that are lost. Blocking; idempotent.

        Raises:
            StoreUnavailable: It was not done `within` so many seconds; if it was done, nobody has heard of it.
        """

    def close(self) -> None: ...


class Runs(Protocol):
    """Runs and their log."""

    async def create_run(self, run: NewRun) -> CommitResult:
        """Create a run with its entry tasks and first events.

        Idempotent by run id: a second call answers `conflict` and changes nothing. So does, with `duplicate`, a run
        whose `dedup` a live run has.

        Raises:
            CodecError: An event type is not registered. There is no run.
            Conflict: Two of the events have the same journal key and type. There is no run.
        """

    async def change(self, change: Change) -> int:
        """Apply a change from outside; returns the new version.

        Raises:
            NotFound: No such run.
            Conflict: The version differs from `expected`, the status is not one of `only_if`, the journal has an event
                of the same type under the same key (somebody answered first), or the run would go on although
                another live run has its `dedup` by now. Nothing changed.
        """

    async def delete_run(self, run_id: str) -> None:
        """Remove an ended run and all that is only its own. Raises Conflict while it goes on."""

    async def run(self, run_id: str) -> RunRow:
        """Raises NotFound."""

    async def runs(
        self, *, prefix: str = "", status: frozenset[RunStatus] = frozenset(), limit: int = 100
    ) -> list[RunRow]:
        """Runs whose id starts so, newest first."""

    async def events(self, run_id: str, *, after: int = 0, until: int | None = None, limit: int = 0) -> list[Event]:
        """Events with after < seq <= until, in order; `limit` 0 means all."""

    async def history(self, run_id: str) -> tuple[int, list[Event]]:
        """The version of a run and its whole log, as of one moment. Raises NotFound."""


class Tasks(Protocol):
    """Tasks and their leases."""

    async def claim(
        self,
        worker: str,
        *,
        queues: Sequence[str],
        limit: int,
        lease_seconds: float,
        graphs: Sequence[str] | None = None,
        node_types: Sequence[str] | None = None,
    ) -> list[Claim]:
        """Lease up to `limit` ready tasks of runs that are neither ended nor paused.

        Two workers never hold one task. Never waits; [] when nothing is ready. Ordered by `NewTask.rank`, then task id.
        Of a queue with a limit, no more than that leaves: claims of such a queue wait for each other, briefly. The
        attempt is counted here and `lease_seq` rises. `graphs` and `node_types` narrow it to what the caller can
        run.
        """

    async def commit(self, items: Sequence[Commit], *, lease_seconds: float) -> list[CommitResult]:
        """Record outcomes, one result per item, in order. Atomic per run: an item that is refused leaves no trace.

        An item is `fenced` unless its task is leased under exactly that `lease_seq` and its run goes on. A run whose
        live tasks all wait for answers becomes `waiting`. A run that ends in `error` keeps its tasks for a retry.

        Raises:
            CodecError: An event type is not registered. Nothing was recorded, of no item.
            Conflict: The journal has an event of the same type under the same key. Nothing was recorded, of no item.
        """

    async def release(self, worker: str, held: Mapping[int, int], *, died: bool = False) -> None:
        """Give leased tasks back; what is no longer held is left alone.

        The attempt is not counted, unless the worker is known to have died holding them: then it is a death.
        """

    def renewer(self) -> Renewer:
        """A connection for the heartbeat thread."""

    async def sweep(self, *, max_attempts: int) -> float | None:
        """Return lapsed leases to ready, wake delayed tasks that are due (and with them their pending runs), end runs
        past their deadline.

        A task whose holders died `max_attempts` times fails and its run with it. Any number of processes may sweep.
        Returns seconds until the next delayed task is due, or None.
        """

    async def tasks(self, run_id: str) -> list[TaskRow]:
        """Live and failed tasks of a run, by task id."""


class Limits(Protocol):
    """How much of a queue may run, whoever runs it."""

    async def set_limit(self, limit: Limit) -> None:
        """Set what holds for a queue, in place of what did. It holds for what begins from now on.

        Idempotent. `claim` takes no more of the queue than it leaves; what it holds back becomes claimable, with a
        wake-up, as soon as it leaves room.
        """

    async def remove_limit(self, queue: str) -> None:
        """Raises NotFound."""

    async def limits(self) -> list[LimitRow]:
        """By queue."""


class Schedules(Protocol):
    """Runs that begin by the calendar. The store keeps ticks; whoever knows the graph reckons them and begins runs."""

    async def put_schedule(self, schedule: Schedule, next_at: float) -> None:
        """Keep a schedule, in place of one of its name; it is not paused. What was begun last stays known."""

    async def pause_schedule(self, name: str, next_at: float | None) -> None:
        """Pause it, or with the tick that comes next go on. Raises NotFound."""

    async def remove_schedule(self, name: str) -> None:
        """Raises NotFound."""

    async def schedules(self) -> list[ScheduleRow]:
        """By name."""

    async def tick(self, name: str, seen: float, next_at: float, run_id: str | None) -> bool:
        """Say that the tick `seen` is dealt with, by this run or by none, and which comes next.

        False, and nothing is changed, if that tick is not the next one any more, or the schedule is paused or gone.
        """


class Journal(Protocol):
    """Effects inside a node, and the budgets they are booked against."""

    async def record(self, run_id: str, activation: str, entry: JournalEntry) -> Event:
        """Add an effect to the journal; the first record of a key wins and is returned, whoever brings it."""

    async def journal(self, run_id: str, activation: str) -> list[Event]:
        """All journal events of one activation, oldest first."""

    async def reserve(self, run_id: str, activation: str, key: str, amounts: Mapping[str, float]) -> None:
        """Book amounts against the run's budgets. Idempotent by key; for what is recorded already nothing is booked.

        They stay booked until the effect is recorded, amounts of 0 are booked in their place, or the run is done or
        cancelled. A run in error keeps them: it may be retried while the effect is still under way.

        Raises:
            BudgetExceeded: A limit does not cover it. Nothing was booked, of no kind.
            Conflict: The run has ended. Nothing was booked.
        """

    async def budgets(self, run_id: str) -> list[Budget]:
        """By kind."""


class Blobs(Protocol):
    """Large bytes, by content."""

    async def put_blob(self, data: bytes) -> str:
        """Keep bytes under the SHA-256 of their content; returns it. Idempotent."""

    async def get_blob(self, digest: str) -> bytes:
        """Raises NotFound."""


class Presence(Protocol):
    """Who is at work, and what is new."""

    async def workers(self) -> list[WorkerRow]:
        """Workers seen within `WORKER_SEEN_SECONDS`, and others that hold tasks, by name."""

    async def leased(self, *, limit: int = 1000) -> list[TaskRow]:
        """Leased tasks of all runs, by worker, the one held longest first."""

    async def announce(self, worker: WorkerRow) -> None:
        """Say that a worker is alive, or (capacity 0) that it has left.

        Raises:
            StoreUnavailable: The schema has become one for newer programs; the worker must not go on.
        """

    async def now(self) -> float:
        """The store's time, in seconds since 1970."""

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        """Wait until something about `topic` changed, or `timeout` seconds; returns a mark to pass as `seen` next time.

        Topics: TASKS (some task became ready) or a run id (it has new events). No mark is 0: with that it returns at
        once. A hint only: it may return early, and it may be late for changes made by another process, so a read must
        follow.
        """


class Store(Runs, Tasks, Limits, Schedules, Journal, Blobs, Presence, Protocol):
    """Atomic and durable unless a method says otherwise. Time is the store's own. Rows come in a stated order."""

    async def open(self) -> None:
        """Connect, and apply `pre` migrations. Idempotent.

        Raises:
            StoreUnavailable: It was not reached; or its schema is for newer programs.
        """

    async def schema(self) -> SchemaStatus:
        """How the schema stands."""

    async def migrate(self, *, post: bool = False) -> list[str]:
        """Apply the migrations that are due, `post` ones if asked for; returns their names.

        Raises:
            Conflict: A worker that is alive is too old for a post migration. None was applied.
        """

    async def close(self) -> None:
        """Finish what was accepted, then disconnect. Idempotent."""

    async def vacuum(self) -> None:
        """Give the space of removed runs back, as far as the store can without losing anybody's lease. May take long.

        SQLite: the file shrinks; who writes waits. PostgreSQL: nobody waits; mostly the tables use the space again.
        """


def wrong_status(run_id: str, status: RunStatus) -> Conflict:
    """What a store says of a change that is only for runs in another state."""
    hint = "A run that has ended stays as it is: fork it, or retry what failed." if status.ended else None
    return Conflict(f"Run {run_id!r} {status.told}; nothing was changed.", hint=hint)


def no_limit(queue: str) -> NotFound:
    """What a store says of a queue that has no limit."""
    return NotFound(f"Queue {queue!r} has no limit; nothing was removed.", hint="List them: `treadle limits list`.")


def no_schedule(name: str) -> NotFound:
    """What a store says of a schedule that is not there."""
    return NotFound(f"There is no schedule {name!r}; nothing was changed.", hint="List them: `treadle schedule list`.")


def key_taken(run_id: str, other: str) -> Conflict:
    """What a store says of a run that cannot go on because another has its `dedup`."""
    return Conflict(
        f"Run {run_id!r} has the dedup key of run {other!r}, which is live; nothing was changed.",
        hint=f"Wait for {other!r} to end, or cancel it.",
    )


def over_already(run_id: str) -> Conflict:
    """What a store says of a reservation for a run that has ended."""
    return Conflict(f"Run {run_id!r} has ended; nothing was booked, and no call may be made for it.")


def recorded_already(step: str | None, activation: str | None) -> Conflict:
    """What a store says of a second event of one type under one journal key."""
    return Conflict(f"{step!r} of {activation!r} is recorded already; nothing was changed.")
