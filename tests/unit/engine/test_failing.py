"""Nodes that fail, take too long, or are cancelled."""

from __future__ import annotations

import asyncio
import operator
import os
import time
from pathlib import Path
from typing import Any

import pytest
from flows import QUICK, SOON, Gate, assert_sound, chain, eventually, kinds, mark, payloads

from treadle.domain.events import NodeFailed, RunErrored
from treadle.domain.policy import RetryPolicy
from treadle.domain.state import State
from treadle.domain.task import RunStatus, TaskState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.engine.signals import interrupt
from treadle.errors import Conflict, NotFound, RunCancelled, RunFailed, RunTimedOut
from treadle.graph.build import Graph
from treadle.graph.spec import START, Send
from treadle.ports.store import Store

SOON_AGAIN = RetryPolicy(max_attempts=3, initial_seconds=0.01, factor=2, jitter=0)


def failing(times: int, error: type[Exception] = ValueError, seen: list[int] | None = None) -> Any:
    async def flaky(state: State, ctx: Any) -> dict[str, Any]:
        if seen is not None:
            seen.append(ctx.attempt)
        if ctx.attempt <= times:
            raise error(f"attempt {ctx.attempt}")
        return {"trail": [f"ok after {times}"]}

    return flaky


async def test_a_failed_node_is_tried_again_after_a_growing_delay(orchestrator: Orchestrator, store: Store) -> None:
    seen: list[int] = []
    result = await orchestrator.execute(chain(failing(2, seen=seen), retry=SOON_AGAIN), timeout=SOON)
    assert result["trail"] == ["ok after 2"]
    assert seen == [1, 2, 3]
    failures = await payloads(store, result.run_id, NodeFailed)
    assert [(f.attempt, f.retry_seconds, f.code) for f in failures] == [
        (1, 0.01, "ValueError"),
        (2, 0.02, "ValueError"),
    ]


async def test_a_short_delay_does_not_wait_for_the_next_look_at_the_store(store: Store) -> None:
    rarely = WorkerSettings(sweep_seconds=60.0, poll_seconds=60.0)
    async with Orchestrator(store, settings=rarely) as orchestrator:
        result = await orchestrator.execute(chain(failing(2), retry=SOON_AGAIN), timeout=SOON)
        assert result["trail"] == ["ok after 2"]
        with pytest.raises(RunTimedOut):
            options = RunOptions(run_id="late", deadline_seconds=0.05)
            run_id = await orchestrator.start(chain(Gate()), options=options)
            await eventually(lambda: _has_ended(orchestrator, run_id))
            await orchestrator.wait(run_id, timeout=SOON)


async def _has_ended(orchestrator: Orchestrator, run_id: str) -> bool:
    return (await orchestrator.status(run_id)).status.ended


async def test_who_runs_a_whole_graph_serves_the_queues_that_it_names(store: Store) -> None:
    graph = chain(failing(2), retry=SOON_AGAIN, queue="gpu")
    async with Orchestrator(store, settings=WorkerSettings(sweep_seconds=0.02, poll_seconds=0.02)) as orchestrator:
        assert (await orchestrator.execute(graph, timeout=SOON))["trail"] == ["ok after 2"]
        await orchestrator.limits.set("gpu", concurrency=1)
        assert (await orchestrator.execute(chain(failing(0), queue="gpu"), timeout=SOON))["trail"] == ["ok after 0"]


async def test_a_node_that_keeps_failing_ends_the_run_in_error(orchestrator: Orchestrator, store: Store) -> None:
    options = RunOptions(run_id="r")
    with pytest.raises(RunFailed, match="Node 'flaky' failed: ValueError: attempt 3") as caught:
        await orchestrator.execute(chain(failing(9), retry=SOON_AGAIN), options=options, timeout=SOON)
    assert "treadle retry r" in caught.value.hint
    row = await orchestrator.status("r")
    assert (row.status, row.error) == (RunStatus.ERROR, "Node 'flaky' failed: ValueError: attempt 3")
    last = (await payloads(store, "r", NodeFailed))[-1]
    assert last.retry_seconds is None
    assert "Traceback" in last.trace and "attempt 3" in last.trace
    assert (await kinds(store, "r"))[-1] == "RunErrored"


