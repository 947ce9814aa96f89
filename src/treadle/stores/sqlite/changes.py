"""The writes of the store, each within a transaction that the writer opened. They check before they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec

from treadle.domain.events import (
    RESULTS,
    BudgetSettled,
    Draft,
    Event,
    RunErrored,
    TaskCancelled,
    TaskClaimed,
    TaskQuarantined,
    TaskReleased,
    type_of,
)
from treadle.domain.limit import Limit
from treadle.domain.task import Claim, NewTask, RunStatus
from treadle.errors import BudgetExceeded, Conflict, NotFound
from treadle.ports.store import (
    Change,
    Commit,
    CommitResult,
    JournalEntry,
    NewRun,
    WorkerRow,
    key_taken,
    over_already,
    recorded_already,
    wrong_status,
)
from treadle.stores.sqlite import connection as sql
from treadle.stores.sqlite import limits, rows
from treadle.stores.sqlite.limits import Wanted
from treadle.stores.sqlite.migrate import NEWEST
from treadle.stores.sqlite.rows import RunHead, append

_NONE: frozenset[str] = frozenset()


def create_run(c: apsw.Connection, new: NewRun, now: float) -> CommitResult:
    if new.dedup is not None:
        if (known := sql.row(c, "find_run", (new.run_id,))) is not None:
            return CommitResult("conflict", known[1], (), RunStatus(known[6]))
        if other := sql.row(c, "find_duplicate", (new.tenant, new.dedup)):
            return CommitResult("duplicate", other[0], (), RunStatus(other[1]), other[2])
    deadline = None if new.deadline_seconds is None else now + new.deadline_seconds
    labels = msgspec.json.encode(dict(new.labels)).decode()
    values = (new.run_id, new.graph, new.status.value, new.tenant, new.project, now, deadline, labels, new.dedup)
    made = sql.row(c, "insert_run", values)
    if made is None:
        known = sql.row(c, "find_run", (new.run_id,))
        return CommitResult("conflict", known[1], (), RunStatus(known[6]))
    run = RunHead(new.run_id, made[0], 1, 0, 0, 0, 0, new.status.value)
    append(c, run, new.events, now)
    for kind, limit in new.budgets.items():
        sql.run(c, "set_budget", (run.run_no, kind, limit))
    limited = limits.queues(c) if made[1] else _NONE
    claims = _create_tasks(c, run, new.graph, new.tasks, new.worker, now, new.lease_seconds, limited)
    if new.status.ended:
        _set_status(c, run, new.status, None, now)
    elif not claims:
        _rest_if_still(c, run, now)
    _touch(c, run, now)
    return CommitResult("committed", run.version, claims, run.status)


def ready(
    c: apsw.Connection, wanted: Wanted, now: float, known: Mapping[str, Limit] | None = None
) -> tuple[list[rows.Row], float | None]:
    """Ready tasks in claim order, over all queues asked for; seconds until a rate allows more."""
    known = limits.known(c) if known is None else known
    found: list[rows.Row] = []
    hold: float | None = None
    for queue in wanted.queues:
        limit = known.get(queue)
        if limit is None:
            found += sql.rows(c, "ready_tasks", (queue, wanted.limit, wanted.graphs, wanted.node_types))
        else:
            more, seconds = limits.allowed(c, limit, wanted, now)
            found += more
            hold = seconds if hold is None else min(hold, seconds or hold)
    if len(wanted.queues) > 1:
        found.sort(key=lambda row: (row[9], row[0]))
    return found[: wanted.limit], hold


def claim(c: apsw.Connection, worker: str, wanted: Wanted, now: float, lease_seconds: float) -> list[Claim]:
    claims = []
    known = limits.known(c)
    found, _ = ready(c, wanted, now, known)
    for row in found:
        sql.run(c, "lease_task", (row[0], worker, now + lease_seconds, now))
        leased = rows.claim_of(row, leased=True)
        run = _run(c, leased.run_id)
        append(c, run, [Draft(TaskClaimed(worker, leased.attempt, leased.lease_seq), leased.activation)], now)
        _touch(c, run, now)
        claims.append(leased)
    if known:
        limits.begin(c, known, [row[11] for row in found], now)
    return claims


def commit(c: apsw.Connection, item: Commit, now: float, lease_seconds: float) -> tuple[CommitResult, bool]:
    """Also tells whether a queue with a limit may have room now."""
    row = sql.row(c, "find_task", (item.task_id,))
    if row is None:
        known = sql.row(c, "find_run", (item.run_id,))
        status = RunStatus(known[6] if known else "cancelled")
        return CommitResult("fenced", known[1] if known else 0, (), status), False
    lease_seq, worker, _, *head, graph, moved_by, has_limits = row
    run = RunHead(item.run_id, *head)
    if run.ended or lease_seq != item.lease_seq or worker != item.worker:
        return CommitResult("fenced", run.version, (), run.status), False
    if item.expected is not None and (item.expected != run.version or item.after not in ("", moved_by)):
        return CommitResult("conflict", run.version, (), run.status), False
    _refuse_recorded(c, run, item.events)
    if item.expected is not None:
        run.version += 1
        run.moved_by = item.name
    append(c, run, item.events, now)
    limited = limits.queues(c) if has_limits else _NONE
    old = item.task_id if len(item.tasks) == 1 and item.move.to == "done" else None
    if old is None:
        _move(c, item, now)
    claims = _create_tasks(c, run, graph, item.tasks, item.worker, now, lease_seconds, limited, old)
    if item.status is not None:
        _set_status(c, run, item.status, item.error, now)
    elif not claims:
        _rest_if_still(c, run, now)
    _touch(c, run, now)
    return CommitResult("committed", run.version, claims, run.status), bool(limited)


def _move(c: apsw.Connection, item: Commit, now: float) -> None:
    move = item.move
    if move.to == "done":
        sql.run(c, "delete_task", (item.task_id,))
        return
    due = None if move.delay_seconds is None else now + move.delay_seconds
    sql.run(c, "move_task", (item.task_id, move.to, due, move.error, int(move.uncounted)))


def _create_tasks(
    c: apsw.Connection, run: RunHead, graph: str, tasks: Sequence[NewTask], worker: str | None, now: float,
    lease: float, limited: frozenset[str], old: int | None = None,
) -> tuple[Claim, ...]:  # fmt: skip
    """`old`: a task that is done, whose row the one new task takes."""
    if not tasks:
        return ()
    claims = []
    for new in tasks:
        leased = new.lease and worker is not None and not run.paused and new.queue not in limited
        waits = new.held or new.delay_seconds is not None
        state = "waiting" if waits else "leased" if leased else "ready"
        due = now + new.delay_seconds if new.delay_seconds is not None else None
        holder = (worker, now + lease, now) if state == "leased" else (None, None, None)
        run.last_task += 1
        task_id = run.run_no << 31 | run.last_task
        values = (task_id, new.activation, new.node, new.node_type, new.queue, new.rank(now), state,
                  int(state == "leased"), *holder, due, new.key)  # fmt: skip
        if old is None:
            sql.run(c, "insert_task", values)
        else:
            sql.run(c, "succeed_task", (old, *values))
        if state == "leased":
            claims.append(Claim(task_id, run.run_id, new.activation, new.node, new.node_type, graph, 1, 1))
    return tuple(claims)


def _rest_if_still(c: apsw.Connection, run: RunHead, now: float) -> None:
    """A run whose live tasks all wait for answers waits."""
    if sql.row(c, "moving", (run.run_no,)) is None and sql.row(c, "any_task", (run.run_no,)):
        _set_status(c, run, RunStatus.WAITING, None, now)


def _set_status(c: apsw.Connection, run: RunHead, status: RunStatus, error: str | None, now: float) -> None:
    run.status = status
    sql.run(c, "set_status", (run.run_no, status.value, int(status.ended), error))
    if not status.ended:
        return
    if status is RunStatus.ERROR:
        sql.run(c, "keep_for_retry", (run.run_no,))
        return
    sql.run(c, "delete_all_reservations", (run.run_no,))
    if c.changes():
        sql.run(c, "clear_reserved", (run.run_no,))
    left = sql.rows(c, "run_tasks", (run.run_no,))
    if left:
        append(c, run, [Draft(TaskCancelled(), row[1]) for row in left], now)
        sql.run(c, "delete_run_tasks", (run.run_no,))


def _touch(c: apsw.Connection, run: RunHead, now: float) -> None:
    sql.run(c, "touch_run", (run.run_no, run.version, run.last_seq, run.last_task, now, run.moved_by))


def _run(c: apsw.Connection, run_id: str) -> RunHead:
    row = sql.row(c, "find_run", (run_id,))
    if row is None:
        raise NotFound(f"There is no run {run_id!r}.", hint="List them with `treadle runs`.")
    return RunHead(run_id, *row)


def release(c: apsw.Connection, worker: str, held: Mapping[int, int], died: bool, now: float) -> None:
    for task_id, lease_seq in held.items():
        row = sql.row(c, "find_task", (task_id,))
        if row is not None and row[0] == lease_seq and row[1] == worker:
            _free(c, RunHead("", *row[3:10]), task_id, row[2], lease_seq, died=died, counted=died, now=now)


def _free(
    c: apsw.Connection,
    run: RunHead,
    task_id: int,
    activation: str,
    lease_seq: int,
    *,
    died: bool,
    counted: bool,
    now: float,
) -> None:
    sql.run(c, "free_task", (task_id, int(not counted), int(died)))
    reason = "lapsed" if died else "released"
    append(c, run, [Draft(TaskReleased(reason, lease_seq + 1), activation)], now)
    _touch(c, run, now)


def sweepable(c: apsw.Connection, now: float) -> tuple[float | None, bool]:
    """(when the next delayed task is due, whether there is anything to sweep)."""
    due = sql.row(c, "next_due")[0]
    lapsed = sql.row(c, "lapsed_tasks", (now,)) or sql.row(c, "overdue_runs", (now,))
    return due, lapsed is not None or (due is not None and due <= now)


def sweep(c: apsw.Connection, max_attempts: int, now: float) -> float | None:
    for _, run_id in sql.rows(c, "overdue_runs", (now,)):
        _end_in_error(c, _run(c, run_id), [], "The run reached its deadline.", "run_timed_out", now)
    for task_id, activation, deaths, lease_seq in sql.rows(c, "lapsed_tasks", (now,)):
        row = sql.row(c, "find_task", (task_id,))
        if row is None:
            continue  # another task of its run has just ended that run
        run = RunHead("", *row[3:10])
        if deaths + 1 >= max_attempts:
            error = f"{deaths + 1} workers died holding {activation!r}; it was not tried again."
            sql.run(c, "quarantine_task", (task_id, error))
            _end_in_error(c, run, [Draft(TaskQuarantined(deaths + 1), activation)], error, "quarantined", now)
        else:
            _free(c, run, task_id, activation, lease_seq, died=True, counted=True, now=now)
    sql.run(c, "begin_pending", (now,))
    sql.run(c, "wake_due", (now,))
    due: float | None = sql.row(c, "next_due")[0]
    return due


def _end_in_error(c: apsw.Connection, run: RunHead, drafts: Sequence[Draft], error: str, code: str, now: float) -> None:
    append(c, run, [*drafts, Draft(RunErrored(error, code))], now)
    _set_status(c, run, RunStatus.ERROR, error, now)
    _touch(c, run, now)


def record(c: apsw.Connection, run_id: str, activation: str, entry: JournalEntry, now: float) -> Event:
    run = _run(c, run_id)
    draft = entry.draft
    key = (run.run_no, activation, draft.step, type_of(draft.payload)[0])
    _, tenant, project = sql.row(c, "run_head", (run_id,))
    known = sql.row(c, "journal_entry", key)
    if known is not None:
        return rows.event(c, known, run_id, tenant, project)
    if entry.blob is not None:
        rows.put_blob(c, entry.blob, kept=False)
    append(c, run, [draft], now)
    seq, (name, version) = run.last_seq, type_of(draft.payload)
    _settle(c, run, activation, draft.step or "", entry.settle, now)
    _touch(c, run, now)
    return Event(seq, now, run_id, activation, name, version, tenant, project, draft.payload, draft.step)


def reserve(c: apsw.Connection, run_id: str, activation: str, key: str, amounts: Mapping[str, float]) -> None:
    run = _run(c, run_id)
    if any(sql.row(c, "journal_entry", (run.run_no, activation, key, name)) for name in RESULTS):
        return  # whoever asks has lost its lease, and will be given what is recorded
    if run.ended and any(amounts.values()):
        raise over_already(run_id)
    booked = dict(sql.rows(c, "reservations", (run.run_no, activation, key)))
    for kind in amounts:
        sql.run(c, "set_budget", (run.run_no, kind, None))
    budgets = {row[0]: row[1:] for row in sql.rows(c, "budget_rows", (run.run_no,))}
    more = {kind: amount - booked.get(kind, 0.0) for kind, amount in amounts.items()}
    for kind, wanted in more.items():
        limit, spent, reserved = budgets[kind]
        if limit is not None and spent + reserved + wanted > limit:
            left = f"{limit - spent - reserved:g} of {limit:g}"
            raise BudgetExceeded(f"The next call may take {amounts[kind]:g} {kind}; {left} are left. It was not made.")
    for kind, wanted in more.items():
        sql.rows(c, "book_budget", (run.run_no, kind, wanted, 0.0))
        sql.run(c, "put_reservation", (run.run_no, activation, key, kind, amounts[kind]))


def _settle(
    c: apsw.Connection, run: RunHead, activation: str, step: str, amounts: Mapping[str, float], now: float
) -> None:
    for kind, amount in sql.rows(c, "reservations", (run.run_no, activation, step)):
        sql.rows(c, "book_budget", (run.run_no, kind, -amount, 0.0))
    sql.run(c, "delete_reservations", (run.run_no, activation, step))
    for kind, amount in amounts.items():
        sql.run(c, "set_budget", (run.run_no, kind, None))
        spent: Any = sql.row(c, "book_budget", (run.run_no, kind, 0.0, amount))
        append(c, run, [Draft(BudgetSettled(kind, amount, spent[0]), activation)], now)


def change(c: apsw.Connection, wanted: Change, now: float) -> int:
    run = _run(c, wanted.run_id)
    if wanted.expected is not None and wanted.expected != run.version:
        raise Conflict(f"Run {run.run_id!r} is at version {run.version}, not {wanted.expected}; nothing was changed.")
    if wanted.only_if and run.status not in wanted.only_if:
        raise wrong_status(run.run_id, run.status)
    if run.ended and wanted.status is not None and not wanted.status.ended:
        other = sql.row(c, "key_holder", (run.run_no,))
        if other is not None:
            raise key_taken(run.run_id, other[0])
    _refuse_recorded(c, run, wanted.events)
    run.version += 1
    run.moved_by = ""
    append(c, run, wanted.events, now)
    for kind, limit in wanted.budgets.items():
        sql.run(c, "set_budget", (run.run_no, kind, limit))
    paused = None if wanted.paused is None else int(wanted.paused)
    sql.run(c, "change_run", (run.run_no, paused, wanted.graph))
    if wanted.status is not None:
        _set_status(c, run, wanted.status, wanted.error, now)
    for activation in wanted.ready:
        sql.run(c, "ready_task", (run.run_no, activation))
    if run.status is RunStatus.RUNNING:
        _rest_if_still(c, run, now)
    _touch(c, run, now)
    return run.version


def _refuse_recorded(c: apsw.Connection, run: RunHead, drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        key = (run.run_no, draft.activation, draft.step, type(draft.payload).__name__)
        if draft.step is not None and sql.row(c, "journal_entry", key) is not None:
            raise recorded_already(draft.step, draft.activation)


def announce(c: apsw.Connection, worker: WorkerRow, now: float) -> None:
    if worker.capacity:
        about = msgspec.json.encode(worker).decode()
        sql.run(c, "put_worker", (worker.worker, about, NEWEST, now))
        sql.run(c, "delete_old_workers", (now - 3600,))
    else:
        sql.run(c, "delete_worker", (worker.worker,))


def delete_run(c: apsw.Connection, run_id: str) -> None:
    run = _run(c, run_id)
    if not run.ended:
        raise Conflict(f"Run {run_id!r} {run.status.told}; it was not removed.", hint="Cancel it first.")
    for name in (
        "delete_run_tasks",
        "delete_run_events",
        "delete_run_budgets",
        "delete_all_reservations",
        "delete_run",
    ):
        sql.run(c, name, (run.run_no,))
    sql.run(c, "delete_loose_blobs")
