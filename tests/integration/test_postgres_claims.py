"""Claims under load: their plans, their fairness, and everything that many workers may do to each other at once."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from treadle.domain.events import Draft, NodeFinished
from treadle.domain.limit import Limit
from treadle.domain.task import Claim, RunStatus
from treadle.ports.store import Change, Commit, TaskMove
from treadle.testing.postgres import Server, server_or_skip, system_binaries, wheel_binaries
from treadle.testing.samples import new_run, new_task, note

asyncpg = pytest.importorskip("asyncpg")

from treadle.stores.postgres import PostgresStore  # noqa: E402

schemas = (f"claims{number}" for number in itertools.count())
READY = 100_000


@pytest.fixture
def server() -> Server:
    return server_or_skip(wheel_binaries)


@pytest.fixture
async def store(server: Server) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(server.dsn(), schema=next(schemas))
    await store.open()
    yield store
    await store.close()


async def fill(connection: Any, schema: str, runs: int = 1000) -> None:
    """Put READY ready tasks in, without telling the statistics."""
    await connection.execute(
        f"INSERT INTO {schema}.runs (run_id, graph, status, made_by, tenant, project, created_at, updated_at, labels) "
        f"SELECT 'r' || n, 'g@1', 'running', '', 't', 'p', 0, 0, '{{}}' FROM generate_series(1, {runs}) n"
    )
    await connection.execute(
        f"INSERT INTO {schema}.tasks (run_no, activation, node, node_type, queue, rank, state) "
        f"SELECT 1 + n % {runs}, 'a' || n, 'a', 'a', CASE n % 3 WHEN 0 THEN 'gpu' ELSE 'default' END, "
        f"-60 * (n % 5), 'ready' "
        f"FROM generate_series(1, {READY}) n"
    )


async def test_a_claim_from_a_long_queue_touches_few_pages(server: Server, store: PostgresStore) -> None:
    schema = store.where.schema
    connection = await asyncpg.connect(server.dsn())
    try:
        call = f"SELECT * FROM {schema}.claim_v1('w', ARRAY['default', 'gpu'], 10, 10, ARRAY['g@1'], NULL, 1, false)"
        await connection.fetch(call)  # plans are made, and kept, while the tables are empty
        await fill(connection, schema)
        pages = []
        for _ in range(8):
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {call}"))
            assert "rows=10" in plan or "rows=10.00" in plan or "rows=11" in plan
            line = next(line for line in plan.splitlines() if "Buffers:" in line)
            pages.append(sum(int(part.split("=")[1]) for part in line.split() if part.split("=")[0] in ("hit", "read")))
        size = await connection.fetchval(f"SELECT pg_relation_size('{schema}.tasks') / 8192")
        assert size > 1400  # what a scan of the table would touch, and more for the runs
        assert sorted(pages)[4] < 600, pages
    finally:
        await connection.close()


async def test_every_step_of_a_claim_goes_through_an_index() -> None:
    server = server_or_skip(lambda: system_binaries(15))
    store = PostgresStore(server.dsn(), schema=next(schemas))
    await store.open()
    connection = await asyncpg.connect(server.dsn())
    try:
        await fill(connection, store.where.schema)
        for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_level = notice"):
            try:
                await connection.execute("LOAD 'auto_explain'")
            except asyncpg.PostgresError as error:
                pytest.skip(f"this server has no auto_explain: {error}")
            await connection.execute(f"SET auto_explain.{setting}")
        said: list[str] = []
        connection.add_log_listener(lambda _, message: said.append(message.message))
        call = "SELECT * FROM {}.claim_v1('w', ARRAY['default'], 10, 10, NULL, ARRAY['a'], 1, {})"
        for limit in (None, Limit("default", concurrency=20, rate=1000), Limit("default", per_key=2)):
            if limit is not None:
                await store.set_limit(limit)
            for wait in ("false", "true"):
                await connection.fetch(call.format(store.where.schema, wait))
        await asyncio.sleep(0)
        plans = "\n".join(said)
        assert "tasks_ready" in plans and "LockRows" in plans
        assert "tasks_leased" in plans and "starts_at" in plans
        assert "Seq Scan on" not in plans and "Bitmap" not in plans, plans
    finally:
        await connection.close()
        await store.close()


async def test_the_log_of_a_new_run_is_not_read_because_the_claim_brings_it(store: PostgresStore) -> None:
    await store.create_run(new_run("r", "a"))
    [claim] = await store.claim("w", queues=["default"], limit=1, lease_seconds=10, graphs=["sample@1"])
    assert claim.start is not None and claim.start == (await store.events("r"))[0]


async def test_eight_claimers_never_share_a_task_and_leave_none(server: Server, store: PostgresStore) -> None:
    for number in range(20):
        await store.create_run(new_run(f"r{number}", *(new_task(f"a{n}") for n in range(30))))
    others = [PostgresStore(server.dsn(), schema=store.where.schema, pool_size=1) for _ in range(8)]
    for other in others:
        await other.open()

    async def take(name: str, store: PostgresStore) -> list[int]:
        mine: list[int] = []
        while claims := await store.claim(name, queues=["default"], limit=7, lease_seconds=60):
            mine += [claim.task_id for claim in claims]
        return mine

    try:
        taken = await asyncio.gather(*(take(f"w{n}", other) for n, other in enumerate(others)))
    finally:
        for other in others:
            await other.close()
    ids = [task_id for mine in taken for task_id in mine]
    assert len(ids) == len(set(ids))
    left = await store.claim("last", queues=["default"], limit=600, lease_seconds=60)
    assert len(ids) + len(left) == 600
    assert len(left) <= 35  # the last to ask may have found every run busy, five times over


async def test_a_claimer_that_found_its_run_busy_is_woken_at_once(server: Server, store: PostgresStore) -> None:
    await store.create_run(new_run("busy", "a"))
    await store.create_run(new_run("free", "b"))
    blocker = await asyncpg.connect(server.dsn())
    try:
        async with blocker.transaction():
            await blocker.execute(f"SELECT 1 FROM {store.where.schema}.runs WHERE run_id = 'busy' FOR UPDATE")
            mark = await store.wait("tasks", -1, 0)
            [claim] = await store.claim("w", queues=["default"], limit=5, lease_seconds=60)
            assert claim.run_id == "free"
            assert await asyncio.wait_for(store.wait("tasks", mark, 30), 5) != mark
    finally:
        await blocker.close()
    assert len(await store.claim("w", queues=["default"], limit=5, lease_seconds=60)) == 1


# -- a storm, seeded: zombies, crashes, duplicates, cancels, pauses ----------------------------------------------------

WIDE = [f"f{n}" for n in range(5)]


class Storm:
    """Workers that misbehave, on runs start -> f0..f4 -> join -> end."""

    def __init__(self, store: PostgresStore, seed: int, runs: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.runs = [f"r{seed}-{n}" for n in range(runs)]
        self.done = asyncio.Event()
        self.counts: Counter[str] = Counter()

    async def plan(self, claim: Claim, worker: str) -> Commit:
        row = await self.store.run(claim.run_id)
        events = await self.store.events(claim.run_id, until=row.last_seq)
        finished = {event.activation for event in events if isinstance(event.payload, NodeFinished)}
        following: list[str] = []
        if claim.activation == "start":
            following = WIDE
        elif claim.activation in WIDE:
            following = ["join"] if finished | {claim.activation} >= set(WIDE) else []
        elif claim.activation == "join":
            following = ["end"]
        return Commit(
            claim.run_id, claim.task_id, claim.lease_seq, worker,
            [Draft(NodeFinished(node=claim.node, worker=worker), claim.activation)], TaskMove("done"), row.version,
            [new_task(name) for name in following], RunStatus.DONE if claim.activation == "end" else None,
        )  # fmt: skip

    async def finish(self, claim: Claim, worker: str) -> None:
        while True:
            commit = await self.plan(claim, worker)
            copies = 2 if self.chance.random() < 0.2 else 1  # delivered twice
            results = await asyncio.gather(*(self.store.commit([commit], lease_seconds=0.3) for _ in range(copies)))
            statuses = sorted(result[0].status for result in results)
            self.counts.update(statuses)
            assert statuses.count("committed") <= 1
            if statuses[0] != "conflict" or "fenced" in statuses:
                return

    async def work(self, worker: str) -> None:
        while not self.done.is_set():
            limit = self.chance.randint(1, 9)
            claims = await self.store.claim(worker, queues=["default"], limit=limit, lease_seconds=0.3)
            fate = self.chance.random()
            if not claims:
                await asyncio.sleep(0.01)
            elif fate < 0.1:
                self.counts["crashed"] += 1  # its leases lapse
            elif fate < 0.2:
                await self.store.release(worker, {claim.task_id: claim.lease_seq for claim in claims})
            else:
                if fate < 0.4:
                    await asyncio.sleep(0.35)  # too long: a zombie from now on, if somebody sweeps
                await asyncio.gather(*(self.finish(claim, worker) for claim in claims))

    async def disturb(self) -> None:
        while not self.done.is_set():
            await asyncio.sleep(0.02)
            await self.store.sweep(max_attempts=1000)
            run_id = self.chance.choice(self.runs)
            if self.chance.random() < 0.3:
                paused = self.chance.random() < 0.5
                status = RunStatus.WAITING if paused else RunStatus.RUNNING
                if not (await self.store.run(run_id)).status.ended:
                    going_on = frozenset({RunStatus.RUNNING, RunStatus.WAITING})
                    try:
                        await self.store.change(
                            Change(run_id, [note("x")], paused=paused, status=status, only_if=going_on)
                        )
                    except Exception as error:  # noqa: BLE001  # it has just ended
                        assert "nothing was changed" in str(error)

    async def until_all_are_done(self) -> None:
        while True:
            rows = [await self.store.run(run_id) for run_id in self.runs]
            if all(row.status is RunStatus.DONE for row in rows):
                return
            for row in rows:
                if row.paused:
                    await self.store.change(Change(row.run_id, [], paused=False, status=RunStatus.RUNNING))
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("seed", [1, 2])
async def test_in_a_storm_every_node_is_done_once_and_no_log_has_a_gap(
    server: Server, store: PostgresStore, seed: int
) -> None:
    storm = Storm(store, seed, runs=15)
    for run_id in storm.runs:
        await store.create_run(new_run(run_id, "start"))
    connection = await asyncpg.connect(server.dsn())
    count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await connection.fetchval(count)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for n in range(6):
            group.create_task(storm.work(f"w{n}"))
        group.create_task(storm.disturb())
        await storm.until_all_are_done()
        storm.done.set()
    for run_id in storm.runs:
        events = await store.events(run_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert (await store.run(run_id)).last_seq == len(events)
        finished = Counter(event.activation for event in events if isinstance(event.payload, NodeFinished))
        assert finished == Counter(["start", *WIDE, "join", "end"])
        assert await store.tasks(run_id) == []
    assert storm.counts["committed"] == 15 * (3 + len(WIDE))
    assert storm.counts["fenced"] > 0
    assert await connection.fetchval(count) == before
    await connection.close()
