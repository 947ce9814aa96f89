"""The past of a run: reading it, forking it, changing the state from outside, migrating, exporting."""

from __future__ import annotations

import asyncio
import operator
from typing import Any

import pytest
from flows import QUICK, SOON, Gate, assert_sound, chain, eventually, finished, mark, payloads

from treadle.domain.events import RunForked, RunMigrated, StateUpdated, StepRecorded
from treadle.domain.state import State
from treadle.domain.task import RunStatus, TaskState
from treadle.engine import retention
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.engine.signals import interrupt
from treadle.errors import Conflict, NotFound, RunFailed, UnknownName, UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.ports.store import Store
from treadle.stores.memory import MemoryStore

ABC = ("a", "b", "c")


def abc(**settings: Any) -> Graph:
    return chain(*map(mark, ABC), **settings)


async def test_the_state_after_every_event_can_be_read(orchestrator: Orchestrator, store: Store) -> None:
    result = await orchestrator.execute(abc(), {"n": 1}, timeout=SOON)
    states = [await orchestrator.state_at(result.run_id, event.seq) for event in await store.events(result.run_id)]
    trails = [state.get("trail", []) for state in states]
    assert trails == [[], ["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]
    assert await orchestrator.state_at(result.run_id) == result
    for event in (99, -1):
        with pytest.raises(NotFound):
            await orchestrator.state_at(result.run_id, event)


async def test_history_says_what_each_node_changed(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(abc(), timeout=SOON)
    steps = await orchestrator.history(result.run_id)
    assert [(step.node, step.activation, step.update) for step in steps] == [
        (name, name, {"trail": [name]}) for name in ABC
    ]
    assert [step.seq for step in steps] == [2, 3, 4]


# -- update_state ------------------------------------------------------------------------------------------------------


async def test_of_ten_who_change_one_version_one_is_done_and_nine_are_told(
    orchestrator: Orchestrator, store: Store
) -> None:
    asked = await orchestrator.execute(abc().compile(interrupt_before=["b"]), timeout=SOON)
    version = (await orchestrator.status(asked.run_id)).version
    results = await asyncio.gather(
        *(orchestrator.update_state(asked.run_id, {"by": n}, expected_version=version) for n in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 9
    assert len(await payloads(store, asked.run_id, StateUpdated)) == 1
    winner = next(n for n, result in enumerate(results) if isinstance(result, int))
    assert (await orchestrator.state_at(asked.run_id))["by"] == winner


async def test_without_a_version_every_change_is_applied_in_turn(orchestrator: Orchestrator) -> None:
    asked = await orchestrator.execute(abc().compile(interrupt_before=["b"]), timeout=SOON)
    await asyncio.gather(*(orchestrator.update_state(asked.run_id, {"trail": [n]}) for n in range(10)))
    await orchestrator.answer(asked.run_id)
    trail = (await orchestrator.wait(asked.run_id, timeout=SOON))["trail"]
    assert trail[0] == "a" and sorted(trail[1:11]) == list(range(10)) and trail[11:] == ["b", "c"]


async def test_a_change_while_nodes_run_is_seen_by_what_follows(orchestrator: Orchestrator, store: Store) -> None:
    gates = [Gate(f"g{n}") for n in range(5)]
    graph = Graph("g", state={"trail": operator.add, "seen": operator.add})
    graph.add_node("z", lambda state: {"seen": [state["title"]]})
    for gate in gates:
        graph.add_node(gate.__name__, gate).add_edge(START, gate.__name__).add_edge(gate.__name__, "z")
    run_id = await orchestrator.start(graph.set_finish_point("z"), {"title": "old"})
    for gate in gates:
        await gate.wait()
    await orchestrator.update_state(run_id, {"title": "new", "trail": ["out"]})
    for gate in gates:
        gate.open.set()
    result = await orchestrator.wait(run_id, timeout=SOON)
    assert result["seen"] == ["new"]
    assert sorted(result["trail"]) == ["g0", "g1", "g2", "g3", "g4", "out"]
    assert_sound(await store.events(run_id))


async def test_a_change_of_an_unknown_key_or_value_is_refused(orchestrator: Orchestrator) -> None:
    from typing import TypedDict

    class Declared(TypedDict, total=False):
        title: str

    graph = Graph("g", state=Declared).add_node("a", lambda state: {"title": "t"}).set_entry_point("a")
    result = await orchestrator.execute(graph.set_finish_point("a"), timeout=SOON)
    with pytest.raises(UnknownName, match="titel"):
        await orchestrator.update_state(result.run_id, {"titel": "x"})
    with pytest.raises(UsageError, match="no form in the log"):
        await orchestrator.update_state(result.run_id, {"title": object()})


async def test_a_change_after_the_end_changes_the_result(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(abc(), timeout=SOON)
    await orchestrator.update_state(result.run_id, {"trail": ["after"]})
    assert (await orchestrator.wait(result.run_id, timeout=SOON))["trail"] == ["a", "b", "c", "after"]


# -- fork --------------------------------------------------------------------------------------------------------------


async def test_a_fork_goes_its_own_way_from_any_event(orchestrator: Orchestrator, store: Store) -> None:
    result = await orchestrator.execute(abc(), timeout=SOON)
    for event, again in ((1, ["a", "b", "c"]), (2, ["b", "c"]), (3, ["c"])):
        fork_id = await orchestrator.fork(result.run_id, event, {"note": event})
        forked = await orchestrator.wait(fork_id, timeout=SOON)
        assert forked == {"trail": ["a", "b", "c"], "note": event}
        assert (await finished(store, fork_id))[event - 1 :] == again
        [said] = await payloads(store, fork_id, RunForked)
        assert (said.source, said.at) == (result.run_id, event)
    assert await orchestrator.state_at(result.run_id) == result


async def test_a_fork_with_changes_sees_them_where_it_goes_on(orchestrator: Orchestrator) -> None:
    async def double(state: State) -> dict[str, Any]:
        return {"n": state["n"] * 2}

    graph = chain(mark("a"), double)
    result = await orchestrator.execute(graph, {"n": 1}, timeout=SOON)
    fork_id = await orchestrator.fork(result.run_id, 2, {"n": 50}, options=RunOptions(run_id="fork"))
    assert fork_id == "fork"
    assert (await orchestrator.wait("fork", timeout=SOON))["n"] == 100
    assert (await orchestrator.status("fork")).labels.get("fork_of") in (None, result.run_id)


async def test_a_fork_of_a_run_that_is_done_is_done(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(abc(), timeout=SOON)
    fork_id = await orchestrator.fork(result.run_id, changes={"extra": 1})
    forked = await orchestrator.wait(fork_id, timeout=SOON)
    assert forked == {**result, "extra": 1}
    assert forked.status is RunStatus.DONE


async def test_a_fork_of_a_failed_run_tries_again(orchestrator: Orchestrator) -> None:
    async def picky(state: State) -> dict[str, Any]:
        if not state.get("good"):
            raise ValueError("not good")
        return {"trail": ["picky"]}

    with pytest.raises(RunFailed):
        await orchestrator.execute(chain(mark("a"), picky), options=RunOptions(run_id="r"), timeout=SOON)
    fork_id = await orchestrator.fork("r", changes={"good": True})
    assert (await orchestrator.wait(fork_id, timeout=SOON))["trail"] == ["a", "picky"]
    assert (await orchestrator.status("r")).status is RunStatus.ERROR


async def test_a_fork_does_not_repeat_the_recorded_effects_of_what_was_in_progress(
    orchestrator: Orchestrator, store: Store
) -> None:
    calls: list[str] = []

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        async def effect() -> str:
            calls.append(ctx.run_id)
            return f"recorded by {len(calls)}"

        recorded = await ctx.step("k", effect, effects="at_most_once")
        return {"trail": [recorded, interrupt("?")]}

    asked = await orchestrator.execute(chain(node), timeout=SOON)
    fork_id = await orchestrator.fork(asked.run_id)
    assert [q.value for q in (await orchestrator.wait(fork_id, timeout=SOON)).interrupts] == ["?"]
    await orchestrator.answer(fork_id, "yes")
    assert (await orchestrator.wait(fork_id, timeout=SOON))["trail"] == ["recorded by 1", "yes"]
    assert calls == [asked.run_id]
    assert len(await payloads(store, fork_id, StepRecorded)) == 1


async def test_a_fork_from_nowhere_is_not_found(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(abc(), timeout=SOON)
    for event in (0, 99):
        with pytest.raises(NotFound, match=f"no event {event}"):
            await orchestrator.fork(result.run_id, event)


# -- versions of graphs ------------------------------------------------------------------------------------------------


async def test_other_code_for_a_runs_graph_refuses_it(store: Store) -> None:
    async with Orchestrator(store, settings=QUICK) as old:
        asked = await old.execute(abc().compile(interrupt_before=["b"]), timeout=SOON)
        changed = Orchestrator(store, settings=QUICK)
        changed.add_graph(chain(*map(mark, "axyz")))
        with pytest.raises(Conflict, match="is pinned to 'g@") as caught:
            await changed.resume(asked.run_id)
        assert "migrate" in caught.value.hint
        with pytest.raises(Conflict):
            await changed.state_at(asked.run_id)
        await changed.worker.stop()
        unknown = Orchestrator(store, settings=QUICK)
        with pytest.raises(NotFound, match="not known here"):
            await unknown.resume(asked.run_id)
        await unknown.worker.stop()


async def test_a_run_moves_to_another_version_of_its_graph_where_its_past_fits(
    orchestrator: Orchestrator, store: Store
) -> None:
    asked = await orchestrator.execute(abc().compile(interrupt_before=["b"]), timeout=SOON)
    longer = chain(*map(mark, ("a", "b", "new", "c"))).compile(interrupt_before=["b"])
    row = await orchestrator.migrate(asked.run_id, longer)
    assert row.graph == longer.pin
    assert len(await payloads(store, asked.run_id, RunMigrated)) == 1
    await orchestrator.answer(asked.run_id)
    assert (await orchestrator.wait(asked.run_id, timeout=SOON))["trail"] == ["a", "b", "new", "c"]


@pytest.mark.parametrize("names", [("x", "b", "c"), ("a", "x", "b")])
async def test_a_run_does_not_move_to_a_graph_that_its_past_does_not_fit(
    orchestrator: Orchestrator, names: tuple[str, ...]
) -> None:
    asked = await orchestrator.execute(abc().compile(interrupt_before=["b"]), timeout=SOON)
    before = await orchestrator.status(asked.run_id)
    with pytest.raises(Conflict):
        await orchestrator.migrate(asked.run_id, chain(*map(mark, names)))
    assert await orchestrator.status(asked.run_id) == before


# -- retention ---------------------------------------------------------------------------------------------------------


async def export(store: Store, run_id: str) -> list[str]:
    return [line async for line in retention.export_run(store, run_id)]


async def test_a_finished_run_is_the_same_after_export_and_import(orchestrator: Orchestrator, store: Store) -> None:
    result = await orchestrator.execute(abc(), {"n": (1, b"x")}, timeout=SOON)
    lines = await export(store, result.run_id)
    other = MemoryStore()
    assert await retention.import_run(other, lines) == result.run_id
    assert await other.events(result.run_id) == await store.events(result.run_id)
    with pytest.raises(Conflict):
        await retention.import_run(other, lines)
    with pytest.raises(UsageError):
        await retention.import_run(other, ["{}"])


async def test_a_run_in_progress_goes_on_where_it_is_imported_and_repeats_no_effect(
    orchestrator: Orchestrator, store: Store
) -> None:
    calls: list[int] = []

    async def node(state: State, ctx: Any) -> dict[str, Any]:
        async def effect() -> int:
            calls.append(1)
            return len(calls)

        return {"trail": [await ctx.step("k", effect), interrupt("?")]}

    graph = chain(mark("a"), node)
    asked = await orchestrator.execute(graph, timeout=SOON)
    lines = await export(store, asked.run_id)
    async with Orchestrator(MemoryStore(), settings=QUICK) as elsewhere:
        elsewhere.add_graph(graph)
        await retention.import_run(elsewhere.store, lines)
        assert (await elsewhere.status(asked.run_id)).status is RunStatus.WAITING
        await elsewhere.answer(asked.run_id, "yes")
        assert (await elsewhere.wait(asked.run_id, timeout=SOON))["trail"] == ["a", 1, "yes"]
    assert calls == [1]


async def test_a_failed_run_can_be_retried_where_it_is_imported(orchestrator: Orchestrator, store: Store) -> None:
    broken = [True]

    async def node(state: State) -> dict[str, Any]:
        if broken:
            raise ValueError("broken")
        return {"trail": ["mended"]}

    graph = chain(mark("a"), node)
    with pytest.raises(RunFailed):
        await orchestrator.execute(graph, options=RunOptions(run_id="r"), timeout=SOON)
    async with Orchestrator(MemoryStore(), settings=QUICK) as elsewhere:
        elsewhere.add_graph(graph)
        await retention.import_run(elsewhere.store, await export(store, "r"))
        with pytest.raises(RunFailed, match="ValueError: broken"):
            await elsewhere.wait("r", timeout=SOON)
        broken.clear()
        await elsewhere.retry("r")
        assert (await elsewhere.wait("r", timeout=SOON))["trail"] == ["a", "mended"]


async def test_an_imported_run_is_still_paused_asleep_and_short_of_budget(
    orchestrator: Orchestrator, store: Store
) -> None:
    async def node(state: State, ctx: Any) -> None:
        await ctx.step("k", lambda: 1, reserve={"tokens": 2}, settle=lambda used: {"tokens": 3})
        await ctx.sleep(3600)

    run_id = await orchestrator.start(chain(node), options=RunOptions(budgets={"tokens": 10}, deadline_seconds=9000))
    await eventually(lambda: _sleeps(store, run_id))
    await orchestrator.pause(run_id)
    other = MemoryStore()
    await retention.import_run(other, await export(store, run_id), now=(await store.run(run_id)).created_at)
    [task], [budget], row = await other.tasks(run_id), await other.budgets(run_id), await other.run(run_id)
    assert (row.paused, row.status, task.state) == (True, RunStatus.WAITING, TaskState.WAITING)
    assert task.not_before is not None and task.not_before - row.created_at > 3500
    assert row.deadline is not None and row.deadline - row.created_at > 8900
    assert (budget.kind, budget.limit) == ("tokens", 7.0)


async def _sleeps(store: Store, run_id: str) -> bool:
    return [task.state for task in await store.tasks(run_id)] == [TaskState.WAITING]


async def test_pruning_removes_only_what_ended_long_ago(orchestrator: Orchestrator, store: Store) -> None:
    ids = [(await orchestrator.execute(abc(), timeout=SOON)).run_id for _ in range(3)]
    asked = await orchestrator.execute(abc().compile(interrupt_before=["b"]), timeout=SOON)
    now = (await store.run(ids[-1])).updated_at + 100
    assert await retention.prune(store, older_than_seconds=3600, now=now) == []
    assert sorted(await retention.prune(store, older_than_seconds=50, now=now, keep=1)) == sorted(ids[:2])
    assert {row.run_id for row in await store.runs()} == {ids[2], asked.run_id}


async def test_the_graph_of_a_run_is_in_its_log_for_readers_without_its_code(
    orchestrator: Orchestrator, store: Store
) -> None:
    import json

    graph = abc()
    graph.add_conditional_edge("c", lambda state: END, {"again": "a", "stop": END})
    result = await orchestrator.execute(graph, timeout=SOON)
    spec = json.loads(bytes((await store.events(result.run_id))[0].payload.spec))  # type: ignore[attr-defined]
    assert [node[0] for node in spec["nodes"]] == ["a", "b", "c"]
