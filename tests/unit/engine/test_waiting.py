"""Runs that wait: for answers, for time, because somebody paused them."""

from __future__ import annotations

import asyncio
import operator
from typing import Any

import pytest
from flows import SOON, Gate, assert_sound, chain, eventually, finished, kinds, mark, payloads

from treadle.domain.events import InterruptAnswered, InterruptRaised
from treadle.domain.state import State
from treadle.domain.task import RunStatus, TaskState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.signals import interrupt
from treadle.errors import Conflict, NotFound, RunFailed, UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import START
from treadle.ports.store import Change, Store


def asking(*questions: Any, entered: list[int] | None = None) -> Any:
    async def ask(state: State) -> dict[str, Any]:
        if entered is not None:
            entered.append(1)
        return {"trail": [interrupt(question) for question in questions]}

    return ask


async def test_an_interrupt_ends_the_wait_with_its_question(orchestrator: Orchestrator, store: Store) -> None:
    result = await orchestrator.execute(chain(asking({"text": "Really?"})), {"n": 1}, timeout=SOON)
    assert result.status is RunStatus.WAITING
    assert result == {"n": 1}
    [question] = result.interrupts
    assert (question.activation, question.node, question.value) == ("ask", "ask", {"text": "Really?"})
    assert [task.state for task in await store.tasks(result.run_id)] == [TaskState.WAITING]


async def test_an_answer_is_what_the_interrupt_returns(orchestrator: Orchestrator, store: Store) -> None:
    entered: list[int] = []
    result = await orchestrator.execute(chain(asking("?", entered=entered), mark("z")), timeout=SOON)
    await orchestrator.answer(result.run_id, {"yes": (1, 2)})
    result = await orchestrator.wait(result.run_id, timeout=SOON)
    assert result == {"trail": [{"yes": (1, 2)}, "z"]}
    assert len(entered) == 2
    assert_sound(await store.events(result.run_id))


