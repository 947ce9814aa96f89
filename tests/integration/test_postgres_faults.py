"""Servers that crash and answers that are lost: nothing is lost with them, and nothing happens twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.faults.proxy import Proxy

from treadle.domain.events import LogWritten, NodeFinished
from treadle.domain.task import RunStatus
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.errors import StoreUnavailable
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.ports.store import Change
from treadle.testing.postgres import Server, server_or_skip, wheel_binaries
from treadle.testing.samples import effect, new_run, new_task, note, outcome

pytest.importorskip("asyncpg")

from treadle.stores.postgres import PostgresStore

schemas = (f"faults{number}" for number in itertools.count())


@pytest.fixture
def server() -> Server:
    return server_or_skip(wheel_binaries)


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A server of this test's own."""
    server = server_or_skip(wheel_binaries, own=True)
    yield server
    server.stop()


@asynccontextmanager
async def behind_a_proxy(server: Server) -> AsyncIterator[tuple[PostgresStore, Proxy]]:
    proxy = Proxy(server)
    # without a statement cache every statement is parsed anew, so that the proxy can see it coming
    store = PostgresStore(await proxy.open(), schema=next(schemas), pool_size=2, statement_cache_size=0)
    try:
        await store.open()
        yield store, proxy
    finally:
        await store.close()
        await proxy.close()


async def test_a_commit_whose_answer_is_lost_is_found_in_the_log_and_not_repeated(server: Server) -> None:
    async with behind_a_proxy(server) as (store, proxy):
        created = await store.create_run(new_run("r", new_task("a", lease=True), worker="w1"))
        made = outcome(created.claims[0], expected=1, tasks=[new_task("b", lease=True), new_task("c")])
        proxy.losing = "commit_v1"
        [result] = await store.commit([made], lease_seconds=60)
        assert proxy.lost == 1
        assert (result.status, result.version, [c.activation for c in result.claims]) == ("committed", 2, ["b"])
        finished = [e for e in await store.events("r") if isinstance(e.payload, NodeFinished)]
        assert len(finished) == 1
        [again] = await store.commit([made], lease_seconds=60)
        assert again.status == "fenced"  # a second time is a second time


async def test_a_run_whose_creation_is_not_answered_is_ours_all_the_same(server: Server) -> None:
    async with behind_a_proxy(server) as (store, proxy):
        proxy.losing = "create_runs_v1"
        result = await store.create_run(new_run("r", new_task("a", lease=True), worker="w1"))
        assert proxy.lost == 1
        assert (result.status, [c.activation for c in result.claims]) == ("committed", ["a"])
        assert (await store.create_run(new_run("r", "a"))).status == "conflict"


async def test_a_claim_whose_answer_is_lost_is_not_lost_with_it(server: Server) -> None:
    async with behind_a_proxy(server) as (store, proxy):
        await store.create_run(new_run("r", "a", "b"))
        proxy.losing = "claim_v1"
        claims = await store.claim("w1", queues=["default"], limit=1, lease_seconds=60)
        assert proxy.lost == 1
        assert [(c.activation, c.attempt, c.lease_seq) for c in claims] == [("a", 1, 1)]
        assert [task.state.value for task in await store.tasks("r")] == ["leased", "ready"]


async def test_a_change_whose_answer_is_lost_is_made_once(server: Server) -> None:
    async with behind_a_proxy(server) as (store, proxy):
        await store.create_run(new_run("r", "a"))
        for drafts in ([note("once")], []):
            proxy.losing = "change_v1"
            await store.change(Change("r", drafts))
        assert proxy.lost == 2
        row = await store.run("r")
        assert row.version == 3
        assert sum(isinstance(e.payload, LogWritten) for e in await store.events("r")) == 1


async def test_what_is_safe_to_repeat_is_repeated(server: Server) -> None:
    async with behind_a_proxy(server) as (store, proxy):
        await store.create_run(new_run("r", "a", budgets={"tokens": 10}))
        for name, write in (
            ("reserve_v1", lambda: store.reserve("r", "a", "k", {"tokens": 3})),
            ("record_v1", lambda: store.record("r", "a", effect("a", "k", settle={"tokens": 2}))),
            ("keep_v1", lambda: store.put_blob(b"x")),
            ("FROM treadle.runs", lambda: store.run("r")),
        ):
            proxy.losing = name.replace("treadle.", f"{store.where.schema}.")
            await write()
        assert proxy.lost == 4
        [budget] = await store.budgets("r")
        assert (budget.spent, budget.reserved) == (2, 0)
        await store.change(Change("r", [], status=RunStatus.CANCELLED))
        proxy.losing = "delete_run_v1"
        await store.delete_run("r")
        assert proxy.lost == 5


def chain(length: int) -> Graph:
    graph = Graph(f"chain{length}")
    before = START
    for number in range(length):

        async def step(state: dict[str, int]) -> dict[str, int]:
            await asyncio.sleep(0.01)
            return {"count": state.get("count", 0) + 1}

        graph.add_node(f"n{number}", step)
        graph.add_edge(before, f"n{number}")
        before = f"n{number}"
    graph.add_edge(before, END)
    return graph


@pytest.mark.parametrize("crash", ["immediate", "kill -9"])
async def test_runs_survive_the_crash_of_the_server_under_them(mortal: Server, crash: str) -> None:
    crashes: dict[str, Callable[[], None]] = {"immediate": mortal.halt, "kill -9": mortal.kill}
    settings = WorkerSettings(lease_seconds=20.0, sweep_seconds=0.2, poll_seconds=0.1)
    async with Orchestrator(PostgresStore(mortal.dsn(), patience_seconds=30), settings=settings) as orchestrator:
        graph = chain(20)
        running = [asyncio.ensure_future(orchestrator.execute(graph, {"count": 0}, timeout=60)) for _ in range(8)]
        for _ in range(2):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(crashes[crash])
            await asyncio.to_thread(mortal.start)
        results = await asyncio.gather(*running)
        assert [result["count"] for result in results] == [20] * 8
        for result in results:
            events = await orchestrator.store.events(result.workflow_id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            done = Counter(event.activation for event in events if isinstance(event.payload, NodeFinished))
            assert set(done.values()) == {1} and len(done) == 20


async def test_a_server_that_stays_away_is_said_to_be_away_and_found_when_it_is_back(mortal: Server) -> None:
    store = PostgresStore(mortal.dsn(), patience_seconds=0.2)
    await store.open()
    await store.create_run(new_run("r", "a"))
    renewer = store.renewer()
    await asyncio.to_thread(mortal.halt)
    for attempt in (
        store.run("r"),
        store.create_run(new_run("s", "a")),
        store.claim("w", queues=["default"], limit=1, lease_seconds=9),
    ):
        with pytest.raises(StoreUnavailable, match="recorded"):
            await attempt
    with pytest.raises(StoreUnavailable, match="No lease was renewed"):
        await asyncio.to_thread(renewer.renew, "w", {1: 1}, 9.0, 3.0)
    mark = await store.wait("r", -1, 0)
    await asyncio.to_thread(mortal.start)
    assert (await store.run("r")).version == 1
    assert await asyncio.to_thread(renewer.renew, "w", {1: 1}, 9.0, 3.0) == {1}
    renewer.close()
    await store.change(Change("r", [note("here again")]))
    assert await store.wait("r", mark, 5) != mark
    await store.close()
