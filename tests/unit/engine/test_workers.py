"""Several workers, lost answers, lapsed leases: a durably committed node never runs again, and none is lost."""

from __future__ import annotations

import asyncio
import operator
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from flows import QUICK, SOON, Gate, assert_sound, chain, eventually, finished, kinds, mark, payloads

from treadle.domain.events import TaskReleased
from treadle.domain.state import State
from treadle.domain.task import TaskState, WorkerState
from treadle.engine import advance
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.engine.worker import Worker
from treadle.errors import RunFailed
from treadle.graph.build import Graph
from treadle.graph.spec import START, Send
from treadle.ports.store import Change, Store
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore
from treadle.testing.faults import Fault, FaultyStore, loses_answers, loses_calls, unavailable

BRIEF = WorkerSettings(lease_seconds=0.2, sweep_seconds=0.02, poll_seconds=0.02)
UNRENEWED = WorkerSettings(lease_seconds=0.2, sweep_seconds=0.02, poll_seconds=0.02, heartbeat=False)


def counted(calls: Counter[str], *names: str, **settings: Any) -> Graph:
    """A diamond whose nodes count their calls, with a chain behind."""

    def node(name: str) -> Any:
        async def run(state: State, ctx: Any) -> dict[str, Any]:
            calls[ctx.activation] += 1
            return {"trail": [name]}

        return run

    graph = Graph("g", state={"trail": operator.add})
    for name in "abcdef":
        graph.add_node(name, node(name), **settings)
    for source, target in ("ab", "ac", "bd", "cd", "de", "ef"):
        graph.add_edge(source, target)
    return graph.add_edge(START, "a").set_finish_point("f")


# -- answers and calls that are lost -----------------------------------------------------------------------------------


@pytest.mark.parametrize("effects", ["idempotent", "at_most_once"])
@pytest.mark.parametrize(
    "make_fault",
    [
        lambda: loses_answers("commit", times=3),
        lambda: loses_calls("commit", times=3),
        lambda: loses_answers("sweep", "announce", "release", "wait", times=2),
        lambda: loses_calls("claim", "sweep", "wait", "announce", times=2),
    ],
    ids=["commits unanswered", "commits lost", "others unanswered", "others lost"],
)
async def test_nothing_runs_twice_when_the_store_is_away_for_a_moment(
    store: Store, make_fault: Callable[[], Fault], effects: str
) -> None:
    calls: Counter[str] = Counter()
    faulty: Any = FaultyStore(store, make_fault())
    async with Orchestrator(faulty, settings=QUICK) as orchestrator:
        result = await orchestrator.execute(counted(calls, effects=effects), timeout=SOON)
        assert result["trail"] == list("abcdef")
        assert set(calls.values()) == {1}
        assert_sound(await store.events(result.run_id))
        assert not orchestrator.worker.held


