"""An orchestrator that plans, and workers elsewhere that know only functions: nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from treadle import END, START, Command, Graph, NodeContext, RetryPolicy, RunOptions, Send, State
from treadle.distributed import DistributedOrchestrator, DistributedWorker
from treadle.engine.elsewhere import graph_queue
from treadle.engine.results import WorkerSettings
from treadle.errors import ConfigError, RunFailed, UsageError
from treadle.testing.postgres import server_or_skip, wheel_binaries

SOON = RetryPolicy(max_attempts=3, initial_seconds=0.01, retry_on=(ConnectionError,))
schemas = (f"distributed{number}" for number in itertools.count())


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    pytest.importorskip("asyncpg")
    return f"{server_or_skip(wheel_binaries).dsn()}&schema={next(schemas)}"


@asynccontextmanager
async def orchestrating(url: str) -> AsyncIterator[DistributedOrchestrator]:
    orchestrator = DistributedOrchestrator(url)
    await orchestrator.connect()
    try:
        yield orchestrator
    finally:
        await orchestrator.disconnect()


def worker(url: str, **functions: Callable[..., Any]) -> DistributedWorker:
    """A worker that knows no graph."""
    made = DistributedWorker(url, node_types=set(functions), heartbeat_interval=1.0)
    for node_type, function in functions.items():
        made.register(node_type)(function)
    return made


def line(*nodes: str, **options: Any) -> Graph:
    graph = Graph("line")
    for node in nodes:
        graph.add_node(node, **options)
    for source, target in itertools.pairwise((START, *nodes, END)):
        graph.add_edge(source, target)
    return graph


async def types_of(orchestrator: DistributedOrchestrator, run_id: str) -> Counter[str]:
    return Counter(event.type for event in await orchestrator.store.events(run_id))


async def until(orchestrator: DistributedOrchestrator, run_id: str, kind: str) -> None:
    mark = 0
    async with asyncio.timeout(30):
        while not (await types_of(orchestrator, run_id))[kind]:
            mark = await orchestrator.store.wait(run_id, mark, 1.0)


async def test_workers_that_know_only_functions_run_a_graph(url: str) -> None:
    async def researcher(state: State) -> dict[str, Any]:
        return {"findings": [f"about {state.get('query')}"]}

    def writer(state: State, ctx: NodeContext) -> dict[str, Any]:
        return {"report": f"{len(state['findings'])} findings, attempt {ctx.attempt}"}

    async with (
        orchestrating(url) as orchestrator,
        worker(url, researcher=researcher),
        worker(url, writer=writer),
    ):
        result = await orchestrator.execute(line("researcher", "writer"), initial_state={"query": "AI"}, timeout=30)
        assert result["report"] == "1 findings, attempt 1"
        seen = await types_of(orchestrator, result.run_id)
    assert seen["TaskOffered"] == seen["NodeReturned"] == seen["NodeFinished"] == 2


async def test_a_worker_that_knows_the_graph_plans_by_itself(url: str) -> None:
    graph = Graph("known")
    graph.add_node("a", lambda state: {"n": state["n"] + 1})
    graph.add_node("b", lambda state: {"n": state["n"] * 10})
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    made = DistributedWorker(url, worker_id="planner")
    made.add_graph(graph)
    async with orchestrating(url) as orchestrator, made:
        result = await orchestrator.execute(graph, {"n": 1}, timeout=30)
        assert result["n"] == 20
        finished = [e.payload for e in await orchestrator.store.events(result.run_id) if e.type == "NodeFinished"]
        assert {payload.worker for payload in finished} == {"planner"}
        assert (await types_of(orchestrator, result.run_id))["TaskOffered"] == 0


async def test_a_failure_elsewhere_is_retried_as_the_graph_says(url: str) -> None:
    attempts = []

    async def shaky(state: State, ctx: NodeContext) -> dict[str, Any]:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionResetError("gone")
        return {"done": True}

    async with orchestrating(url) as orchestrator, worker(url, shaky=shaky):
        result = await orchestrator.execute(line("shaky", retry=SOON), {}, timeout=30)
    assert result["done"] and attempts == [1, 2, 3]


async def test_what_failed_elsewhere_is_tried_again_by_one_who_also_knows_the_graph(url: str) -> None:
    def broken(state: State) -> dict[str, Any]:
        raise ConnectionResetError("gone")

    graph = line("shaky", retry=RetryPolicy(max_attempts=3, initial_seconds=1.0, retry_on=(ConnectionError,)))
    able = DistributedWorker(url)
    able.add_graph(graph)
    able.register("shaky")(lambda state: {"done": True})
    async with orchestrating(url) as orchestrator:
        async with worker(url, shaky=broken):
            run_id = await orchestrator.start(graph, {})
            await until(orchestrator, run_id, "NodeFailed")
        async with able:
            assert (await orchestrator.wait(run_id, timeout=30))["done"]


async def test_a_failure_that_is_final_keeps_its_story_and_may_be_retried(url: str) -> None:
    broken = True

    def strict(state: State) -> dict[str, Any]:
        if broken:
            raise ValueError("not like this")
        return {"done": True}

    async with orchestrating(url) as orchestrator, worker(url, strict=strict):
        with pytest.raises(RunFailed, match="ValueError: not like this"):
            await orchestrator.execute(line("strict", retry=SOON), {}, options=RunOptions(run_id="r"), timeout=30)
        [failed] = [e.payload for e in await orchestrator.store.events("r") if e.type == "NodeFailed"]
        assert failed.code == "ValueError" and "in strict" in failed.trace and failed.retry_seconds is None
        broken = False
        await orchestrator.retry("r", "strict")
        assert (await orchestrator.wait("r", timeout=30))["done"]


async def test_a_condition_is_judged_by_the_holder_of_the_graph(url: str) -> None:
    graph = Graph("loop")
    graph.add_node("count").add_edge(START, "count")
    graph.add_conditional_edge(
        "count", lambda state: "more" if state["n"] < 3 else "enough", {"more": "count", "enough": END}
    )
    async with orchestrating(url) as orchestrator, worker(url, count=lambda state: {"n": state["n"] + 1}):
        assert (await orchestrator.execute(graph, {"n": 0}, timeout=30))["n"] == 3


class Totals(TypedDict):
    total: Annotated[int, operator.add]


async def test_commands_and_sends_come_back_from_elsewhere(url: str) -> None:
    graph = Graph("fan", state=Totals)
    graph.add_node("split", destinations=["square"]).add_node("square").add_edge(START, "split").add_edge("square", END)

    async def split(state: State) -> Command[Any]:
        return Command(update={"total": 1}, goto=[Send("square", n) for n in (1, 2, 3)])

    def square(n: int) -> dict[str, int]:
        return {"total": n * n}

    async with orchestrating(url) as orchestrator, worker(url, split=split, square=square):
        assert (await orchestrator.execute(graph, {"total": 0}, timeout=30))["total"] == 15


async def test_a_node_elsewhere_may_ask_and_is_answered(url: str) -> None:
    async def ask(state: State, ctx: NodeContext) -> dict[str, Any]:
        return {"answer": ctx.interrupt("May I?")}

    async with orchestrating(url) as orchestrator, worker(url, ask=ask):
        result = await orchestrator.execute(line("ask"), {}, timeout=30)
        [asked] = result.interrupts
        assert asked.value == "May I?"
        await orchestrator.answer(result.run_id, "yes")
        assert (await orchestrator.wait(result.run_id, timeout=30))["answer"] == "yes"


async def test_the_death_of_an_orchestrator_strands_nothing(url: str) -> None:
    graph = line("first", "second")
    async with worker(url, first=lambda state: {"a": 1}, second=lambda state: {"b": state["a"] + 1}):
        dying = DistributedOrchestrator(url, settings=WorkerSettings(where="elsewhere", serve=False))
        run_id = await dying.start(graph, {})  # it only says what is to be done first, and never plans on
        await until(dying, run_id, "NodeReturned")
        [task] = await dying.store.tasks(run_id)
        assert task.queue == graph_queue(graph.compile().pin)
        await dying.disconnect()
        async with orchestrating(url) as heir:
            heir.add_graph(graph)
            assert (await heir.wait(run_id, timeout=30))["b"] == 2


async def test_what_a_dead_worker_held_is_run_by_another(url: str) -> None:
    started = asyncio.Event()

    async def hang(state: State) -> None:
        started.set()
        await asyncio.Event().wait()

    dying = worker(url, job=hang)
    async with orchestrating(url) as orchestrator:
        await dying.start()
        run_id = await orchestrator.start(line("job"), {})
        await asyncio.wait_for(started.wait(), 30)
        await dying.stop()
        async with worker(url, job=lambda state: {"done": True}):
            assert (await orchestrator.wait(run_id, timeout=30))["done"]


async def test_a_node_that_runs_at_most_once_is_not_run_again_elsewhere(url: str) -> None:
    calls = []

    async def pay(state: State) -> None:
        calls.append(1)
        raise ConnectionError("did it go through?")

    async with orchestrating(url) as orchestrator, worker(url, pay=pay):
        with pytest.raises(RunFailed, match="did it go through"):
            await orchestrator.execute(line("pay", retry=SOON, effects="at_most_once"), {}, timeout=30)
    assert calls == [1]


async def test_a_node_that_runs_at_most_once_is_not_handed_over_when_its_worker_died(url: str) -> None:
    graph = line("plan", "pay", effects="at_most_once")
    begun, calls = asyncio.Event(), []

    async def pay(state: State) -> None:
        calls.append(1)
        begun.set()
        await asyncio.Event().wait()

    able = DistributedWorker(url, worker_id="able")
    able.add_graph(graph)
    able.register("plan")(lambda state: {})
    able.register("pay")(pay)
    async with orchestrating(url) as orchestrator:
        await able.start()
        run_id = await orchestrator.start(graph, {}, options=RunOptions(run_id="r"))
        await asyncio.wait_for(begun.wait(), 30)
        [task] = await orchestrator.store.tasks(run_id)
        assert task.worker == "able"
        await able.stop()  # which says that it had begun
        unable = DistributedWorker(url, worker_id="unable")
        unable.add_graph(graph)
        async with unable, worker(url, pay=pay):
            with pytest.raises(RunFailed, match="at_most_once"):
                await orchestrator.wait(run_id, timeout=30)
    assert calls == [1]


async def test_a_task_that_its_planner_cannot_run_after_all_is_offered(url: str) -> None:
    graph = line("one", "two")
    half = DistributedWorker(url, capacity=1)
    half.add_graph(graph)
    half.register("one")(lambda state: {"a": 1})
    async with orchestrating(url) as orchestrator, half, worker(url, two=lambda state: {"b": state["a"] + 1}):
        assert (await orchestrator.execute(graph, {}, timeout=30))["b"] == 2


async def test_subgraphs_are_planned_by_the_orchestrator(url: str) -> None:
    inner = line("inner")
    outer = Graph("outer")
    outer.add_node("sub", inner).add_node("after").add_edge(START, "sub").add_edge("sub", "after").add_edge(
        "after", END
    )
    async with (
        orchestrating(url) as orchestrator,
        worker(url, inner=lambda state: {"x": 2}, after=lambda state: {"y": state["x"] * 2}),
    ):
        assert (await orchestrator.execute(outer, {}, timeout=30))["y"] == 4


async def test_many_runs_over_many_workers_run_each_node_once(url: str) -> None:
    calls: Counter[tuple[str, int]] = Counter()

    def step(name: str) -> Callable[[State], dict[str, Any]]:
        def run(state: State) -> dict[str, Any]:
            calls[name, state["k"]] += 1
            return {name: state["k"]}

        return run

    functions = {name: step(name) for name in ("a", "b", "c")}
    graph = line("a", "b", "c")
    async with orchestrating(url) as orchestrator, worker(url, **functions), worker(url, **functions):
        results = await asyncio.gather(*(orchestrator.execute(graph, {"k": k}, timeout=60) for k in range(10)))
    assert [result["c"] for result in results] == list(range(10))
    assert len(calls) == 30 and set(calls.values()) == {1}


def test_a_store_that_nobody_else_reaches_is_refused() -> None:
    for nothing in (None, "memory:"):
        with pytest.raises(UsageError, match="shared store"):
            DistributedOrchestrator(nothing)
    with pytest.raises(ConfigError, match="no store for"):
        DistributedWorker(redis_url="redis://127.0.0.1:1/0")
