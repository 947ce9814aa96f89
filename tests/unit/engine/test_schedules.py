"""Schedules: one run per tick however many workers look, over crashes, downtime and changes of clocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.engine.schedules import next_tick
from treadle.errors import NotFound, TreadleError, UsageError
from treadle.graph.build import Graph
from treadle.stores.memory import MemoryStore
from treadle.testing.clock import FakeClock
from treadle.testing.faults import FaultyStore, loses_answers, loses_calls

START = datetime(2026, 12, 1, 8, 58, tzinfo=UTC).timestamp()
STILL = WorkerSettings(serve=False, heartbeat=False)


def report() -> Graph:
    graph = Graph("report").add_node("write", lambda state: {"n": state.get("n", 0) + 1})
    graph.set_entry_point("write").set_finish_point("write")
    return graph


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
async def orchestrator(clock: FakeClock) -> AsyncIterator[Orchestrator]:
    async with Orchestrator(MemoryStore(clock), settings=STILL) as orchestrator:
        yield orchestrator


async def look(orchestrator: Orchestrator) -> float | None:
    """What a worker does now and then."""
    return await orchestrator.worker._ticker.tick()


async def runs(orchestrator: Orchestrator) -> list[str]:
    return sorted(row.run_id for row in await orchestrator.store.runs())


async def end(orchestrator: Orchestrator, run_id: str) -> None:
    await orchestrator.cancel(run_id)


async def test_a_run_begins_at_each_tick(orchestrator: Orchestrator, clock: FakeClock) -> None:
    row = await orchestrator.schedules.add("nightly", "0 9 * * *", report(), {"n": 4})
    assert row.next_at == START + 120
    assert await look(orchestrator) == 120
    assert await runs(orchestrator) == []
    clock.advance(120)
    assert await look(orchestrator) == 86400
    [run] = await orchestrator.list()
    assert (run.run_id, run.labels["schedule"]) == ("nightly-20261201T090000Z", "nightly")
    assert (await orchestrator.state_at(run.run_id))["n"] == 4
    [row] = await orchestrator.schedules.list()
    assert (row.next_at, row.last_at, row.last_run) == (START + 120 + 86400, START + 120, run.run_id)


async def test_workers_who_look_at_once_begin_one_run(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    many = [Orchestrator(store, settings=STILL) for _ in range(5)]
    for one in many:
        one.add_graph(report())
    await many[0].schedules.add("s", "0 9 * * *", report())
    clock.advance(120)

    async def slow(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(hash((name, id(call))) % 7):
            await asyncio.sleep(0)
        return await call()

    for one in many:
        one.worker._ticker._store = FaultyStore(store, slow)  # type: ignore[assignment]
    await asyncio.gather(*map(look, many))
    await asyncio.gather(*map(look, many))
    assert await runs(many[0]) == ["s-20261201T090000Z"]


@pytest.mark.parametrize("fault", [loses_answers, loses_calls])
@pytest.mark.parametrize("call", ["create_run", "tick", "schedules", "now"])
async def test_a_worker_that_dies_within_a_tick_leaves_it_to_the_next(
    orchestrator: Orchestrator, clock: FakeClock, fault: Any, call: str
) -> None:
    await orchestrator.schedules.add("s", "0 9 * * *", report())
    clock.advance(120)
    ticker = orchestrator.worker._ticker
    store, ticker._store = ticker._store, FaultyStore(ticker._store, fault(call))  # type: ignore[assignment]
    with pytest.raises(TreadleError):
        await ticker.tick()
    ticker._store = store
    await ticker.tick()
    await ticker.tick()
    assert await runs(orchestrator) == ["s-20261201T090000Z"]
    [row] = await orchestrator.schedules.list()
    assert (row.next_at, row.last_run) == (START + 120 + 86400, "s-20261201T090000Z")


async def test_after_downtime_one_run_makes_up_for_all_ticks_missed(
    orchestrator: Orchestrator, clock: FakeClock
) -> None:
    await orchestrator.schedules.add("s", "*/5 * * * *", report())
    clock.advance(3600)
    assert await look(orchestrator) == 120
    await look(orchestrator)
    assert await runs(orchestrator) == ["s-20261201T090000Z"]


async def test_a_tick_is_skipped_while_the_run_before_is_live(orchestrator: Orchestrator, clock: FakeClock) -> None:
    await orchestrator.schedules.add("s", "*/5 * * * *", report())
    for _ in range(3):
        clock.advance(300)
        await look(orchestrator)
    [first] = await runs(orchestrator)
    assert first == "s-20261201T090000Z"
    await end(orchestrator, first)
    await look(orchestrator)
    assert await runs(orchestrator) == [first]
    clock.advance(300)
    await look(orchestrator)
    assert await runs(orchestrator) == [first, "s-20261201T091500Z"]


async def test_with_queue_one_run_follows_the_one_before(orchestrator: Orchestrator, clock: FakeClock) -> None:
    await orchestrator.schedules.add("s", "*/5 * * * *", report(), overlap="queue")
    for _ in range(3):
        clock.advance(300)
        await look(orchestrator)
    [first] = await runs(orchestrator)
    await end(orchestrator, first)
    await look(orchestrator)
    second = "s-20261201T090500Z"
    assert await runs(orchestrator) == [first, second]
    await end(orchestrator, second)
    await look(orchestrator)
    assert await runs(orchestrator) == [first, second]  # what else was missed is not made up for


async def test_a_paused_schedule_begins_nothing_and_makes_up_for_nothing(
    orchestrator: Orchestrator, clock: FakeClock
) -> None:
    await orchestrator.schedules.add("s", "*/5 * * * *", report())
    await orchestrator.schedules.pause("s")
    clock.advance(3600)
    assert await look(orchestrator) is None
    await orchestrator.schedules.resume("s")
    assert await look(orchestrator) == 120
    assert await runs(orchestrator) == []
    await orchestrator.schedules.remove("s")
    clock.advance(3600)
    assert await look(orchestrator) is None
    with pytest.raises(NotFound):
        await orchestrator.schedules.resume("s")


async def test_only_who_knows_the_graph_begins_its_runs(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    knows, other = Orchestrator(store, settings=STILL), Orchestrator(store, settings=STILL)
    other.add_graph(Graph("x").add_node("a", print).set_entry_point("a").set_finish_point("a"))
    await knows.schedules.add("s", "0 9 * * *", report())
    clock.advance(120)
    assert await look(other) is None
    assert await runs(knows) == []
    await look(knows)
    assert len(await runs(knows)) == 1


async def test_a_state_that_fits_the_code_no_more_skips_the_tick(
    orchestrator: Orchestrator, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    graph = report()
    await orchestrator.schedules.add("s", "0 9 * * *", graph, {"old": 1})
    strict = Graph("report").add_node("write", lambda state: {}, key=lambda state: state["new"])
    orchestrator.add_graph(strict.set_entry_point("write").set_finish_point("write"))
    clock.advance(120)
    assert await look(orchestrator) == 86400
    assert "no run was begun" in caplog.text
    assert await runs(orchestrator) == []


async def test_a_schedule_that_cannot_be_told_here_stops_no_other(
    orchestrator: Orchestrator, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    row = await orchestrator.schedules.add("a", "0 9 * * *", report())
    lost = msgspec.structs.replace(row.schedule, timezone="Mars/Olympus")
    await orchestrator.store.put_schedule(lost, row.next_at)
    await orchestrator.schedules.add("b", "0 9 * * *", report())
    clock.advance(120)
    assert await look(orchestrator) == await look(orchestrator) == 86400
    assert caplog.text.count("cannot be told here") == 1
    assert await runs(orchestrator) == ["b-20261201T090000Z"]


async def test_a_worker_begins_and_runs_what_is_due(clock: FakeClock) -> None:
    settings = WorkerSettings(poll_seconds=0.01, sweep_seconds=0.01)
    async with Orchestrator(MemoryStore(clock), settings=settings) as orchestrator:
        await orchestrator.schedules.add("s", "0 9 * * *", report(), {"n": 1})
        clock.advance(120)
        async with asyncio.timeout(10):
            while not await orchestrator.list():  # noqa: ASYNC110  # there is no word of a run that is not there
                await asyncio.sleep(0.01)
        assert (await orchestrator.wait("s-20261201T090000Z"))["n"] == 2


@pytest.mark.parametrize(
    ("name", "cron", "options"),
    [("a b", "* * * * *", {}), ("", "* * * * *", {}), ("s", "61 * * * *", {}), ("s", "* * * *", {}),
     ("s", "* * * * * *", {}), ("s", "0 0 31 2 *", {}), ("s", "@daily", {}), ("s", "* * * * *", {"timezone": "Mars"}),
     ("s", "* * * * *", {"timezone": "../etc"}), ("s", "* * * * *", {"overlap": "both"})],
)  # fmt: skip
async def test_what_cannot_be_scheduled_is_refused(
    orchestrator: Orchestrator, name: str, cron: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="nothing was scheduled"):
        await orchestrator.schedules.add(name, cron, report(), **options)
    assert await orchestrator.schedules.list() == []


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),  # 02:30 is left out that night
        ("30 2 * * *", "2026-10-25T00:00+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),  # 02:30 comes twice, the run once
        ("*/30 * * * *", "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00"),
        ("0 9 * * 1-5", "2026-12-04T09:00+01:00", "2026-12-07T09:00+01:00"),
    ],
)
def test_ticks_keep_to_the_clocks_of_their_zone(cron: str, after: str, expected: str) -> None:
    assert next_tick(cron, "Europe/Berlin", at(after)) == at(expected)