async def test_a_store_that_stays_away_longer_than_a_lease_costs_a_second_run_of_the_node_and_no_more(
    store: Store,
) -> None:
    calls: Counter[str] = Counter()
    away = True

    async def fault(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if name == "commit" and away:
            raise unavailable(name)
        return await call()

    faulty: Any = FaultyStore(store, fault)
    async with Orchestrator(faulty, settings=UNRENEWED) as orchestrator:
        run_id = await orchestrator.start(counted(calls))
        await eventually(lambda: calls["a"] >= 2)
        away = False
        assert (await orchestrator.wait(run_id, timeout=SOON))["trail"] == list("abcdef")
        assert_sound(await store.events(run_id))
        assert all(calls[name] == 1 for name in "bcdef")


async def test_a_plan_on_top_of_a_commit_that_was_refused_is_refused_with_it(store: Store) -> None:
    """Two commits of one run are under way when somebody changes the run: both must be planned again."""
    hold, held = asyncio.Event(), []

    async def fault(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if name == "commit" and len(held) < 2 and armed:
            held.append(name)
            if len(held) == 2:
                both.set()
            await hold.wait()
        return await call()

    armed, both = False, asyncio.Event()
    left, right = Gate("left"), Gate("right")
    graph = Graph("g", state={"trail": operator.add})
    graph.add_node("left", left).add_node("right", right).add_node("join", mark("join")).add_node("z", mark("z"))
    graph.add_edge(START, "left").add_edge(START, "right").add_edge("left", "join").add_edge("right", "join")
    graph.add_edge("join", "z").set_finish_point("z")
    faulty: Any = FaultyStore(store, fault)
    async with Orchestrator(faulty, settings=QUICK) as orchestrator:
        run_id = await orchestrator.start(graph)
        await left.wait()
        await right.wait()
        armed = True
        left.open.set()
        right.open.set()
        await asyncio.wait_for(both.wait(), SOON)
        await store.change(Change(run_id, []))  # raises the version to what the second commit expects
        hold.set()
        result = await orchestrator.wait(run_id, timeout=SOON)
        assert result["trail"] == ["left", "right", "join", "z"]
        assert await finished(store, run_id) == ["left", "right", "join", "z"]


# -- leases ------------------------------------------------------------------------------------------------------------


async def test_a_heartbeat_keeps_the_lease_of_a_long_node(store: Store) -> None:
    async def long(state: State) -> dict[str, Any]:
        await asyncio.sleep(0.6)
        return {"trail": ["long"]}

    async with Orchestrator(store, settings=BRIEF) as orchestrator:
        result = await orchestrator.execute(chain(long), timeout=SOON)
        assert await kinds(store, result.run_id) == ["RunStarted", "NodeFinished", "RunFinished"]


async def test_a_node_that_calls_for_a_heartbeat_again_and_again_opens_one_connection(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    real = store.renewer

    def renewer() -> Any:
        opened.append(real())
        return opened[-1]

    async def beating(state: State, ctx: Any) -> dict[str, Any]:
        for _ in range(5):
            await ctx.heartbeat()
        return {"trail": ["beat"]}

    monkeypatch.setattr(store, "renewer", renewer)
    async with Orchestrator(store, settings=QUICK) as orchestrator:
        assert (await orchestrator.execute(chain(beating), timeout=SOON))["trail"] == ["beat"]
    assert len(opened) == 1


async def test_a_lease_that_nobody_renews_goes_to_another_worker_and_the_late_result_counts_for_nothing(
    store: Store,
) -> None:
    first, again = Gate("slow"), asyncio.Event()
    calls: list[str] = []

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        calls.append(ctx._worker.name)
        if len(calls) == 1:
            await first(state)
            return {"trail": ["late"]}
        again.set()
        return {"trail": ["in time"]}

    graph = chain(node, mark("z"))
    async with Orchestrator(store, settings=UNRENEWED) as orchestrator:
        other = Worker(store, settings=QUICK, name="other")
        other.add_graph(graph.compile())
        run_id = await orchestrator.start(graph)
        await first.wait()
        await other.start()
        await asyncio.wait_for(again.wait(), SOON)
        result = await orchestrator.wait(run_id, timeout=SOON)
        first.open.set()
        assert result["trail"] == ["in time", "z"]
        for _ in range(10):
            await asyncio.sleep(0.002)
        assert_sound(await store.events(run_id))
        assert (await orchestrator.state_at(run_id))["trail"] == ["in time", "z"]
        assert not orchestrator.worker.held
        await other.stop()


async def test_a_worker_that_stops_gives_its_tasks_back_and_another_goes_on(store: Store) -> None:
    gate = Gate()
    graph = chain(mark("a"), gate, mark("z"))
    first = Orchestrator(store, settings=QUICK)
    run_id = await first.start(graph)
    await gate.wait()
    await first.worker.stop()
    assert gate.left == ["cancelled"]
    [task] = await store.tasks(run_id)
    assert (task.state, task.attempt) == (TaskState.READY, 0)
    gate.open.set()
    async with Orchestrator(store, settings=QUICK) as second:
        second.add_graph(graph)
        assert (await second.wait(run_id, timeout=SOON))["trail"] == ["a", "gate", "z"]
        assert [r.reason for r in await payloads(store, run_id, TaskReleased)] == ["released"]


async def test_a_renewal_that_finds_a_task_committed_does_not_stop_what_comes_next(store: Store) -> None:
    worker: Worker
    looked: list[str] = []

    async def fault(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        answer = await call()
        if name == "commit" and not looked:  # the heartbeat looks while the answer is on its way
            looked.append(name)
            renewer = store.renewer()
            lost = await asyncio.to_thread(renewer.renew, worker.name, dict(worker.held), 5.0, 1.0)
            renewer.close()
            assert lost
            worker._drop(lost)
            await asyncio.sleep(0)
        return answer

    faulty: Any = FaultyStore(store, fault)
    async with Orchestrator(faulty, settings=QUICK) as orchestrator:
        worker = orchestrator.worker
        result = await orchestrator.execute(chain(mark("a"), mark("b"), effects="at_most_once"), timeout=SOON)
        assert await kinds(store, result.run_id) == ["RunStarted", "NodeFinished", "NodeFinished", "RunFinished"]


async def test_a_worker_may_be_given_time_to_finish(store: Store) -> None:
    gate = Gate()
    orchestrator = Orchestrator(store, settings=QUICK)
    run_id = await orchestrator.start(chain(gate, mark("z")))
    await gate.wait()
    draining = asyncio.ensure_future(orchestrator.worker.drain())
    await asyncio.sleep(0)
    assert orchestrator.worker.state is WorkerState.DRAINING and not draining.done()
    gate.open.set()
    await asyncio.wait_for(draining, SOON)
    [left] = await store.tasks(run_id)  # what comes next is for others
    assert (left.node, left.state) == ("z", TaskState.READY)
    await orchestrator.close()
    assert orchestrator.worker.state is WorkerState.STOPPED


async def test_a_drain_may_be_cut_short(store: Store) -> None:
    gate = Gate()
    orchestrator = Orchestrator(store, settings=QUICK)
    run_id = await orchestrator.start(chain(gate))
    await gate.wait()
    draining = asyncio.ensure_future(orchestrator.worker.drain())
    await orchestrator.worker.stop()
    await asyncio.wait_for(draining, SOON)
    assert [task.state for task in await store.tasks(run_id)] == [TaskState.READY]


async def test_workers_share_the_items_of_a_fan_out(store: Store) -> None:
    calls: Counter[str] = Counter()

    async def item(state: State, ctx: Any) -> dict[str, Any]:
        calls[ctx.activation] += 1
        await asyncio.sleep(0.002)
        return {"got": [state["n"]], "by": {ctx._worker.name}}

    graph = Graph("g", state={"got": operator.add, "by": operator.or_}).add_node("item", item).add_node("z", mark("z"))
    graph.set_conditional_entry_point(lambda state: [Send("item", {"n": n}) for n in range(60)], ["item"])
    graph.add_edge("item", "z").set_finish_point("z")
    small = WorkerSettings(capacity=4, lease_seconds=30, sweep_seconds=0.02, poll_seconds=0.02)
    others = [Worker(store, settings=small, name=f"other{n}") for n in range(3)]
    async with Orchestrator(store, settings=small) as orchestrator:
        for worker in others:
            worker.add_graph(graph.compile())
            await worker.start()
        result = await orchestrator.execute(graph, timeout=SOON)
        assert result["got"] == list(range(60))
        assert len(result["by"]) > 1
        assert set(calls.values()) == {1} and len(calls) == 60
        assert_sound(await store.events(result.run_id))
        for worker in others:
            await worker.stop()


async def test_the_slots_of_a_worker_read_the_log_of_one_run_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = advance.load_view

    async def counted_load(store: Store, graph: Any, run_id: str) -> Any:
        reads.append(run_id)
        return await real(store, graph, run_id)

    async def work(state: State) -> dict[str, Any]:
        return {"trail": [state["n"]]}

    graph = Graph("g", state={"trail": operator.add}).add_node("work", work).set_finish_point("work")
    graph.set_conditional_entry_point(lambda state: [Send("work", {"n": n}) for n in range(60)], ["work"])
    monkeypatch.setattr(advance, "load_view", counted_load)
    async with Orchestrator(store, settings=QUICK) as orchestrator, asyncio.timeout(SOON):
        run_id = await orchestrator.start(graph)
        await orchestrator.pause(run_id)
        await eventually(lambda: _is_quiet(store, run_id))
        reads.clear()
        await orchestrator.resume(run_id)
        assert (await orchestrator.wait(run_id))["trail"] == list(range(60))
    assert len(reads) < 10


async def _is_quiet(store: Store, run_id: str) -> bool:
    return not any(task.state is TaskState.LEASED for task in await store.tasks(run_id))


async def test_a_worker_is_seen_while_it_is_at_work(store: Store) -> None:
    async with Orchestrator(store, settings=QUICK) as orchestrator:
        gate = Gate()
        await orchestrator.start(chain(gate))
        await gate.wait()
        await eventually(store.workers)
        [row] = await store.workers()
        assert (row.worker, row.held, row.capacity) == (orchestrator.worker.name, 1, 100)
        gate.open.set()
        await orchestrator.worker.stop()
        assert await store.workers() == []


async def test_capacity_bounds_what_runs_at_once(store: Store) -> None:
    running = peak = 0

    async def item(state: State) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1

    graph = Graph("g").add_node("item", item)
    graph.set_conditional_entry_point(lambda state: [Send("item", n) for n in range(30)], ["item"])
    small = WorkerSettings(capacity=3, lease_seconds=30, sweep_seconds=0.02, poll_seconds=0.02)
    async with Orchestrator(store, settings=small) as orchestrator:
        await orchestrator.execute(graph.set_finish_point("item"), timeout=SOON)
    assert peak == 3


async def test_a_task_of_a_queue_is_run_by_who_serves_it(store: Store) -> None:
    graph = chain(mark("a"))
    graph.add_node("b", mark("b"), queue="gpu").add_edge("a", "b").set_finish_point("b")
    async with Orchestrator(store, settings=QUICK) as orchestrator:
        gpu = Worker(store, settings=WorkerSettings(queues=("gpu",), poll_seconds=0.02), name="gpu")
        gpu.add_graph(graph.compile())
        await gpu.start()
        assert (await orchestrator.execute(graph, timeout=SOON))["trail"] == ["a", "b"]
        await gpu.stop()


async def test_a_worker_that_serves_some_queues_is_handed_no_task_of_another(store: Store) -> None:
    """The queue is chosen by the state and the run: `b` goes where the run says, and comes back for `c`."""
    took: dict[str, str] = {}

    def noting(name: str) -> Callable[..., Any]:
        async def node(state: State, ctx: Any) -> dict[str, Any]:
            took[name] = ctx._worker.name
            return {"trail": [*state.get("trail", []), name]}

        return node

    graph = Graph("g")
    graph.add_node("a", noting("a"), queue="home").add_node("c", noting("c"), queue="home")
    graph.add_node("b", noting("b"), queue=lambda state, run_id: f"{state['far']}:{run_id}")
    graph.set_entry_point("a").add_edge("a", "b").add_edge("b", "c").set_finish_point("c")
    near = WorkerSettings(queues=("home",), poll_seconds=0.02, where="known")
    async with Orchestrator(store, settings=near) as orchestrator:
        far = Worker(store, settings=WorkerSettings(queues=("far:r1",), poll_seconds=0.02, where="known"), name="far")
        far.add_graph(graph.compile())
        await far.start()
        options = RunOptions(run_id="r1")
        result = await orchestrator.execute(graph, {"far": "far"}, options=options, timeout=SOON)
        await far.stop()
        assert result["trail"] == ["a", "b", "c"]
        assert took == {"a": orchestrator.worker.name, "b": "far", "c": orchestrator.worker.name}


async def test_a_function_that_names_no_queue_fails_the_run(store: Store) -> None:
    graph = chain(mark("a"))
    graph.add_node("b", mark("b"), queue=lambda state, run_id: "").add_edge("a", "b").set_finish_point("b")
    async with Orchestrator(store, settings=QUICK) as orchestrator:
        with pytest.raises(RunFailed, match="queue of node 'b'"):
            await orchestrator.execute(graph, timeout=SOON)


async def test_resume_takes_back_at_once_what_a_dead_process_of_this_host_held(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "r.db", synchronous="OFF")
    await store.open()
    dead = subprocess.Popen(["true"])  # noqa: ASYNC220
    dead.wait()
    gate = Gate()
    graph = chain(gate)
    first = Orchestrator(store, settings=WorkerSettings(lease_seconds=600, poll_seconds=0.02, heartbeat=False))
    first.worker.name = f"{socket.gethostname()}-{dead.pid}-abc123"
    run_id = await first.start(graph)
    await gate.wait()
    for running in list(first.worker._chains):  # as the process ends, nothing is given back
        running.cancel()
    first.worker.held.clear()
    await first.worker.stop()
    gate.open.set()
    async with Orchestrator(store, settings=QUICK) as second:
        await second.resume(run_id, graph)
        assert (await second.wait(run_id, timeout=SOON))["trail"] == ["gate"]
        assert [r.reason for r in await payloads(store, run_id, TaskReleased)] == ["lapsed"]
    assert os.getpid() != dead.pid


async def test_a_broken_slot_does_not_hold_its_task_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    store, broken = MemoryStore(), []
    async with Orchestrator(store, settings=BRIEF) as orchestrator:

        async def explode(commit: Any) -> Any:
            if not broken:
                broken.append(1)
                raise RuntimeError("a mistake of ours")
            return await type(orchestrator.worker)._commit(orchestrator.worker, commit)

        monkeypatch.setattr(orchestrator.worker, "_commit", explode)
        run_id = await orchestrator.start(chain(mark("a")))
        assert (await orchestrator.wait(run_id, timeout=SOON))["trail"] == ["a"]
        assert [r.reason for r in await payloads(store, run_id, TaskReleased)] == ["lapsed"]
