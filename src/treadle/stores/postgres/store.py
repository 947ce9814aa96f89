"""The store on PostgreSQL: the port's methods, each one statement over a pool of connections."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from treadle.domain.events import Event, check_drafts, encode_payload, type_of
from treadle.domain.limit import Limit, LimitRow, check_limit
from treadle.domain.schedule import Schedule, ScheduleRow
from treadle.domain.task import Claim, RunRow, RunStatus, TaskRow
from treadle.errors import BudgetExceeded, Conflict, NotFound, TreadleError
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
    key_taken,
    no_limit,
    no_schedule,
    over_already,
    recorded_already,
    wrong_status,
)
from treadle.stores import migrations as rule
from treadle.stores.postgres import migrate, rows
from treadle.stores.postgres.commit import Commits
from treadle.stores.postgres.connection import Connection, target
from treadle.stores.postgres.create import Creations
from treadle.stores.postgres.group import Group
from treadle.stores.postgres.pool import Pool
from treadle.stores.postgres.renew import PostgresRenewer
from treadle.stores.postgres.rows import Columns, clean
from treadle.stores.postgres.wake import Wake

T = TypeVar("T")
NEWEST = 2**62
CLAIM_TRIES = 5
History = tuple[int, list[Event]]
BUSY_SECONDS = 0.005
"""After a claim that left something because its run was being changed."""


class PostgresStore:
    """One schema of one PostgreSQL database. Time is the database's; see `ports.store` for the contract.

    It belongs to the event loop that opened it.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str | None = None,
        pool_size: int | None = None,
        statement_cache_size: int | None = None,
        listen_dsn: str | None = None,
        patience_seconds: float = 10.0,
    ) -> None:
        """All but `patience_seconds` may also stand in the DSN: `postgresql://host/db?pool_size=8`.

        Args:
            schema: Where the tables are; several stores may share a database.
            statement_cache_size: 0 behind pgbouncer in transaction mode, before 1.21; nothing listens then, unless
                `listen_dsn` leads past it.
            patience_seconds: How long an operation tries to get a lost server back.

        Raises:
            ConfigError: The DSN cannot be used.
        """
        self.where = target(
            dsn,
            schema=schema,
            pool_size=pool_size,
            statement_cache_size=statement_cache_size,
            listen_dsn=listen_dsn,
        )
        self._pool = Pool(self.where, patience_seconds)
        self._wake = Wake(self._pool)
        self._commits = Group(Commits(self._pool, self._room).record, self._committed)
        self._creations = Group(Creations(self._pool).record, self._created)
        self._histories = Group(self._read_histories, _nothing)
        self._behind: set[asyncio.Task[Any]] = set()
        """What goes on although nobody waits for it."""

    async def open(self) -> None:
        if not self._pool.opened:
            await self._pool.open()
            try:
                await self._pool.run(lambda c: migrate.migrate(c, self.where))
                await self._wake.open()
            except BaseException:
                await self._pool.close()
                raise

    async def close(self) -> None:
        if self._pool.opened:
            await self._creations.close()
            await self._commits.close()
            await self._histories.close()
            if self._behind:
                await asyncio.wait(self._behind)
            await self._wake.close()
            await self._pool.close()

    # -- runs ------------------------------------------------------------------------------------------------------

    async def create_run(self, run: NewRun) -> CommitResult:
        check_drafts(run.events)
        return await self._creations.submit(run.run_id, (run, secrets.token_hex(8)))

    def _created(self, item: tuple[NewRun, str], result: CommitResult) -> None:
        if result.status == "committed":
            self._wake.touch(item[0].run_id)
            if len(result.claims) < len(item[0].tasks):
                self._wake.touch(TASKS)

    async def change(self, change: Change) -> int:
        check_drafts(change.events)
        columns = Columns()
        columns.add_events(1, change.events)
        token = secrets.token_hex(8)
        values = (
            change.run_id, change.expected, change.status and change.status.value, [s.value for s in change.only_if],
            list(change.ready), change.paused, clean(change.error), list(change.budgets),
            list(change.budgets.values()), change.graph, token, *columns.events, *columns.blobs,
        )  # fmt: skip

        async def once(c: Connection) -> Any:
            return (await c.fetch(self._pool.sql["change"], *values))[0]

        async def find_out(c: Connection) -> Any:
            took_place = await c.fetch(self._pool.sql["took_place"], [change.run_id], [token])
            return ("changed", took_place[0][1], None, None) if took_place else await once(c)

        outcome, version, status, detail = await self._pool.run(once, again=find_out)
        if outcome != "changed":
            raise _refused(change, outcome, version, status, detail)
        self._wake.touch(change.run_id)
        self._wake.touch(TASKS)
        return int(version)

    async def delete_run(self, run_id: str) -> None:
        async def find_out(c: Connection) -> list[Any]:
            found = await c.fetch(self._pool.sql["delete_run"], run_id)
            return [] if found and found[0][0] is None else found  # it is gone: we did that

        sql = self._pool.sql["delete_run"]
        for (status,) in await self._pool.run(lambda c: c.fetch(sql, run_id), again=find_out):
            if status is None:
                raise _no_run(run_id)
            raise Conflict(f"Run {run_id!r} {RunStatus(status).told}; it was not removed.", hint="Cancel it first.")

    async def run(self, run_id: str) -> RunRow:
        found = await self._pool.rows("run_row", run_id)
        if not found:
            raise _no_run(run_id)
        return rows.run_row(found[0])

    async def runs(
        self, *, prefix: str = "", status: frozenset[RunStatus] = frozenset(), limit: int = 100
    ) -> list[RunRow]:
        wanted = sorted(s.value for s in status) or None
        return [rows.run_row(row) for row in await self._pool.rows("run_rows", prefix, wanted, limit)]

    async def events(self, run_id: str, *, after: int = 0, until: int | None = None, limit: int = 0) -> list[Event]:
        return await self._log(run_id, "events", after, NEWEST if until is None else until, limit or None)

    async def history(self, run_id: str) -> tuple[int, list[Event]]:
        found = await self._histories.submit(run_id, run_id)
        if found is None:
            raise _no_run(run_id)
        return found

    async def _read_histories(self, run_ids: list[str]) -> list[History | None]:
        found: dict[int, History] = {}
        for n, version, *row in await self._pool.rows("histories", run_ids):
            _, events = found.setdefault(n, (version, []))
            if row[2] is not None:
                events.append(rows.event(run_ids[n - 1], row))
        return [found.get(n) for n in range(1, len(run_ids) + 1)]

    async def journal(self, run_id: str, activation: str) -> list[Event]:
        return await self._log(run_id, "journal", activation)

    async def _log(self, run_id: str, name: str, *values: Any) -> list[Event]:
        found = await self._of_run(name, run_id, *values)
        return [rows.event(run_id, row) for row in found if row[2] is not None]

    async def _of_run(self, name: str, run_id: str, *values: Any) -> list[Any]:
        """Rows of a query that gives at least one for every run there is."""
        found = await self._pool.rows(name, run_id, *values)
        if not found:
            raise _no_run(run_id)
        return found

    # -- tasks -----------------------------------------------------------------------------------------------------

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
        claim_id = secrets.randbits(63)
        names = (None if graphs is None else list(graphs), None if node_types is None else list(node_types))
        values = (worker, list(dict.fromkeys(queues)), limit, lease_seconds, *names, claim_id)
        claiming = asyncio.get_running_loop().create_task(self._claim(values))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:  # nobody will run what it gets
            self._go_on(self._give_back(worker, claiming))
            raise

    async def _claim(self, values: tuple[Any, ...]) -> list[Claim]:
        worker, claim_id = values[0], values[-1]
        for wait in (False, *[True] * CLAIM_TRIES):

            async def once(c: Connection, wait: bool = wait) -> list[Any]:
                return [*await c.fetch(self._pool.sql["claim"], *values, wait)]

            async def find_out(c: Connection, wait: bool = wait) -> list[Any]:
                return await c.fetch(self._pool.sql["claimed"], worker, claim_id) or await once(c, wait)

            found = await self._pool.run(once, again=find_out)
            claims = [rows.claim(row) for row in found if row[0] is not None]
            more = len(claims) < len(found)
            if more:
                self._wake.later(TASKS, found[-1][6] / 1000 or BUSY_SECONDS)
            if claims or not more or found[-1][6]:
                return claims
        return []

    async def _give_back(self, worker: str, claiming: asyncio.Task[list[Claim]]) -> None:
        try:
            held = {claim.task_id: claim.lease_seq for claim in await claiming}
            if held:
                await self.release(worker, held)
        except TreadleError:
            return  # the leases will lapse

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def commit(self, items: Sequence[Commit], *, lease_seconds: float) -> list[CommitResult]:
        for item in items:
            check_drafts(item.events)
        submitted = [self._commits.submit(item.run_id, (item, lease_seconds)) for item in items]
        if len(submitted) == 1:
            return [await submitted[0]]
        return list(await asyncio.gather(*submitted))

    def _committed(self, of: tuple[Commit, float], result: CommitResult) -> None:
        item = of[0]
        if result.status != "committed":
            return
        self._wake.touch(item.run_id)
        if len(result.claims) < len(item.tasks) or item.move.to == "ready" or item.move.delay_seconds is not None:
            self._wake.touch(TASKS)

    def _room(self) -> None:
        self._wake.touch(TASKS)

    async def set_limit(self, limit: Limit) -> None:
        check_limit(limit)
        values = (limit.concurrency, limit.per_key, limit.rate, limit.rate_seconds)
        await self._pool.rows("set_limit", clean(limit.queue), *values)
        self._wake.touch(TASKS)

    async def remove_limit(self, queue: str) -> None:
        if not await self._pool.rows("remove_limit", clean(queue)):
            raise no_limit(queue)
        self._wake.touch(TASKS)

    async def limits(self) -> list[LimitRow]:
        return [LimitRow(Limit(*row[:5]), row[5], row[6]) for row in await self._pool.rows("limits")]

    async def put_schedule(self, schedule: Schedule, next_at: float) -> None:
        spec = msgspec.json.encode(schedule).decode()
        await self._pool.rows("put_schedule", schedule.name, spec, next_at)

    async def pause_schedule(self, name: str, next_at: float | None) -> None:
        if not await self._pool.rows("pause_schedule", name, next_at):
            raise no_schedule(name)

    async def remove_schedule(self, name: str) -> None:
        if not await self._pool.rows("remove_schedule", name):
            raise no_schedule(name)

    async def schedules(self) -> list[ScheduleRow]:
        return [
            ScheduleRow(msgspec.json.decode(spec, type=Schedule), *row)
            for spec, *row in await self._pool.rows("schedules")
        ]

    async def tick(self, name: str, seen: float, next_at: float, run_id: str | None) -> bool:
        return bool(await self._pool.rows("tick", name, seen, next_at, run_id))

    async def release(self, worker: str, held: Mapping[int, int], *, died: bool = False) -> None:
        await self._pool.rows("release", worker, list(held), list(held.values()), died)
        self._wake.touch(TASKS)

    def renewer(self) -> Renewer:
        return PostgresRenewer(self.where)

    async def sweep(self, *, max_attempts: int) -> float | None:
        [(due, freed)] = await self._pool.rows("sweep", max_attempts)
        if freed:
            self._wake.touch(TASKS)
        return None if due is None else float(due)

    async def tasks(self, run_id: str) -> list[TaskRow]:
        return [rows.task_row(row) for row in await self._of_run("task_rows", run_id) if row[0] is not None]

    # -- journal and budgets ---------------------------------------------------------------------------------------

    async def record(self, run_id: str, activation: str, entry: JournalEntry) -> Event:
        draft = entry.draft
        (name, version), data = type_of(draft.payload), encode_payload(draft.payload)
        large = data if len(data) > rows.INLINE else entry.blob
        digest = None if large is None else hashlib.sha256(large).hexdigest()
        found = await self._pool.rows(
            "record", run_id, activation, draft.step or "", name, version, None if large is data else data, digest,
            large, draft.at or None, list(entry.settle), list(entry.settle.values()),
        )  # fmt: skip
        if not found:
            raise _no_run(run_id)
        seq, at, name, version, _, step, payload, tenant, project, fresh = found[0]
        if not fresh:
            return rows.event(run_id, (tenant, project, seq, at, name, version, activation, step, payload))
        self._wake.touch(run_id)
        return Event(seq, at, run_id, activation, name, version, tenant, project, draft.payload, step)

    async def reserve(self, run_id: str, activation: str, key: str, amounts: Mapping[str, float]) -> None:
        values = [float(amount) for amount in amounts.values()]
        for kind, limit, left in await self._pool.rows("reserve", run_id, activation, key, list(amounts), values):
            if kind is None:
                raise _no_run(run_id) if left is None else over_already(run_id)
            raise BudgetExceeded(
                f"The next call may take {amounts[kind]:g} {kind}; {left:g} of {limit:g} are left. It was not made."
            )

    async def budgets(self, run_id: str) -> list[Budget]:
        return [Budget(*row) for row in await self._of_run("budget_rows", run_id) if row[0] is not None]

    # -- blobs, presence -------------------------------------------------------------------------------------------

    async def put_blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        await self._pool.rows("put_blob", digest, data)
        return digest

    async def get_blob(self, digest: str) -> bytes:
        found = await self._pool.rows("get_blob", digest)
        if not found:
            raise NotFound(f"There is no blob {digest!r}.")
        return bytes(found[0][0])

    async def workers(self) -> list[WorkerRow]:
        return [rows.worker_row(row) for row in await self._pool.rows("worker_rows", WORKER_SEEN_SECONDS)]

    async def leased(self, *, limit: int = 1000) -> list[TaskRow]:
        return [rows.task_row(row) for row in await self._pool.rows("leased_rows", limit)]

    async def now(self) -> float:
        [(now,)] = await self._pool.rows("now")
        return float(now)

    async def announce(self, worker: WorkerRow) -> None:
        if worker.capacity:
            about = msgspec.json.encode(worker).decode()
            [(oldest,)] = await self._pool.rows("put_worker", worker.worker, about, migrate.NEWEST)
            rule.refuse_too_old(migrate.MIGRATIONS, oldest, oldest, self.where.shown)
        else:
            await self._pool.rows("delete_worker", worker.worker)

    async def schema(self) -> SchemaStatus:
        return await self._pool.run(lambda c: migrate.status(c, self.where))

    async def migrate(self, *, post: bool = False) -> list[str]:
        return await self._pool.run(lambda c: migrate.migrate(c, self.where, post=post))

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        return await self._wake.wait(topic, seen, timeout)

    async def vacuum(self) -> None:
        """As `ports.store`, but nobody waits: space is given back to the tables, and the ends of the files to the disk.

        Rewriting the tables (VACUUM FULL) would hold up every worker for longer than its lease.
        """
        for table in ("runs", "tasks", "events", "blobs", "budgets", "reservations", "workers", "starts"):
            sql = f"VACUUM (ANALYZE) {self.where.schema}.{table}"
            await self._pool.run(lambda c, sql=sql: c.execute(sql, timeout=3600))  # type: ignore[misc]


def _nothing(*_: object) -> None:
    """Nobody is to be told of a read."""


def _refused(change: Change, outcome: str, version: int, status: str, detail: Sequence[str] | None) -> TreadleError:
    run_id = change.run_id
    if outcome == "missing":
        return _no_run(run_id)
    if outcome == "version":
        return Conflict(f"Run {run_id!r} is at version {version}, not {change.expected}; nothing was changed.")
    if outcome == "taken" and detail:
        return key_taken(run_id, detail[0])
    if outcome == "status" or detail is None:
        return wrong_status(run_id, RunStatus(status))
    return recorded_already(*detail[:2])


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"There is no run {run_id!r}.", hint="List them with `treadle runs`.")