async def test_without_a_policy_a_node_is_tried_once(orchestrator: Orchestrator) -> None:
    seen: list[int] = []
    with pytest.raises(RunFailed):
        await orchestrator.execute(chain(failing(1, seen=seen)), timeout=SOON)
    assert seen == [1]


@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError])
async def test_a_mistake_in_the_program_is_not_tried_again(orchestrator: Orchestrator, error: type[Exception]) -> None:
    seen: list[int] = []
    with pytest.raises(RunFailed, match=error.__name__):
        await orchestrator.execute(chain(failing(1, error, seen), retry=SOON_AGAIN), timeout=SOON)
    assert seen == [1]


async def test_one_branch_waiting_for_its_retry_does_not_hold_up_the_other(orchestrator: Orchestrator) -> None:
    done = asyncio.Event()

    async def quick(state: State) -> dict[str, Any]:
        done.set()
        return {"trail": ["quick"]}

    graph = Graph("g", state={"trail": operator.add})
    slow_retry = RetryPolicy(max_attempts=2, initial_seconds=60)
    graph.add_node("bad", failing(1), retry=slow_retry).add_node("a", mark("a")).add_node("quick", quick)
    graph.add_edge(START, "bad").add_edge(START, "a").add_edge("a", "quick")
    run_id = await orchestrator.start(graph.set_finish_point("bad").set_finish_point("quick"))
    await asyncio.wait_for(done.wait(), SOON)
    assert (await orchestrator.status(run_id)).status is RunStatus.RUNNING


async def test_a_dead_lettered_task_can_be_retried(orchestrator: Orchestrator, store: Store) -> None:
    fixed: list[bool] = []

    async def broken(state: State, ctx: Any) -> dict[str, Any]:
        if not fixed:
            raise ValueError("broken")
        return {"trail": [f"attempt {ctx.attempt}"]}

    graph = chain(mark("a"), broken, mark("z"))
    with pytest.raises(RunFailed):
        await orchestrator.execute(graph, options=RunOptions(run_id="r"), timeout=SOON)
    [task] = await store.tasks("r")
    assert (task.state, task.activation, task.error) == (TaskState.FAILED, "broken", "ValueError: broken")
    with pytest.raises(NotFound, match="'nobody'"):
        await orchestrator.retry("r", "nobody")
    with pytest.raises(RunFailed):
        await orchestrator.retry("r")
        await orchestrator.wait("r", timeout=SOON)
    fixed.append(True)
    await orchestrator.retry("r", "broken")
    assert (await orchestrator.wait("r", timeout=SOON))["trail"] == ["a", "attempt 1", "z"]
    assert len(await payloads(store, "r", NodeFailed)) == 2
    assert_sound(await store.events("r"))
    with pytest.raises(NotFound, match="no failed task"):
        await orchestrator.retry("r")


async def test_what_ran_beside_a_failure_is_stopped_and_runs_again_on_retry(
    orchestrator: Orchestrator, store: Store
) -> None:
    gate, fail, fixed = Gate("beside"), asyncio.Event(), []

    async def bad(state: State) -> None:
        if not fixed:
            await fail.wait()
            raise ValueError("bad")

    graph = Graph("g", state={"trail": operator.add}).add_node("bad", bad).add_node("beside", gate)
    graph.add_edge(START, "bad").add_edge(START, "beside").set_finish_point("bad").set_finish_point("beside")
    run_id = await orchestrator.start(graph)
    await gate.wait()
    fail.set()
    with pytest.raises(RunFailed):
        await orchestrator.wait(run_id, timeout=SOON)
    await eventually(lambda: gate.left)
    assert gate.left == ["cancelled"]
    fixed.append(1)
    gate.open.set()
    await orchestrator.retry(run_id)
    assert (await orchestrator.wait(run_id, timeout=SOON))["trail"] == ["beside"]
    assert_sound(await store.events(run_id))


async def test_two_branches_that_write_one_key_end_the_run_and_are_named(orchestrator: Orchestrator) -> None:
    graph = Graph("g")
    for name in ("b", "c"):
        graph.add_node(name, lambda state, name=name: {"title": name}).add_edge(START, name).set_finish_point(name)
    with pytest.raises(RunFailed, match="'title' was written by both 'b' and 'c'"):
        await orchestrator.execute(graph, timeout=SOON)