async def test_several_questions_of_one_node_come_one_after_the_other(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(chain(asking("one", "two", "three")), timeout=SOON)
    for number, question in enumerate(("one", "two", "three")):
        assert [q.value for q in result.interrupts] == [question]
        await orchestrator.answer(result.run_id, number)
        result = await orchestrator.wait(result.run_id, timeout=SOON)
    assert result == {"trail": [0, 1, 2]}


def two_askers() -> Graph:
    graph = Graph("g", state={"trail": operator.add})
    for name in ("a", "b"):
        graph.add_node(name, asking(f"{name}?")).add_edge(START, name).set_finish_point(name)
    return graph


async def test_questions_of_several_nodes_are_answered_by_name(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(two_askers(), timeout=SOON)
    assert sorted(q.value for q in result.interrupts) == ["a?", "b?"]
    with pytest.raises(UsageError, match="asks 2 things") as caught:
        await orchestrator.answer(result.run_id, 1)
    assert "a, b" in caught.value.hint
    await orchestrator.answer(result.run_id, 2, interrupt="b")
    result = await orchestrator.wait(result.run_id, timeout=SOON)
    assert [q.activation for q in result.interrupts] == ["a"]
    await orchestrator.answer(result.run_id, 1)
    assert await orchestrator.wait(result.run_id, timeout=SOON) == {"trail": [1, 2]}


async def test_answering_what_nobody_asked_is_not_found(orchestrator: Orchestrator) -> None:
    done = await orchestrator.execute(chain(mark("a")), timeout=SOON)
    with pytest.raises(NotFound, match="asks nothing"):
        await orchestrator.answer(done.run_id, 1)
    asked = await orchestrator.execute(chain(asking("?"), name="h"), timeout=SOON)
    with pytest.raises(NotFound, match="'nobody'"):
        await orchestrator.answer(asked.run_id, 1, interrupt="nobody")


async def test_of_two_who_answer_at_once_one_is_told_so(orchestrator: Orchestrator, store: Store) -> None:
    asked = await orchestrator.execute(chain(asking("?")), timeout=SOON)
    answers = await asyncio.gather(*(orchestrator.answer(asked.run_id, n) for n in range(4)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert len(refused) == 3
    assert all(isinstance(answer, Conflict | NotFound) for answer in refused)
    [given] = await payloads(store, asked.run_id, InterruptAnswered)
    result = await orchestrator.wait(asked.run_id, timeout=SOON)
    assert result["trail"] == [int(bytes(given.value))]


async def test_a_question_that_cannot_be_written_fails_the_node(orchestrator: Orchestrator) -> None:
    with pytest.raises(RunFailed, match="no form in the log"):
        await orchestrator.execute(chain(asking(object())), timeout=SOON)


async def test_an_answer_that_cannot_be_written_is_refused(orchestrator: Orchestrator) -> None:
    asked = await orchestrator.execute(chain(asking("?")), timeout=SOON)
    with pytest.raises(UsageError, match="no form in the log"):
        await orchestrator.answer(asked.run_id, object())
    assert (await orchestrator.status(asked.run_id)).status is RunStatus.WAITING


async def test_a_sync_node_may_ask(orchestrator: Orchestrator) -> None:
    def ask(state: State) -> dict[str, Any]:
        return {"trail": [interrupt("?")]}

    asked = await orchestrator.execute(chain(ask), timeout=SOON)
    await orchestrator.answer(asked.run_id, "fine")
    assert await orchestrator.wait(asked.run_id, timeout=SOON) == {"trail": ["fine"]}


async def test_a_nodes_own_except_lets_an_interrupt_pass(orchestrator: Orchestrator) -> None:
    async def ask(state: State) -> dict[str, Any]:
        try:
            return {"trail": [interrupt("?")]}
        except Exception:  # noqa: BLE001
            return {"trail": ["swallowed"]}

    assert (await orchestrator.execute(chain(ask), timeout=SOON)).status is RunStatus.WAITING


async def test_asking_outside_a_node_is_refused() -> None:
    with pytest.raises(UsageError, match="outside a node"):
        interrupt("?")


async def test_an_interrupt_before_a_node_shows_what_it_would_see(orchestrator: Orchestrator, store: Store) -> None:
    graph = chain(mark("a"), mark("b"), mark("c")).compile(interrupt_before=["b"])
    result = await orchestrator.execute(graph, {"n": 1}, timeout=SOON)
    assert result == {"n": 1, "trail": ["a"]}
    [question] = result.interrupts
    assert (question.node, question.key, question.value) == ("b", "before", {"n": 1, "trail": ["a"]})
    assert await finished(store, result.run_id) == ["a"]
    await orchestrator.answer(result.run_id)
    assert (await orchestrator.wait(result.run_id, timeout=SOON))["trail"] == ["a", "b", "c"]


async def test_an_interrupt_before_the_first_node(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(chain(mark("a")).compile(interrupt_before=["a"]), timeout=SOON)
    assert result.status is RunStatus.WAITING
    await orchestrator.answer(result.run_id)
    assert (await orchestrator.wait(result.run_id, timeout=SOON))["trail"] == ["a"]


async def test_an_interrupt_after_a_node_holds_what_follows(orchestrator: Orchestrator) -> None:
    graph = chain(mark("a"), mark("b"), mark("c")).compile(interrupt_after=["a"])
    result = await orchestrator.execute(graph, timeout=SOON)
    assert [q.node for q in result.interrupts] == ["b"]
    await orchestrator.answer(result.run_id)
    assert (await orchestrator.wait(result.run_id, timeout=SOON))["trail"] == ["a", "b", "c"]


async def test_the_state_may_be_corrected_while_a_run_waits(orchestrator: Orchestrator) -> None:
    graph = chain(mark("a"), mark("b")).compile(interrupt_before=["b"])
    result = await orchestrator.execute(graph, timeout=SOON)
    await orchestrator.update_state(result.run_id, {"trail": ["corrected"]})
    await orchestrator.answer(result.run_id)
    assert (await orchestrator.wait(result.run_id, timeout=SOON))["trail"] == ["a", "corrected", "b"]


async def test_an_answer_given_before_a_failure_is_not_asked_for_again(orchestrator: Orchestrator) -> None:
    tries: list[int] = []

    async def ask(state: State) -> dict[str, Any]:
        answer = interrupt("?")
        tries.append(answer)
        if len(tries) == 1:
            raise ValueError("once")
        return {"trail": [answer]}

    asked = await orchestrator.execute(chain(ask), timeout=SOON)
    await orchestrator.answer(asked.run_id, 7)
    with pytest.raises(RunFailed):
        await orchestrator.wait(asked.run_id, timeout=SOON)
    await orchestrator.retry(asked.run_id)
    assert await orchestrator.wait(asked.run_id, timeout=SOON) == {"trail": [7]}


# -- sleep -------------------------------------------------------------------------------------------------------------


async def test_a_sleep_lets_go_of_the_worker_and_starts_again_from_the_top(
    orchestrator: Orchestrator, store: Store
) -> None:
    entered: list[int] = []

    async def nap(state: State, ctx: Any) -> dict[str, Any]:
        entered.append(ctx.attempt)
        await ctx.sleep(0.02)
        await ctx.sleep(0.02)
        return {"trail": ["rested"]}

    assert await orchestrator.execute(chain(nap), timeout=SOON) == {"trail": ["rested"]}
    assert entered == [1, 1, 1]


async def test_a_sleeping_task_is_not_running_anywhere(orchestrator: Orchestrator, store: Store) -> None:
    async def nap(state: State, ctx: Any) -> None:
        await ctx.sleep(3600)

    run_id = await orchestrator.start(chain(nap))

    async def asleep() -> bool:
        return any(task.state is TaskState.WAITING for task in await store.tasks(run_id))

    await eventually(asleep)
    assert not orchestrator.worker.held
    assert (await orchestrator.status(run_id)).status is RunStatus.RUNNING
    await orchestrator.cancel(run_id)


# -- pause -------------------------------------------------------------------------------------------------------------


async def test_a_paused_run_finishes_what_runs_and_starts_nothing_more(
    orchestrator: Orchestrator, store: Store
) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(gate, mark("after")))
    await gate.wait()
    row = await orchestrator.pause(run_id)
    assert (row.status, row.paused) == (RunStatus.WAITING, True)
    gate.open.set()
    await eventually(lambda: finished(store, run_id))
    assert [task.state for task in await store.tasks(run_id)] == [TaskState.READY]
    row = await orchestrator.resume(run_id)
    assert not row.paused
    assert (await orchestrator.wait(run_id, timeout=SOON))["trail"] == ["gate", "after"]
    assert {"RunPaused", "RunResumed"} <= set(await kinds(store, run_id))


async def test_who_waits_for_a_run_goes_on_waiting_while_it_is_paused(orchestrator: Orchestrator) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(gate, mark("after")))
    waiting = asyncio.ensure_future(orchestrator.wait(run_id, timeout=SOON))
    await gate.wait()
    await orchestrator.pause(run_id)
    gate.open.set()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.15)
    await orchestrator.resume(run_id)
    assert (await waiting)["trail"] == ["gate", "after"]


async def test_a_run_that_ends_while_it_is_paused_has_ended(orchestrator: Orchestrator) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(gate))
    await gate.wait()
    await orchestrator.pause(run_id)
    gate.open.set()
    assert (await orchestrator.wait(run_id, timeout=SOON)).status is RunStatus.DONE


async def test_a_run_that_ends_at_the_moment_of_its_resumption_stays_ended(
    orchestrator: Orchestrator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(gate))
    await gate.wait()
    await orchestrator.pause(run_id)
    real = store.change

    async def late(change: Change) -> int:
        gate.open.set()
        await orchestrator.wait(run_id, timeout=SOON)
        return await real(change)

    monkeypatch.setattr(store, "change", late)
    with pytest.raises(Conflict, match="is done"):
        await orchestrator.resume(run_id)
    assert (await store.run(run_id)).status is RunStatus.DONE


async def test_a_paused_run_that_asks_something_still_asks_when_it_is_resumed(orchestrator: Orchestrator) -> None:
    asked = await orchestrator.execute(chain(asking("?")), timeout=SOON)
    await orchestrator.pause(asked.run_id)
    await orchestrator.resume(asked.run_id)
    again = await orchestrator.wait(asked.run_id, timeout=SOON)
    assert [q.value for q in again.interrupts] == ["?"]


async def test_an_answer_to_a_paused_run_waits_until_it_is_resumed(orchestrator: Orchestrator) -> None:
    asked = await orchestrator.execute(chain(asking("?")), timeout=SOON)
    await orchestrator.pause(asked.run_id)
    row = await orchestrator.answer(asked.run_id, 1)
    assert (row.status, row.paused) == (RunStatus.WAITING, True)
    await orchestrator.resume(asked.run_id)
    assert (await orchestrator.wait(asked.run_id, timeout=SOON))["trail"] == [1]


async def test_a_run_that_has_ended_can_be_neither_paused_nor_resumed_nor_cancelled(
    orchestrator: Orchestrator,
) -> None:
    done = await orchestrator.execute(chain(mark("a")), timeout=SOON)
    for change in (orchestrator.pause, orchestrator.resume, orchestrator.cancel):
        with pytest.raises(Conflict, match="done"):
            await change(done.run_id)


async def test_what_was_asked_stays_in_the_log(orchestrator: Orchestrator, store: Store) -> None:
    asked = await orchestrator.execute(chain(asking("?")), timeout=SOON)
    await orchestrator.answer(asked.run_id, 1)
    await orchestrator.wait(asked.run_id, timeout=SOON)
    assert len(await payloads(store, asked.run_id, InterruptRaised)) == 1
    assert await orchestrator.interrupts(asked.run_id) == []
