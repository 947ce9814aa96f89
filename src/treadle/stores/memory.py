"""The store contract in plain Python, for one process: the executable specification of `ports.store`.

Nothing here awaits, so every method is atomic. Read this to know what the other stores must do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from treadle.domain.events import (
    Draft,
    Event,
    RunErrored,
    TaskCancelled,
    TaskClaimed,
    TaskQuarantined,
    TaskReleased,
    check_drafts,
    type_of,
)
from treadle.domain.limit import Limit, LimitRow, check_limit
from treadle.domain.task import Claim, NewTask, RunRow, RunStatus, TaskRow, TaskState
from treadle.errors import Conflict, NotFound
from treadle.ports.clock import Clock, SystemClock
from treadle.ports.store import (
    TASKS,
    Budget,
    Change,
    Commit,
    CommitResult,
    JournalEntry,
    NewRun,
    Renewer,
    SchemaStatus,
    WorkerRow,
    key_taken,
    recorded_already,
    wrong_status,
)
from treadle.stores.memory_blobs import Blobs
from treadle.stores.memory_limits import Gate, Limits
from treadle.stores.memory_rows import Run, Task
from treadle.stores.memory_schedules import Schedules
from treadle.stores.memory_workers import Workers, longest_held
from treadle.stores.wake import Wake

READY, LEASED, WAITING, FAILED = TaskState.READY, TaskState.LEASED, TaskState.WAITING, TaskState.FAILED


class MemoryStore(Schedules, Blobs):
    """Keeps everything in this process; gone when it ends."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._runs: dict[str, Run] = {}
        self._tasks: dict[int, Task] = {}
        self._ready: dict[str, list[tuple[float, int]]] = {}
        self._last_task = 0
        self._live: dict[tuple[str, str], Run] = {}
        """Dedup key -> the live run that has it."""
        self._workers = Workers(self._clock)
        self._limits = Limits()
        self._wake = Wake()

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do; the runs stay readable."""

    # -- runs and commits ------------------------------------------------------------------------------------------

    async def create_run(self, new: NewRun) -> CommitResult:
        if new.run_id in self._runs:
            return CommitResult("conflict", self._runs[new.run_id].version)
        check_drafts(new.events)
        now = self._clock.now()
        run = Run(new, now)
        other = self._live.get(run.dedup) if run.dedup else None
        if other is not None:
            return CommitResult("duplicate", other.version, (), other.status, other.run_id)
        self._runs[new.run_id] = run
        if run.dedup:
            self._live[run.dedup] = run
        self._append(run, new.events, now)
        claims = self._create(run, new.tasks, new.worker, now, new.lease_seconds)
        if new.status.ended:
            self._set_status(run, new.status, None, now)
        else:
            self._rest_if_still(run)
        return CommitResult("committed", run.version, claims, run.status)

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
        now = self._clock.now()
        claims: list[Claim] = []
        passed: list[tuple[str, tuple[float, int]]] = []
        gates: dict[str, Gate] = {}
        if self._limits:
            limited = [queue for queue in queues if queue in self._limits]
            gates = {queue: self._limits.gate(queue, self._tasks.values(), now) for queue in limited}
        ready = [(self._ready[queue], queue) for queue in queues if self._ready.get(queue)]
        while ready and len(claims) < limit:
            heap, queue = min(ready, key=lambda pair: pair[0][0])
            gate = gates.get(queue) if gates else None
            if gate is not None and gate.shut:
                ready.remove((heap, queue))
                if gate.seconds is not None:
                    self._wake.later(TASKS, gate.seconds)
                continue
            entry = heapq.heappop(heap)
            if not heap:
                ready = [pair for pair in ready if pair[0]]
            task = self._tasks.get(entry[1])
            if task is None or task.state is not READY or task.run.ended:
                continue
            wanted = (graphs is None or task.run.graph in graphs) and (
                node_types is None or task.node_type in node_types
            )
            if task.run.paused or not wanted or (gate is not None and not gate.admits(task)):
                passed.append((queue, entry))
                continue
            if gate is not None:
                gate.take(task)
            self._lease(task, worker, now, lease_seconds)
            self._append(task.run, [_claimed(task)], now)
            claims.append(task.claim())
        for queue, entry in passed:
            heapq.heappush(self._ready[queue], entry)
        return claims

    async def commit(self, items: Sequence[Commit], *, lease_seconds: float) -> list[CommitResult]:
        for item in items:
            check_drafts(item.events)
            if item.run_id in self._runs:
                _refuse_recorded(self._runs[item.run_id], item.events)
        now = self._clock.now()
        if self._limits:
            self._wake.touch(TASKS)  # there may be room by now
        return [self._commit(item, now, lease_seconds) for item in items]

    def _commit(self, item: Commit, now: float, lease_seconds: float) -> CommitResult:
        task = self._tasks.get(item.task_id)
        run = self._runs.get(item.run_id)
        if (
            task is None
            or run is None
            or run.ended
            or task.state is not LEASED
            or task.lease_seq != item.lease_seq
            or task.worker != item.worker
        ):
            return CommitResult("fenced", run.version if run else 0, (), run.status if run else RunStatus.CANCELLED)
        if item.expected is not None:
            if item.expected != run.version or item.after not in ("", run.moved_by):
                return CommitResult("conflict", run.version, (), run.status)
            run.version += 1
            run.moved_by = item.name
        self._append(run, item.events, now)
        self._move(task, item, now)
        claims = self._create(run, item.tasks, item.worker, now, lease_seconds) if item.tasks else ()
        if item.status is not None:
            self._set_status(run, item.status, item.error, now)
        elif not claims:
            self._rest_if_still(run)
        return CommitResult("committed", run.version, claims, run.status)

    def _rest_if_still(self, run: Run) -> None:
        """A run whose live tasks all wait for answers waits."""
        if run.tasks and all(t.state is WAITING and t.not_before is None for t in run.tasks.values()):
            run.status = RunStatus.WAITING

    def _move(self, task: Task, item: Commit, now: float) -> None:
        move = item.move
        task.worker = task.lease_until = None
        task.attempt -= move.uncounted
        if move.to == "done":
            del task.run.tasks[task.activation], self._tasks[task.task_id]
            return
        task.error = move.error
        task.state = TaskState(move.to)
        task.not_before = None if move.delay_seconds is None else now + move.delay_seconds
        if task.state is READY:
            self._queue(task)

    def _create(
        self, run: Run, tasks: Iterable[NewTask], worker: str | None, now: float, lease_seconds: float
    ) -> tuple[Claim, ...]:
        claims = []
        for new in tasks:
            self._last_task += 1
            names = (new.activation, new.node, new.node_type, new.queue)
            task = Task(self._last_task, run, *names, new.rank(now), key=new.key)
            run.tasks[new.activation] = self._tasks[task.task_id] = task
            if new.held or new.delay_seconds is not None:
                task.state = WAITING
                task.not_before = None if new.delay_seconds is None else now + new.delay_seconds
            elif new.lease and worker is not None and not run.paused and new.queue not in self._limits:
                self._lease(task, worker, now, lease_seconds)
                claims.append(task.claim())
            else:
                self._queue(task)
        return tuple(claims)

    def _lease(self, task: Task, worker: str, now: float, seconds: float) -> None:
        task.state = LEASED
        task.attempt += 1
        task.lease_seq += 1
        task.worker = worker
        task.leased_at, task.lease_until = now, now + seconds

    def _queue(self, task: Task) -> None:
        task.state = READY
        heapq.heappush(self._ready.setdefault(task.queue, []), (task.rank, task.task_id))
        self._wake.touch(TASKS)

    def _append(self, run: Run, drafts: Iterable[Draft], now: float) -> None:
        run.append(drafts, now)
        if self._wake.waits(run.run_id):
            self._wake.touch(run.run_id)

    def _set_status(self, run: Run, status: RunStatus, error: str | None, now: float) -> None:
        run.status = status
        run.error = error
        run.ended = status.ended
        if not run.ended:
            if run.dedup:
                self._live[run.dedup] = run
            return
        if run.dedup:
            self._live.pop(run.dedup, None)
        if status is not RunStatus.ERROR:
            run.reserved.clear()
            for limits in run.budgets.values():
                limits[2] = 0.0
        for task in list(run.tasks.values()):
            if status is not RunStatus.ERROR:
                self._cancel(task, now)
            elif task.state is LEASED:  # kept for a retry of the run; its holder is fenced out
                task.state, task.worker, task.lease_until = READY, None, None
                task.lease_seq += 1
        self._wake.touch(run.run_id)

    def _cancel(self, task: Task, now: float) -> None:
        self._append(task.run, [Draft(TaskCancelled(), task.activation)], now)
        del task.run.tasks[task.activation], self._tasks[task.task_id]

    async def change(self, change: Change) -> int:
        run = self._run(change.run_id)
        now = self._clock.now()
        self._check(run, change)
        run.version += 1
        run.moved_by = ""
        self._append(run, change.events, now)
        if change.graph is not None:
            run.graph = change.graph
        for kind, limit in change.budgets.items():
            run.budgets.setdefault(kind, [limit, 0.0, 0.0])[0] = limit
        if change.paused is not None:
            run.paused = change.paused
        if change.status is not None:
            self._set_status(run, change.status, change.error, now)
            for task in run.tasks.values():
                if task.state is READY:
                    self._queue(task)
        for activation in change.ready:
            self._make_ready(run.tasks.get(activation))
        if run.status is RunStatus.RUNNING:
            self._rest_if_still(run)
        self._wake.touch(run.run_id)
        return run.version

    def _check(self, run: Run, change: Change) -> None:
        if change.expected is not None and change.expected != run.version:
            raise Conflict(
                f"Run {run.run_id!r} is at version {run.version}, not {change.expected}; nothing was changed."
            )
        if change.only_if and run.status not in change.only_if:
            raise wrong_status(run.run_id, run.status)
        other = self._live.get(run.dedup, run) if run.dedup else run
        if other is not run and change.status is not None and not change.status.ended:
            raise key_taken(run.run_id, other.run_id)
        check_drafts(change.events)
        _refuse_recorded(run, change.events)

    def _make_ready(self, task: Task | None) -> None:
        if task is not None and task.state in (WAITING, FAILED):
            task.attempt = 0 if task.state is FAILED else task.attempt
            task.deaths, task.not_before = 0, None
            self._queue(task)

    # -- leases ----------------------------------------------------------------------------------------------------

    async def release(self, worker: str, held: Mapping[int, int], *, died: bool = False) -> None:
        now = self._clock.now()
        for task_id, lease_seq in held.items():
            task = self._tasks.get(task_id)
            if task and task.state is LEASED and task.lease_seq == lease_seq and task.worker == worker:
                task.attempt -= not died
                task.deaths += died
                self._free(task, "lapsed" if died else "released", now)

    def _free(self, task: Task, reason: str, now: float) -> None:
        task.lease_seq += 1
        task.worker = task.lease_until = task.not_before = None
        self._append(task.run, [Draft(TaskReleased(reason, task.lease_seq), task.activation)], now)
        self._queue(task)

    def renewer(self) -> Renewer:
        return _MemoryRenewer(self)

    def renew(self, worker: str, held: Mapping[int, int], lease_seconds: float) -> frozenset[int]:
        now = self._clock.now()
        lost = set()
        for task_id, lease_seq in held.items():
            task = self._tasks.get(task_id)
            if task and task.state is LEASED and task.lease_seq == lease_seq and task.worker == worker:
                task.lease_until = now + lease_seconds
            else:
                lost.add(task_id)
        return frozenset(lost)

    async def sweep(self, *, max_attempts: int) -> float | None:
        now = self._clock.now()
        due: float | None = None
        for run in list(self._runs.values()):
            if not run.ended and run.deadline is not None and run.deadline <= now:
                self._append(run, [Draft(RunErrored("The run reached its deadline.", "run_timed_out"))], now)
                self._set_status(run, RunStatus.ERROR, "The run reached its deadline.", now)
        for task in list(self._tasks.values()):
            if task.state is LEASED and task.lease_until is not None and task.lease_until <= now:
                task.deaths += 1
                if task.deaths >= max_attempts:
                    self._quarantine(task, now)
                else:
                    self._free(task, "lapsed", now)
            elif task.state is WAITING and task.not_before is not None:
                if task.not_before <= now:
                    task.not_before = None
                    if task.run.status is RunStatus.PENDING:
                        task.run.status = RunStatus.RUNNING
                    self._queue(task)
                else:
                    due = min(due or task.not_before, task.not_before)
        return None if due is None else due - now

    def _quarantine(self, task: Task, now: float) -> None:
        error = f"{task.deaths} workers died holding {task.activation!r}; it was not tried again."
        task.state, task.error, task.worker, task.lease_until = FAILED, error, None, None
        drafts = [Draft(TaskQuarantined(task.deaths), task.activation), Draft(RunErrored(error, "quarantined"))]
        self._append(task.run, drafts, now)
        self._set_status(task.run, RunStatus.ERROR, error, now)

    # -- limits ----------------------------------------------------------------------------------------------------

    async def set_limit(self, limit: Limit) -> None:
        check_limit(limit)
        self._limits.put(limit)
        self._wake.touch(TASKS)

    async def remove_limit(self, queue: str) -> None:
        self._limits.remove(queue)
        self._wake.touch(TASKS)

    async def limits(self) -> list[LimitRow]:
        return self._limits.rows(self._tasks.values(), self._clock.now())

    # -- journal and budgets ---------------------------------------------------------------------------------------

    async def record(self, run_id: str, activation: str, entry: JournalEntry) -> Event:
        run = self._run(run_id)
        now = self._clock.now()
        key = (activation, entry.draft.step or "", type_of(entry.draft.payload)[0])
        if key not in run.journal:
            if entry.blob is not None:
                self._lend(entry.blob)
            self._append(run, [entry.draft], now)
            run.settle((activation, key[1]), entry.settle, now)
        return run.journal[key]

    async def journal(self, run_id: str, activation: str) -> list[Event]:
        return [
            event for event in self._run(run_id).events if event.activation == activation and event.step is not None
        ]

    async def reserve(self, run_id: str, activation: str, key: str, amounts: Mapping[str, float]) -> None:
        self._run(run_id).reserve(activation, key, amounts)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _run(self, run_id: str) -> Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise NotFound(f"There is no run {run_id!r}.", hint="List them with `treadle runs`.") from None

    async def events(self, run_id: str, *, after: int = 0, until: int | None = None, limit: int = 0) -> list[Event]:
        found = self._run(run_id).events[after : None if until is None else max(until, 0)]
        return found[:limit] if limit else found

    async def history(self, run_id: str) -> tuple[int, list[Event]]:
        run = self._run(run_id)
        return run.version, list(run.events)

    async def run(self, run_id: str) -> RunRow:
        return self._run(run_id).row()

    async def runs(
        self, *, prefix: str = "", status: frozenset[RunStatus] = frozenset(), limit: int = 100
    ) -> list[RunRow]:
        rows = [run.row() for run in self._runs.values() if run.run_id.startswith(prefix)]
        rows = [row for row in rows if not status or row.status in status]
        return sorted(rows, key=lambda row: (row.created_at, row.run_id), reverse=True)[:limit]

    async def tasks(self, run_id: str) -> list[TaskRow]:
        return [task.row() for task in sorted(self._run(run_id).tasks.values(), key=lambda task: task.task_id)]

    async def budgets(self, run_id: str) -> list[Budget]:
        return [Budget(kind, *limits) for kind, limits in sorted(self._run(run_id).budgets.items())]

    async def workers(self) -> list[WorkerRow]:
        return self._workers.told(self._tasks.values())

    async def leased(self, *, limit: int = 1000) -> list[TaskRow]:
        return [task.row() for task in longest_held(self._tasks.values())[:limit]]

    async def now(self) -> float:
        return self._clock.now()

    async def announce(self, worker: WorkerRow) -> None:
        self._workers.announce(worker)

    async def delete_run(self, run_id: str) -> None:
        run = self._run(run_id)
        if not run.ended:
            raise Conflict(f"Run {run_id!r} {run.status.told}; it was not removed.", hint="Cancel it first.")
        for task in run.tasks.values():
            self._tasks.pop(task.task_id, None)
        del self._runs[run_id]
        self._drop(run.events, (event for other in self._runs.values() for event in other.events))

    async def vacuum(self) -> None:
        """Nothing to give back."""

    async def schema(self) -> SchemaStatus:
        return SchemaStatus()

    async def migrate(self, *, post: bool = False) -> list[str]:
        return []

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        return await self._wake.wait(topic, seen, timeout)


def _refuse_recorded(run: Run, drafts: Iterable[Draft]) -> None:
    for draft in drafts:
        if (draft.activation, draft.step, type(draft.payload).__name__) in run.journal:
            raise recorded_already(draft.step, draft.activation)


def _claimed(task: Task) -> Draft:
    assert task.worker is not None
    return Draft(TaskClaimed(task.worker, task.attempt, task.lease_seq), task.activation)


class _MemoryRenewer:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def renew(self, worker: str, held: Mapping[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        return self._store.renew(worker, held, lease_seconds)

    def close(self) -> None:
        """Nothing to do."""
