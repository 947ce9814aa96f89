"""The store on SQLite: the port's methods over one writer thread, one reader thread, and a heartbeat connection."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from treadle.domain.events import Event, check_drafts
from treadle.domain.limit import Limit, LimitRow, check_limit
from treadle.domain.schedule import Schedule, ScheduleRow
from treadle.domain.task import Claim, RunRow, RunStatus, TaskRow
from treadle.errors import NotFound, StoreUnavailable
from treadle.ports.clock import Clock, SystemClock
from treadle.ports.store import (
    TASKS,
    WORKER_SEEN_SECONDS,
    Budget,
    Change,
    Commit,
    CommitResult,
    JournalEntry,
    NewRun,
    Renewer,
    SchemaStatus,
    WorkerRow,
)
from treadle.stores.sqlite import changes, limits, migrate, rows, schedules
from treadle.stores.sqlite import connection as sql
from treadle.stores.sqlite.connection import connect, mapped_errors
from treadle.stores.sqlite.limits import Wanted
from treadle.stores.sqlite.wake import Wake
from treadle.stores.sqlite.writer import Writer

T = TypeVar("T")
NO_LIMIT = -1
NEWEST = 2**32 - 1


class SqliteStore:
    """One SQLite file. Several processes of one host may have it open; see `ports.store` for the contract."""

    def __init__(self, path: str | Path, *, clock: Clock | None = None, synchronous: str = "FULL") -> None:
        """`synchronous`: FULL survives a power cut; NORMAL survives kill -9, not always a power cut."""
        self.path = Path(path)
        self._clock = clock or SystemClock()
        self._wake = Wake(self._data_version)
        self._writer = Writer(self.path, synchronous)
        self._reader: apsw.Connection | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="treadle-sqlite-reader")
        self._opened = False

    async def open(self) -> None:
        if not self._opened:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnavailable(
                    f"The folder of the store {self.path} cannot be made: {error.strerror}.",
                    hint="Name a writable place with --store or TREADLE_STORE_URL.",
                ) from error
            await self._writer.start()
            self._opened = True

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            await self._wake.close()
            await asyncio.get_running_loop().run_in_executor(self._pool, self._close_reader)
            await self._writer.stop()  # last: only a writer can fold the write-ahead log into the file
        self._pool.shutdown(wait=True)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _read(self, query: Callable[[apsw.Connection], T]) -> asyncio.Future[T]:
        def run() -> T:
            with mapped_errors(self.path, "Nothing was read."):
                if self._reader is None:
                    self._reader = connect(self.path, readonly=True)
                return query(self._reader)

        if not self._opened:
            raise StoreUnavailable(f"The store {self.path} is closed; nothing was read.", hint="Open it first.")
        return asyncio.get_running_loop().run_in_executor(self._pool, run)

    # -- writing: each is one operation of `changes`, run by the writer -------------------------------------------

    async def _write(
        self, operation: Callable[[apsw.Connection], T], *, run: str | None = None, tasks: bool = False
    ) -> T:
        """Run a write; then wake who waits for news of a run, or for ready tasks."""
        result = await self._writer.submit(operation)
        if run is not None:
            self._wake.touch(run)
        if tasks:
            self._wake.touch(TASKS)
        return result

    async def create_run(self, run: NewRun) -> CommitResult:
        check_drafts(run.events)
        done = await self._write(lambda c: changes.create_run(c, run, self._clock.now()), run=run.run_id)
        if len(done.claims) < len(run.tasks):
            self._wake.touch(TASKS)
        return done

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
        wanted = Wanted(queues, limit, _json(graphs), _json(node_types))
        found, hold = await self._read(lambda c: changes.ready(c, wanted, self._clock.now()))
        if hold is not None:
            self._wake.later(TASKS, hold)
        if not found:
            return []  # most looks find nothing: a read costs no transaction
        return await self._writer.submit(lambda c: changes.claim(c, worker, wanted, self._clock.now(), lease_seconds))

    async def commit(self, items: Sequence[Commit], *, lease_seconds: float) -> list[CommitResult]:
        for item in items:
            check_drafts(item.events)

        def write(c: apsw.Connection) -> tuple[list[CommitResult], bool]:
            now = self._clock.now()
            done = [changes.commit(c, item, now, lease_seconds) for item in items]
            return [result for result, _ in done], any(room for _, room in done)

        results, room = await self._writer.submit(write)
        if room:
            self._wake.touch(TASKS)
        for item, result in zip(items, results, strict=True):
            self._wake.touch(item.run_id)
            if len(result.claims) < len(item.tasks) or item.move.to != "done":
                self._wake.touch(TASKS)
        return results

    async def set_limit(self, limit: Limit) -> None:
        check_limit(limit)
        await self._write(lambda c: limits.put(c, limit), tasks=True)

    async def remove_limit(self, queue: str) -> None:
        await self._write(lambda c: limits.remove(c, queue), tasks=True)

    async def limits(self) -> list[LimitRow]:
        return await self._read(lambda c: limits.rows(c, self._clock.now()))

    async def put_schedule(self, schedule: Schedule, next_at: float) -> None:
        await self._writer.submit(lambda c: schedules.put(c, schedule, next_at))

    async def pause_schedule(self, name: str, next_at: float | None) -> None:
        await self._writer.submit(lambda c: schedules.pause(c, name, next_at))

    async def remove_schedule(self, name: str) -> None:
        await self._writer.submit(lambda c: schedules.remove(c, name))

    async def schedules(self) -> list[ScheduleRow]:
        return await self._read(schedules.rows)

    async def tick(self, name: str, seen: float, next_at: float, run_id: str | None) -> bool:
        return await self._writer.submit(lambda c: schedules.tick(c, name, seen, next_at, run_id))

    async def release(self, worker: str, held: Mapping[int, int], *, died: bool = False) -> None:
        await self._write(lambda c: changes.release(c, worker, held, died, self._clock.now()), tasks=True)

    async def sweep(self, *, max_attempts: int) -> float | None:
        now = self._clock.now()
        due, work = await self._read(lambda c: changes.sweepable(c, now))
        if work:
            due = await self._write(lambda c: changes.sweep(c, max_attempts, self._clock.now()), tasks=True)
        return None if due is None else due - now

    async def record(self, run_id: str, activation: str, entry: JournalEntry) -> Event:
        return await self._write(lambda c: changes.record(c, run_id, activation, entry, self._clock.now()), run=run_id)

    async def reserve(self, run_id: str, activation: str, key: str, amounts: Mapping[str, float]) -> None:
        await self._writer.submit(lambda c: changes.reserve(c, run_id, activation, key, amounts))

    async def change(self, change: Change) -> int:
        run = change.run_id
        check_drafts(change.events)
        return await self._write(lambda c: changes.change(c, change, self._clock.now()), run=run, tasks=True)

    async def announce(self, worker: WorkerRow) -> None:
        def say(c: apsw.Connection) -> None:
            if worker.capacity:
                migrate.refuse_too_old(c, self.path)
            changes.announce(c, worker, self._clock.now())

        await self._writer.submit(say)

    async def schema(self) -> SchemaStatus:
        return await self._read(migrate.status)

    async def migrate(self, *, post: bool = False) -> list[str]:
        apply = functools.partial(migrate.migrate, path=self.path, post=post, now=self._clock.now())
        return await self._writer.submit(apply, plain=True)

    async def put_blob(self, data: bytes) -> str:
        return await self._writer.submit(lambda c: rows.put_blob(c, data, kept=True))

    async def delete_run(self, run_id: str) -> None:
        await self._writer.submit(lambda c: changes.delete_run(c, run_id))

    def renewer(self) -> Renewer:
        return _SqliteRenewer(self.path, self._clock)

    # -- reading ---------------------------------------------------------------------------------------------------

    async def journal(self, run_id: str, activation: str) -> list[Event]:
        def query(c: apsw.Connection) -> list[Event]:
            run_no, *whose = _head(c, run_id)
            return [rows.event(c, row, run_id, *whose) for row in sql.rows(c, "journal", (run_no, activation))]

        return await self._read(query)

    async def events(self, run_id: str, *, after: int = 0, until: int | None = None, limit: int = 0) -> list[Event]:
        def query(c: apsw.Connection) -> list[Event]:
            run_no, *whose = _head(c, run_id)
            bounds = (run_no, after, NEWEST if until is None else until, limit or NO_LIMIT)
            return [rows.event(c, row, run_id, *whose) for row in sql.rows(c, "events", bounds)]

        return await self._read(query)

    async def history(self, run_id: str) -> tuple[int, list[Event]]:
        def query(c: apsw.Connection) -> tuple[int, list[Event]]:
            found = sql.rows(c, "history", (run_id,))
            if not found:
                raise _no_run(run_id)
            version, *whose = found[0][:3]
            return version, [rows.event(c, row[3:], run_id, *whose) for row in found if row[3] is not None]

        return await self._read(query)

    async def run(self, run_id: str) -> RunRow:
        row = await self._read(lambda c: sql.row(c, "run_row", (run_id,)))
        if row is None:
            raise _no_run(run_id)
        return rows.run_row(row)

    async def runs(
        self, *, prefix: str = "", status: frozenset[RunStatus] = frozenset(), limit: int = 100
    ) -> list[RunRow]:
        wanted = (prefix, _json(sorted(status)) if status else None, limit)
        return [rows.run_row(row) for row in await self._read(lambda c: sql.rows(c, "run_rows", wanted))]

    async def tasks(self, run_id: str) -> list[TaskRow]:
        def query(c: apsw.Connection) -> list[TaskRow]:
            run_no, *_ = _head(c, run_id)
            return [rows.task_row(row) for row in sql.rows(c, "task_rows", (run_no, run_id))]

        return await self._read(query)

    async def budgets(self, run_id: str) -> list[Budget]:
        def query(c: apsw.Connection) -> list[Budget]:
            return [Budget(*row) for row in sql.rows(c, "budget_rows", (_head(c, run_id)[0],))]

        return await self._read(query)

    async def workers(self) -> list[WorkerRow]:
        since = self._clock.now() - WORKER_SEEN_SECONDS
        return [rows.worker_row(row) for row in await self._read(lambda c: sql.rows(c, "worker_rows", (since,)))]

    async def leased(self, *, limit: int = 1000) -> list[TaskRow]:
        return [rows.task_row(row) for row in await self._read(lambda c: sql.rows(c, "leased_rows", (limit,)))]

    async def now(self) -> float:
        return self._clock.now()

    async def get_blob(self, digest: str) -> bytes:
        found = await self._read(lambda c: sql.row(c, "get_blob", (digest,)))
        if found is None:
            raise NotFound(f"There is no blob {digest!r}.")
        return bytes(found[0])

    async def vacuum(self) -> None:
        def rewrite(c: apsw.Connection) -> None:
            c.execute("VACUUM")
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the rewritten file lies in the log until then

        await self._writer.submit(rewrite, plain=True)

    # -- waking ----------------------------------------------------------------------------------------------------

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        return await self._wake.wait(topic, seen, timeout)

    async def _data_version(self) -> int:
        """Changes whenever another connection has committed."""
        return await self._writer.submit(lambda c: int(c.pragma("data_version")), plain=True)


class _SqliteRenewer:
    """Renewal need not survive a power cut, so it does not wait for the disk."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._connection = connect(path, synchronous="OFF")

    def renew(self, worker: str, held: Mapping[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        lost = set()
        with mapped_errors(self._path, "No lease was renewed."):
            self._connection.set_busy_timeout(int(within * 1000))
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                until = self._clock.now() + lease_seconds
                for task_id, lease_seq in held.items():
                    sql.run(self._connection, "renew_task", (task_id, lease_seq, worker, until))
                    if not self._connection.changes():
                        lost.add(task_id)
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # it broke; the next try needs a connection that is free
                    self._connection.execute("ROLLBACK")
        return frozenset(lost)

    def close(self) -> None:
        self._connection.close()


def _head(connection: apsw.Connection, run_id: str) -> tuple[int, str, str]:
    row = sql.row(connection, "run_head", (run_id,))
    if row is None:
        raise _no_run(run_id)
    return row  # type: ignore[no-any-return]


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"There is no run {run_id!r}.", hint="List them with `treadle runs`.")


def _json(names: Sequence[str] | None) -> str | None:
    return None if names is None else msgspec.json.encode(list(names)).decode()
