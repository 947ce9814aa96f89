"""Effects inside a node: recorded once, replayed, budgeted, and never repeated if they must not be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flows import QUICK, SOON, Gate, chain, eventually, payloads

from treadle.domain.events import EffectStarted, LogWritten, ModelReplied, NodeFailed, StepRecorded
from treadle.domain.policy import RetryPolicy
from treadle.domain.state import State
from treadle.domain.task import TaskState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.engine.signals import interrupt
from treadle.errors import BudgetExceeded, EffectInterrupted, RunFailed
from treadle.ports.store import Store

AGAIN = RetryPolicy(max_attempts=3, initial_seconds=0.01)


class Counter:
    """An effect that counts how often it happened."""

    def __init__(self, result: Any = "r") -> None:
        self.calls = 0
        self.result = result

    async def __call__(self) -> Any:
        self.calls += 1
        return self.result


async def test_a_step_happens_once_however_often_its_node_is_entered(orchestrator: Orchestrator, store: Store) -> None:
    effect = Counter((1, {"deep": b"x"}))
    seen: list[Any] = []

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        seen.append(await ctx.step("k", effect, request={"ask": 1}))
        if len(seen) < 3:
            raise OSError("again")
        return {}

    result = await orchestrator.execute(chain(node, retry=AGAIN), timeout=SOON)
    assert effect.calls == 1
    assert seen == [(1, {"deep": b"x"})] * 3
    [recorded] = await payloads(store, result.run_id, StepRecorded)
    assert recorded.kind == "step"


async def test_a_step_before_an_interrupt_is_not_repeated_after_the_answer(orchestrator: Orchestrator) -> None:
    before, after = Counter("b"), Counter("a")

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        one = await ctx.step("before", before)
        answer = interrupt("?")
        two = await ctx.step("after", after)
        return {"trail": [one, answer, two]}

    asked = await orchestrator.execute(chain(node), timeout=SOON)
    await orchestrator.answer(asked.run_id, "x")
    assert (await orchestrator.wait(asked.run_id, timeout=SOON))["trail"] == ["b", "x", "a"]
    assert (before.calls, after.calls) == (1, 1)


@pytest.mark.parametrize("form", ["async", "sync", "lambda of a coroutine"])
async def test_an_effect_may_be_async_or_not(orchestrator: Orchestrator, form: str) -> None:
    async def slow() -> int:
        return 5

    def plain() -> int:
        return 5

    effects: dict[str, Any] = {"async": slow, "sync": plain, "lambda of a coroutine": lambda: slow()}

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        return {"trail": [await ctx.step("k", effects[form])]}

    assert (await orchestrator.execute(chain(node), timeout=SOON))["trail"] == [5]


async def test_the_kind_of_an_effect_names_its_event(orchestrator: Orchestrator, store: Store) -> None:
    async def node(state: State, ctx: Any) -> None:
        await ctx.step("m", Counter(), kind="model", request={"prompt": "p"})
        await ctx.step("t", Counter(), kind="tool")

    result = await orchestrator.execute(chain(node), timeout=SOON)
    events = await store.journal(result.run_id, "node")
    assert [(event.type, event.step) for event in events] == [("ModelReplied", "m"), ("ToolReturned", "t")]
    [reply] = await payloads(store, result.run_id, ModelReplied)
    assert bytes(reply.request) == b'{"prompt":"p"}'


async def test_the_same_key_for_another_request_is_an_error(orchestrator: Orchestrator) -> None:
    async def node(state: State, ctx: Any) -> None:
        await ctx.step("k", Counter(), request=ctx.attempt)
        raise OSError("again")

    with pytest.raises(RunFailed, match="recorded for another request"):
        await orchestrator.execute(chain(node, retry=AGAIN), timeout=SOON)


async def test_a_step_that_fails_is_not_recorded_and_may_be_tried_again(orchestrator: Orchestrator) -> None:
    calls: list[int] = []

    async def shaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("first")
        return "second"

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        return {"trail": [await ctx.step("k", shaky)]}

    assert (await orchestrator.execute(chain(node, retry=AGAIN), timeout=SOON))["trail"] == ["second"]


async def test_a_result_that_cannot_be_written_fails_the_step(orchestrator: Orchestrator) -> None:
    async def node(state: State, ctx: Any) -> None:
        await ctx.step("k", Counter(object()))

    with pytest.raises(RunFailed, match="no form in the log"):
        await orchestrator.execute(chain(node), timeout=SOON)


async def test_the_idempotency_key_is_the_same_on_every_attempt_and_another_for_every_activation(
    orchestrator: Orchestrator,
) -> None:
    keys: dict[str, list[str]] = {}

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        keys.setdefault(ctx.activation, []).append(ctx.idempotency_key)
        if ctx.attempt == 1:
            raise OSError("again")
        return {"n": state.get("n", 0) + 1}

    graph = chain(node, retry=AGAIN)
    graph.edges = [edge for edge in graph.edges if edge[1] != "__end__"]
    graph.add_conditional_edge("node", lambda state: "node" if state["n"] < 2 else "__end__", ["node", "__end__"])
    await orchestrator.execute(graph, timeout=SOON)
    await orchestrator.execute(graph, timeout=SOON)
    assert {activation: len(found) for activation, found in keys.items()} == {"node": 4, "node#2": 4}
    assert all(found[0] == found[1] and found[2] == found[3] for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == 4


async def test_log_lines_are_written_with_the_result(orchestrator: Orchestrator, store: Store) -> None:
    async def node(state: State, ctx: Any) -> None:
        ctx.log("half way", done=1, of=(2, 3))

    result = await orchestrator.execute(chain(node), timeout=SOON)
    [line] = await payloads(store, result.run_id, LogWritten)
    assert line.message == "half way"


# -- at most once ------------------------------------------------------------------------------------------------------


async def lapse(store: Store, run_id: str) -> None:
    """As if the holder of every task had died."""
    for task in await store.tasks(run_id):
        if task.state is TaskState.LEASED and task.worker:
            await store.release(task.worker, {task.task_id: task.lease_seq}, died=True)


async def test_an_effect_in_flight_at_a_crash_is_not_repeated_if_it_is_declared_so(store: Store) -> None:
    entered, calls = asyncio.Event(), []

    async def pay() -> str:
        calls.append(1)
        entered.set()
        await asyncio.Event().wait()
        return "paid"

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        try:
            return {"trail": [await ctx.step("pay", pay, effects="at_most_once")]}
        except EffectInterrupted:
            return {"trail": ["unknown"]}

    async with Orchestrator(store, settings=QUICK) as orchestrator:
        run_id = await orchestrator.start(chain(node))
        await asyncio.wait_for(entered.wait(), SOON)
        await lapse(store, run_id)
        assert (await orchestrator.wait(run_id, timeout=SOON))["trail"] == ["unknown"]
        assert len(calls) == 1
        assert len(await payloads(store, run_id, EffectStarted)) == 1


async def test_an_effect_that_was_recorded_before_the_crash_is_not_repeated_either(orchestrator: Orchestrator) -> None:
    effect = Counter("paid")

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        paid = await ctx.step("pay", effect, effects="at_most_once")
        if ctx.attempt == 1:
            raise OSError("after")
        return {"trail": [paid]}

    assert (await orchestrator.execute(chain(node, retry=AGAIN), timeout=SOON))["trail"] == ["paid"]
    assert effect.calls == 1


async def test_two_who_hold_the_same_activation_by_mistake_do_an_effect_once(store: Store) -> None:
    """The lease lapsed while the first was between reading its journal and beginning the effect."""
    first, second = Gate(), Gate()
    gates = [first, second]
    calls: list[int] = []

    async def pay() -> str:
        calls.append(1)
        return "paid"

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        await gates.pop(0)(state)
        return {"trail": [await ctx.step("pay", pay, effects="at_most_once")]}

    quiet = type(QUICK)(lease_seconds=60, poll_seconds=0.02, sweep_seconds=0.02, heartbeat=False)
    async with Orchestrator(store, settings=quiet) as orchestrator:
        run_id = await orchestrator.start(chain(node))
        await first.wait()
        await lapse(store, run_id)
        await second.wait()
        first.open.set()
        await eventually(lambda: calls)
        second.open.set()
        with pytest.raises(RunFailed, match="was begun before"):
            await orchestrator.wait(run_id, timeout=SOON)
        assert len(calls) == 1


async def test_a_node_declared_at_most_once_is_not_run_again_after_a_crash(store: Store) -> None:
    gate = Gate()
    async with Orchestrator(store, settings=QUICK) as orchestrator:
        run_id = await orchestrator.start(chain(gate, effects="at_most_once"))
        await gate.wait()
        await lapse(store, run_id)
        with pytest.raises(RunFailed, match="declared at_most_once and its worker died"):
            await orchestrator.wait(run_id, timeout=SOON)
        gate.open.set()
        await orchestrator.retry(run_id)  # a human has looked
        assert (await orchestrator.wait(run_id, timeout=SOON))["trail"] == ["gate"]


async def test_a_node_declared_at_most_once_is_not_retried_by_its_policy(orchestrator: Orchestrator) -> None:
    calls: list[int] = []

    async def node(state: State) -> None:
        calls.append(1)
        raise OSError("half done")

    with pytest.raises(RunFailed, match="half done"):
        await orchestrator.execute(chain(node, effects="at_most_once", retry=AGAIN), timeout=SOON)
    assert len(calls) == 1


async def test_a_node_declared_at_most_once_may_ask(orchestrator: Orchestrator) -> None:
    async def node(state: State) -> dict[str, Any]:
        return {"trail": [interrupt("?")]}

    asked = await orchestrator.execute(chain(node, effects="at_most_once"), timeout=SOON)
    await orchestrator.answer(asked.run_id, 1)
    assert (await orchestrator.wait(asked.run_id, timeout=SOON))["trail"] == [1]


# -- budgets -----------------------------------------------------------------------------------------------------------


async def test_a_budget_is_reserved_before_and_settled_after(orchestrator: Orchestrator) -> None:
    seen: dict[str, Any] = {}

    async def call() -> int:
        return 30

    async def node(state: State, ctx: Any) -> None:
        async def watched() -> int:
            seen["during"] = (await ctx.budget())["tokens"]
            return await call()

        await ctx.step("k", watched, reserve={"tokens": 50}, settle=lambda result: {"tokens": result})
        seen["after"] = (await ctx.budget())["tokens"]

    await orchestrator.execute(chain(node), options=RunOptions(budgets={"tokens": 100}), timeout=SOON)
    assert (seen["during"].spent, seen["during"].reserved) == (0, 50)
    assert (seen["after"].spent, seen["after"].reserved) == (30, 0)


async def test_a_call_that_the_budget_does_not_cover_is_not_made(orchestrator: Orchestrator, store: Store) -> None:
    effect = Counter()

    async def node(state: State, ctx: Any) -> None:
        await ctx.step("k", effect, reserve={"tokens": 101})

    options = RunOptions(run_id="r", budgets={"tokens": 100})
    with pytest.raises(RunFailed, match=r"100 of 100 are left\. It was not made"):
        await orchestrator.execute(chain(node, retry=AGAIN), options=options, timeout=SOON)
    assert effect.calls == 0
    assert {f.code for f in await payloads(store, "r", NodeFailed)} == {"budget"}


async def test_a_node_may_do_with_less(orchestrator: Orchestrator) -> None:
    async def node(state: State, ctx: Any) -> dict[str, Any]:
        try:
            await ctx.step("large", Counter(), reserve={"tokens": 500})
        except BudgetExceeded:
            return {"trail": [await ctx.step("small", Counter("small"), reserve={"tokens": 5})]}
        return {}

    options = RunOptions(budgets={"tokens": 100})
    assert (await orchestrator.execute(chain(node), options=options, timeout=SOON))["trail"] == ["small"]


async def test_a_call_that_failed_gives_back_what_was_reserved_for_it(orchestrator: Orchestrator) -> None:
    async def down() -> str:
        raise ConnectionError("the model is down")

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        for model in ("one", "two"):
            try:
                await ctx.step(model, down, reserve={"tokens": 60})
            except ConnectionError:
                continue
        return {"trail": [await ctx.step("three", Counter("ok"), reserve={"tokens": 60})]}

    options = RunOptions(budgets={"tokens": 100})
    assert (await orchestrator.execute(chain(node), options=options, timeout=SOON))["trail"] == ["ok"]


async def test_a_replayed_call_is_not_paid_for_twice(orchestrator: Orchestrator, store: Store) -> None:
    async def node(state: State, ctx: Any) -> None:
        await ctx.step("k", Counter(), reserve={"tokens": 60}, settle=lambda result: {"tokens": 50})
        if ctx.attempt < 3:
            raise OSError("again")

    options = RunOptions(run_id="r", budgets={"tokens": 100})
    await orchestrator.execute(chain(node, retry=AGAIN), options=options, timeout=SOON)
    [budget] = await store.budgets("r")
    assert (budget.spent, budget.reserved) == (50, 0)