async def test_a_reducer_that_raises_ends_the_run_and_says_so(orchestrator: Orchestrator) -> None:
    async def wrong(state: State) -> dict[str, Any]:
        return {"trail": "not a list"}

    with pytest.raises(RunFailed, match="TypeError"):
        await orchestrator.execute(chain(mark("a"), wrong), timeout=SOON)


async def test_a_result_that_cannot_be_written_fails_the_node(orchestrator: Orchestrator) -> None:
    async def wrong(state: State) -> dict[str, Any]:
        return {"trail": [object()]}

    with pytest.raises(RunFailed, match="no form in the log"):
        await orchestrator.execute(chain(wrong), timeout=SOON)


async def test_a_send_of_what_cannot_be_written_fails_the_node(orchestrator: Orchestrator) -> None:
    graph = Graph("g").add_node("w", mark("w"))
    graph.set_conditional_entry_point(lambda state: [Send("w", object())], ["w"]).set_finish_point("w")
    with pytest.raises(RunFailed, match="no form in the log"):
        await orchestrator.execute(graph, timeout=SOON)


async def test_the_step_limit_ends_a_loop_that_is_never_left(orchestrator: Orchestrator) -> None:
    graph = Graph("g", state={"trail": operator.add}, max_steps=20).add_node("a", mark("a"))
    graph.set_entry_point("a").add_conditional_edge("a", lambda state: "a", {"a": "a", "never": "__end__"})
    with pytest.raises(RunFailed, match="more than 20 steps"):
        await orchestrator.execute(graph, timeout=SOON)


# -- timeouts ----------------------------------------------------------------------------------------------------------


async def test_a_timeout_stops_an_async_node(orchestrator: Orchestrator, store: Store) -> None:
    gate = Gate()
    with pytest.raises(RunFailed, match=r"ran longer than 0\.05 s; it was stopped"):
        await orchestrator.execute(chain(gate, timeout=0.05), options=RunOptions(run_id="r"), timeout=SOON)
    assert gate.left == ["cancelled"]
    assert [f.code for f in await payloads(store, "r", NodeFailed)] == ["node_timeout"]


async def test_a_timeout_counts_as_a_failure_that_may_be_tried_again(orchestrator: Orchestrator) -> None:
    async def slow_once(state: State, ctx: Any) -> dict[str, Any]:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return {"trail": ["second"]}

    result = await orchestrator.execute(chain(slow_once, timeout=0.05, retry=SOON_AGAIN), timeout=SOON)
    assert result["trail"] == ["second"]


async def test_a_timeout_error_of_the_nodes_own_is_not_taken_for_ours(orchestrator: Orchestrator) -> None:
    async def own(state: State) -> None:
        raise TimeoutError("mine")

    with pytest.raises(RunFailed, match="TimeoutError: mine"):
        await orchestrator.execute(chain(own, timeout=5), timeout=SOON)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


