"""When a run begins: after a delay, at a time, or not at all because one with its key is live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from treadle.domain.task import RunStatus, TaskState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.errors import Conflict, RunCancelled, UsageError
from treadle.graph.build import Graph
from treadle.stores.memory import MemoryStore
from treadle.testing.clock import FakeClock


def asking(name: str = "asking") -> Graph:
    graph = Graph(name).add_node("one", lambda state: {"n": state["n"] + 1})
    return graph.set_entry_point("one").set_finish_point("one")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def orchestrator(clock: FakeClock) -> AsyncIterator[Orchestrator]:
    settings = WorkerSettings(poll_seconds=0.01, sweep_seconds=0.01)
    async with Orchestrator(MemoryStore(clock), settings=settings) as orchestrator:
        yield orchestrator


async def test_a_delayed_run_waits_for_its_time(orchestrator: Orchestrator, clock: FakeClock) -> None:
    options = RunOptions(delay_seconds=60, deadline_seconds=5)
    run_id = await orchestrator.start(asking(), {"n": 1}, options=options)
    row = await orchestrator.status(run_id)
    assert (row.status, row.deadline) == (RunStatus.PENDING, clock.now() + 65)
    [task] = await orchestrator.store.tasks(run_id)
    assert (task.state, task.not_before) == (TaskState.WAITING, clock.now() + 60)
    clock.advance(60)
    assert (await orchestrator.wait(run_id, timeout=10))["n"] == 2


async def test_a_run_at_a_time_waits_for_it_by_the_clock_of_the_store(
    orchestrator: Orchestrator, clock: FakeClock
) -> None:
    at = datetime.fromtimestamp(clock.now() + 3600, UTC)
    run_id = await orchestrator.start(asking(), {"n": 1}, options=RunOptions(at=at))
    [task] = await orchestrator.store.tasks(run_id)
    assert task.not_before == pytest.approx(clock.now() + 3600)
    clock.advance(3600)
    assert (await orchestrator.wait(run_id, timeout=10))["n"] == 2


async def test_what_was_due_in_the_past_begins_now(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(asking(), {"n": 1}, options=RunOptions(at=datetime(2001, 1, 1, tzinfo=UTC)))
    assert result["n"] == 2


async def test_a_pending_run_can_be_called_off(orchestrator: Orchestrator) -> None:
    run_id = await orchestrator.start(asking(), {"n": 1}, options=RunOptions(delay_seconds=60))
    await orchestrator.cancel(run_id)
    with pytest.raises(RunCancelled):
        await orchestrator.wait(run_id, timeout=10)


@pytest.mark.parametrize(
    "options",
    [RunOptions(delay_seconds=-1), RunOptions(delay_seconds=float("nan")),
     RunOptions(delay_seconds=1, at=datetime(2030, 1, 1, tzinfo=UTC))],
)  # fmt: skip
async def test_a_time_that_cannot_be_is_refused(orchestrator: Orchestrator, options: RunOptions) -> None:
    with pytest.raises(UsageError):
        await orchestrator.start(asking(), {"n": 1}, options=options)
    assert await orchestrator.list() == []


async def test_a_second_start_with_a_live_key_gives_the_first_run(orchestrator: Orchestrator, clock: FakeClock) -> None:
    options = RunOptions(dedup="order-17", delay_seconds=60)
    first = await orchestrator.start(asking(), {"n": 1}, options=options)
    assert await orchestrator.start(asking(), {"n": 7}, options=RunOptions(dedup="order-17")) == first
    assert await orchestrator.start(asking("other"), {"n": 7}, options=RunOptions(dedup="order-17")) != first
    both = asyncio.gather(
        orchestrator.execute(asking(), {"n": 9}, options=RunOptions(dedup="order-17"), timeout=10), _read(orchestrator)
    )
    await asyncio.sleep(0)
    clock.advance(60)
    result, told = await both
    assert (result.run_id, result["n"]) == (first, 2)
    assert told == [{"n": 1}, {"n": 2}]
    assert await orchestrator.start(asking(), {"n": 1}, options=RunOptions(dedup="order-17")) != first


async def _read(orchestrator: Orchestrator) -> list[Any]:
    options = RunOptions(dedup="order-17")
    return [values async for values in orchestrator.stream(asking(), {"n": 5}, modes="values", options=options)]


async def test_a_failed_run_is_not_retried_beside_one_with_its_key(orchestrator: Orchestrator) -> None:
    graph = Graph("g").add_node("one", lambda state: 1 / state["n"])
    graph.set_entry_point("one").set_finish_point("one")
    first = await orchestrator.start(graph, {"n": 0}, options=RunOptions(dedup="k"))
    with pytest.raises(Exception, match="division"):
        await orchestrator.wait(first, timeout=10)
    second = await orchestrator.start(graph, {"n": 0}, options=RunOptions(dedup="k", delay_seconds=60))
    with pytest.raises(Conflict, match=second):
        await orchestrator.retry(first)
