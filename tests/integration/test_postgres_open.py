"""Opening, sharing and leaving a PostgreSQL store: migrations, errors that say what to do, wake-ups."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from treadle.domain.events import TYPES, NodeFinished, TaskClaimed
from treadle.engine.orchestrator import Orchestrator
from treadle.errors import ConfigError, StoreUnavailable
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.ports.store import TASKS, Change
from treadle.testing.postgres import Server, server_or_skip, wheel_binaries
from treadle.testing.samples import LEASE, claim_one, new_run, note, outcome

asyncpg = pytest.importorskip("asyncpg")

from treadle.stores.postgres import PostgresStore  # noqa: E402
from treadle.stores.postgres.connection import target  # noqa: E402

schemas = (f"opened{number}" for number in itertools.count())


@pytest.fixture
def server() -> Server:
    return server_or_skip(wheel_binaries)


async def test_many_processes_may_open_an_empty_database_at_once(server: Server) -> None:
    schema = next(schemas)
    stores = [PostgresStore(server.dsn(), schema=schema) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].create_run(new_run("r", "a"))
    assert (await stores[5].run("r")).version == 1
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_newer_schema_is_used_unless_it_says_that_we_are_too_old(server: Server) -> None:
    store = PostgresStore(server.dsn(), schema=next(schemas))
    await store.open()
    connection = await asyncpg.connect(server.dsn())
    migrations = f"{store.where.schema}.migrations"
    try:
        await connection.execute(f"INSERT INTO {migrations} (number, oldest) VALUES (90, 2)")
        await store.close()
        await store.open()
        await connection.execute(f"INSERT INTO {migrations} (number, oldest) VALUES (91, 91)")
        await store.close()
        with pytest.raises(StoreUnavailable, match="schema 91") as caught:
            await store.open()
        assert caught.value.hint == "Upgrade Treadle."
    finally:
        await connection.close()
        await store.close()


async def test_what_is_wrong_with_a_url_is_said_with_what_to_do(server: Server, tmp_path: Path) -> None:
    for dsn, hint in (
        (server.dsn("nowhere"), "createdb"),
        (f"postgresql://postgres:secret@/postgres?host={tmp_path}", "host and port"),
        (server.dsn().replace("postgres@", "stranger@"), "user and password"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await PostgresStore(dsn).open()
        assert hint in caught.value.hint
        assert "secret" not in str(caught.value)
    for dsn in ("mysql://localhost/x", "postgresql://h/d?pool_size=many", "postgresql://h/d?schema=No Way"):
        with pytest.raises(ConfigError):
            PostgresStore(dsn)


def test_our_parameters_are_taken_out_of_the_url() -> None:
    where = target("postgresql://u:p@h:5/d?schema=mine&sslmode=require&pool_size=9&statement_cache_size=0", pool_size=3)
    assert (where.dsn, where.schema, where.pool_size) == ("postgresql://u:p@h:5/d?sslmode=require", "mine", 3)
    assert where.listens_at is None  # the statement cache is off: a pooler in transaction mode
    assert where.shown == "postgresql://u:***@h:5/d?sslmode=require"


async def test_a_user_who_may_only_use_the_schema_can_open_it(server: Server) -> None:
    owner = PostgresStore(server.dsn(), schema=next(schemas))
    await owner.open()
    schema = owner.where.schema
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"CREATE ROLE {schema}_clerk LOGIN")
    await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_clerk")
    for what in ("TABLES", "SEQUENCES"):
        await connection.execute(f"GRANT ALL ON ALL {what} IN SCHEMA {schema} TO {schema}_clerk")
    clerk = PostgresStore(server.dsn().replace("postgres@", f"{schema}_clerk@"), schema=schema)
    await clerk.open()
    await clerk.create_run(new_run("r", "a"))
    held = await claim_one(clerk)
    assert (await clerk.commit([outcome(held)], lease_seconds=LEASE))[0].status == "committed"
    await clerk.close()
    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore(server.dsn().replace("postgres@", f"{schema}_clerk@"), schema=next(schemas)).open()
    assert "CREATE" in caught.value.hint
    await connection.close()
    await owner.close()


@pytest.mark.parametrize("cache", [200, 0], ids=["by NOTIFY", "by looking"])
async def test_what_one_process_writes_wakes_who_waits_in_another(server: Server, cache: int) -> None:
    schema = next(schemas)
    here, there = (PostgresStore(server.dsn(), schema=schema, statement_cache_size=cache) for _ in range(2))
    await here.open()
    await there.open()
    try:
        mark = await there.wait(TASKS, -1, 0)
        waiting = asyncio.ensure_future(there.wait(TASKS, mark, 30))
        await asyncio.sleep(0.1)  # a look has to have been taken before the change
        await here.create_run(new_run("r", "a"))
        assert await asyncio.wait_for(waiting, 10) != mark
        mark = await there.wait("r", -1, 0)
        waiting = asyncio.ensure_future(there.wait("r", mark, 30))
        await asyncio.sleep(0.1)
        await here.change(Change("r", [note("news")]))
        assert await asyncio.wait_for(waiting, 10) != mark
    finally:
        await here.close()
        await there.close()


async def test_a_listener_that_was_cut_off_listens_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.stores.postgres.wake.RECONNECT_SECONDS", 0.05)
    schema = next(schemas)
    here, there = (PostgresStore(server.dsn(), schema=schema) for _ in range(2))
    await here.open()
    await there.open()
    try:
        mark = await there.wait(TASKS, -1, 0)
        connection = await asyncpg.connect(server.dsn())
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE $1", f'LISTEN "{schema}_news"%'
        )
        await connection.close()
        mark = await asyncio.wait_for(there.wait(TASKS, mark, 30), 10)  # what was told meanwhile has been missed
        await here.create_run(new_run("r", "a"))
        assert await asyncio.wait_for(there.wait(TASKS, mark, 30), 10) != mark
    finally:
        await here.close()
        await there.close()


async def test_whoever_is_stopped_while_it_begins_to_listen_hangs_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: asyncio.Future[asyncpg.Connection] = asyncio.get_running_loop().create_future()

    async def never(connection: asyncpg.Connection, *_: object) -> None:
        begun.set_result(connection)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncpg.Connection, "add_listener", never)
    opening = asyncio.ensure_future(PostgresStore(server.dsn(), schema=next(schemas)).open())
    connection = await begun
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert connection.is_closed()


async def test_a_cancelled_claim_leaves_no_task_behind(server: Server) -> None:
    store = PostgresStore(server.dsn(), schema=next(schemas))
    await store.open()
    await store.create_run(new_run("r", "a"))
    claiming = asyncio.ensure_future(store.claim("w", queues=["default"], limit=1, lease_seconds=60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    claiming.cancel()
    await asyncio.gather(claiming, return_exceptions=True)
    await store.close()
    await store.open()
    [task] = await store.tasks("r")
    assert (task.state.value, task.attempt) == ("ready", 0)
    await store.close()


async def test_text_that_postgresql_cannot_keep_is_kept_as_well_as_can_be(server: Server) -> None:
    store = PostgresStore(server.dsn(), schema=next(schemas))
    await store.open()
    await store.create_run(new_run("r", "a"))
    await store.change(Change("r", [note("nul \0 and more")], error="bad \0 \ud800", paused=True))
    assert (await store.events("r"))[-1].payload.message == "nul \0 and more"  # type: ignore[attr-defined]
    await store.close()


def test_events_that_the_database_writes_are_of_the_version_that_we_know() -> None:
    sql = "".join(entry.read_text() for entry in files("treadle.stores.postgres").joinpath("migrations").iterdir())
    written = {name for name in TYPES if re.search(rf"'{name}'", sql)}
    assert TaskClaimed.__name__ in written and len(written) >= 6
    assert {TYPES[name][1] for name in written} == {1}  # append_v1 says so


async def test_two_orchestrators_share_one_run(server: Server) -> None:
    def graph() -> Graph:
        built = Graph("wide")

        async def start(state: dict[str, int]) -> None:
            return None

        built.add_node("start", start)
        built.add_edge(START, "start")
        for number in range(30):

            async def work(state: dict[str, int], number: int = number) -> dict[str, int]:
                await asyncio.sleep(0.02)
                return {f"k{number}": number}

            built.add_node(f"n{number}", work)
            built.add_edge("start", f"n{number}")
            built.add_edge(f"n{number}", "join")

        async def join(state: dict[str, int]) -> dict[str, int]:
            return {"total": sum(value for key, value in state.items() if key.startswith("k"))}

        built.add_node("join", join)
        built.add_edge("join", END)
        return built

    schema = next(schemas)
    async with (
        Orchestrator(PostgresStore(server.dsn(), schema=schema)) as one,
        Orchestrator(PostgresStore(server.dsn(), schema=schema)) as two,
    ):
        two.add_graph(graph())
        results = await asyncio.gather(*(one.execute(graph(), {}, timeout=60) for _ in range(6)))
        for result in results:
            assert result["total"] == sum(range(30))
            events = await two.store.events(result.workflow_id)
            done = Counter(event.activation for event in events if isinstance(event.payload, NodeFinished))
            assert len(done) == 32 and set(done.values()) == {1}