async def test_a_timeout_kills_a_sync_node_and_every_process_it_started(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    import subprocess

    pids = tmp_path / "pids"

    def stubborn(state: State) -> None:
        child = subprocess.Popen(["sh", "-c", "trap '' TERM INT; sleep 600 & wait"])
        pids.write_text(f"{os.getpid()} {child.pid}")
        while True:
            time.sleep(0.01)

    with pytest.raises(RunFailed, match="it was stopped"):
        await orchestrator.execute(chain(stubborn, timeout=0.5), timeout=SOON)
    numbers = [int(word) for word in pids.read_text().split()]
    assert len(numbers) == 2
    await eventually(lambda: not any(map(_alive, numbers)))


async def test_a_sync_node_in_a_child_process_may_raise_and_its_error_comes_back(orchestrator: Orchestrator) -> None:
    def wrong(state: State) -> None:
        raise ValueError("from the child")

    with pytest.raises(RunFailed, match="ValueError: from the child"):
        await orchestrator.execute(chain(wrong, timeout=5), timeout=SOON)


async def test_a_child_process_that_dies_is_a_failure(orchestrator: Orchestrator) -> None:
    def suicide(state: State) -> None:
        os._exit(3)

    with pytest.raises(RunFailed, match="ended with exit code 3; this attempt has no result"):
        await orchestrator.execute(chain(suicide, timeout=5), timeout=SOON)


async def test_what_needs_the_store_is_refused_in_a_child_process_with_a_hint(orchestrator: Orchestrator) -> None:
    def ask(state: State, ctx: Any) -> None:
        ctx.step("k", lambda: 1)

    with pytest.raises(RunFailed, match=r"ctx\.step is not available"):
        await orchestrator.execute(chain(ask, timeout=5), timeout=SOON)


async def test_a_sync_node_may_ask_from_its_child_process(orchestrator: Orchestrator) -> None:
    def ask(state: State, ctx: Any) -> dict[str, Any]:
        return {"trail": [ctx.interrupt("first?"), interrupt("second?")]}

    result = await orchestrator.execute(chain(ask, timeout=5), timeout=SOON)
    for answer, question in (("one", "first?"), ("two", "second?")):
        assert [asked.value for asked in result.interrupts] == [question]
        await orchestrator.answer(result.run_id, answer)
        result = await orchestrator.wait(result.run_id, timeout=SOON)
    assert result["trail"] == ["one", "two"]


# -- cancel ------------------------------------------------------------------------------------------------------------


async def test_cancelling_reaches_a_running_node_and_leaves_a_consistent_log(
    orchestrator: Orchestrator, store: Store
) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(mark("a"), gate, mark("z")))
    await gate.wait()
    row = await orchestrator.cancel(run_id, "changed my mind")
    assert (row.status, row.error) == (RunStatus.CANCELLED, "changed my mind")
    with pytest.raises(RunCancelled):
        await orchestrator.wait(run_id, timeout=SOON)
    await eventually(lambda: gate.left)
    assert gate.left == ["cancelled"]
    assert await store.tasks(run_id) == []
    assert await kinds(store, run_id) == ["RunStarted", "NodeFinished", "RunCancelled", "TaskCancelled"]
    assert not orchestrator.worker.held


async def test_cancelling_from_another_process_reaches_a_running_node(store: Store) -> None:
    gate = Gate()
    settings = type(QUICK)(lease_seconds=0.15, poll_seconds=0.02, sweep_seconds=0.02)
    async with Orchestrator(store, settings=settings) as runs_it:
        run_id = await runs_it.start(chain(gate))
        await gate.wait()
        other = Orchestrator(store, settings=QUICK)
        await other.cancel(run_id)
        await eventually(lambda: gate.left)
        assert gate.left == ["cancelled"]
        await other.worker.stop()


async def test_cancelling_a_waiting_run_ends_it(orchestrator: Orchestrator, store: Store) -> None:
    graph = chain(mark("a"), mark("b")).compile(interrupt_before=["b"])
    asked = await orchestrator.execute(graph, timeout=SOON)
    await orchestrator.cancel_workflow(asked.run_id)
    assert (await orchestrator.status(asked.run_id)).status is RunStatus.CANCELLED
    assert await store.tasks(asked.run_id) == []


async def test_a_node_that_swallows_its_cancellation_changes_nothing_anymore(
    orchestrator: Orchestrator, store: Store
) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(state: State) -> dict[str, Any]:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
        return {"trail": ["too late"]}

    run_id = await orchestrator.start(chain(stubborn))
    await asyncio.wait_for(entered.wait(), SOON)
    await orchestrator.cancel(run_id)
    await asyncio.wait_for(ended.wait(), SOON)
    for _ in range(20):
        await asyncio.sleep(0)
    assert "NodeFinished" not in await kinds(store, run_id)


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def test_a_run_past_its_deadline_ends_as_timed_out_and_its_nodes_are_stopped(
    store: Store,
) -> None:
    gate = Gate()
    settings = type(QUICK)(lease_seconds=0.15, poll_seconds=0.02, sweep_seconds=0.02)
    async with Orchestrator(store, settings=settings) as orchestrator:
        with pytest.raises(RunTimedOut, match="reached its deadline"):
            await orchestrator.execute(chain(gate), options=RunOptions(run_id="r", deadline_seconds=0.1), timeout=SOON)
        await eventually(lambda: gate.left)
        assert gate.left == ["cancelled"]
        assert [e.code for e in await payloads(store, "r", RunErrored)] == ["run_timed_out"]
        with pytest.raises(Conflict, match="has reached its deadline; nothing was retried"):
            await orchestrator.retry("r")
        gate.open.set()
        fork = await orchestrator.fork("r")
        assert (await orchestrator.wait(fork, timeout=SOON))["trail"] == ["gate"]
