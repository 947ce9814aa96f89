"""Graphs run to their end: order, routes, loops, fan-outs, subgraphs, kinds of nodes, caching, streaming."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import operator
import threading
import time
from typing import Annotated, Any, TypedDict

import pytest
from flows import SOON, Gate, assert_sound, chain, finished, mark, payloads

from treadle.domain.events import NodeFailed, RunFinished
from treadle.domain.state import State
from treadle.domain.task import RunStatus
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import RunOptions
from treadle.errors import Conflict, NotFound, RunFailed, UnknownName, UsageError
from treadle.graph.build import Graph
from treadle.graph.marks import inline
from treadle.graph.spec import END, START, CachePolicy, Command, Send
from treadle.ports.store import Store


async def test_a_chain_runs_and_its_last_state_is_the_result(orchestrator: Orchestrator, store: Store) -> None:
    result = await orchestrator.execute(chain(mark("a"), mark("b")), {"trail": ["s"]}, timeout=SOON)
    assert result == {"trail": ["s", "a", "b"]}
    assert (result.status, result.interrupts) == (RunStatus.DONE, ())
    assert await finished(store, result.run_id) == ["a", "b"]
    assert_sound(await store.events(result.run_id))
    assert await store.tasks(result.run_id) == []


async def test_start_returns_at_once_and_the_run_can_be_waited_for(orchestrator: Orchestrator) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(gate))
    assert (await orchestrator.status(run_id)).status is RunStatus.RUNNING
    gate.open.set()
    assert await orchestrator.wait(run_id, timeout=SOON) == {"trail": ["gate"]}


async def test_waiting_may_end_while_the_run_goes_on(orchestrator: Orchestrator) -> None:
    gate = Gate()
    run_id = await orchestrator.start(chain(gate))
    with pytest.raises(TimeoutError):
        await orchestrator.wait(run_id, timeout=0.05)
    gate.open.set()
    assert (await orchestrator.wait(run_id, timeout=SOON)).status is RunStatus.DONE


async def test_what_follows_a_fast_branch_does_not_wait_for_a_slow_one(orchestrator: Orchestrator) -> None:
    started: dict[str, float] = {}

    def timed(name: str, seconds: float) -> Any:
        async def node(state: Any) -> dict[str, Any]:
            started[name] = time.perf_counter()
            await asyncio.sleep(seconds)
            return {"trail": [name]}

        return node

    graph = Graph("g", state={"trail": operator.add})
    graph.add_node("fast", timed("fast", 0.1)).add_node("slow", timed("slow", 1.0)).add_node("after", timed("after", 0))
    graph.add_edge(START, "fast").add_edge(START, "slow").add_edge("fast", "after")
    graph.set_finish_point("after").set_finish_point("slow")
    began = time.perf_counter()
    result = await orchestrator.execute(graph, timeout=SOON)
    assert 0.1 <= started["after"] - began < 0.3
    assert started["slow"] - began < 0.1
    assert result["trail"] == ["slow", "fast", "after"]  # where branches meet, the order of declaration rules


async def test_conditions_loops_and_exits(orchestrator: Orchestrator, store: Store) -> None:
    async def draft(state: State) -> dict[str, Any]:
        return {"drafts": state.get("drafts", 0) + 1}

    def review(state: State) -> str:
        return "good" if state["drafts"] == 3 else "again"

    graph = Graph("g").add_node("draft", draft).add_node("print", lambda state: {"printed": True})
    graph.set_entry_point("draft").add_conditional_edge("draft", review, {"again": "draft", "good": "print"})
    result = await orchestrator.execute(graph.set_finish_point("print"), timeout=SOON)
    assert result == {"drafts": 3, "printed": True}
    assert await finished(store, result.run_id) == ["draft", "draft#2", "draft#3", "print"]


async def test_conditions_may_be_async_and_take_the_context(orchestrator: Orchestrator) -> None:
    async def choose(state: State, ctx: Any) -> str:
        await asyncio.sleep(0)
        return "b" if ctx.run_id else "a"

    graph = Graph("g", state={"trail": operator.add})
    for name in "abc":
        graph.add_node(name, mark(name))
    graph.add_edge(START, "a").add_conditional_edge("a", choose, ["b", "c"])
    graph.set_finish_point("b").set_finish_point("c")
    assert (await orchestrator.execute(graph, timeout=SOON))["trail"] == ["a", "b"]


async def test_a_start_that_is_a_condition(orchestrator: Orchestrator) -> None:
    graph = Graph("g", state={"trail": operator.add}).add_node("a", mark("a")).add_node("b", mark("b"))
    graph.set_conditional_entry_point(lambda state: state["go"], ["a", "b"]).set_finish_point("a")
    assert await orchestrator.execute(graph.set_finish_point("b"), {"go": "b"}, timeout=SOON) == {
        "go": "b",
        "trail": ["b"],
    }


async def test_a_wide_fan_out_collects_in_order(orchestrator: Orchestrator, store: Store) -> None:
    async def work(state: State) -> dict[str, Any]:
        await asyncio.sleep(0.001 * (state["n"] % 3))
        return {"got": [state["n"]]}

    graph = Graph("g", state={"got": operator.add}).add_node("work", work)
    graph.add_node("sum", lambda state: {"total": sum(state["got"])})
    graph.set_conditional_entry_point(lambda state: [Send("work", {"n": n}) for n in range(150)], ["work"])
    graph.add_edge("work", "sum").set_finish_point("sum")
    result = await orchestrator.execute(graph, timeout=SOON)
    assert result["got"] == list(range(150))
    assert result["total"] == sum(range(150))
    assert_sound(await store.events(result.run_id))


async def test_an_empty_fan_out_goes_on(orchestrator: Orchestrator) -> None:
    graph = Graph("g", state={"trail": operator.add}).add_node("w", mark("w")).add_node("z", mark("z"))
    graph.set_conditional_entry_point(lambda state: [], ["w"]).add_edge("w", "z").set_finish_point("z")
    assert await orchestrator.execute(graph, timeout=SOON) == {"trail": ["z"]}


class Inner(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    private: int


async def test_a_subgraph_runs_as_one_node(orchestrator: Orchestrator, store: Store) -> None:
    inner = Graph("inner", state=Inner)
    inner.add_node("x", lambda state: {"notes": ["x"], "private": 1})
    inner.add_node("y", lambda state: {"notes": [f"y{state['private']}"]})
    inner.set_entry_point("x").add_edge("x", "y").set_finish_point("y")
    outer = Graph("outer", state={"notes": operator.add, "private": None, "n": None})
    outer.add_node("a", lambda state: {"notes": ["a"]}).add_node("sub", inner)
    outer.add_node("z", lambda state: {"notes": ["z"]}).add_node("never", lambda state: {"notes": ["never"]})
    outer.set_entry_point("a").add_edge("a", "sub")
    outer.add_conditional_edge("sub", lambda state: "z" if "y1" in state["notes"] else "never", ["z", "never"])
    result = await orchestrator.execute(outer.set_finish_point("z").set_finish_point("never"), timeout=SOON)
    assert result["notes"] == ["a", "x", "y1", "z"]
    assert await finished(store, result.run_id) == ["a", "sub/x", "sub/y", "sub", "z"]


async def test_a_command_updates_and_goes(orchestrator: Orchestrator) -> None:
    async def jump(state: State) -> Command[Any]:
        return Command({"trail": ["jump"]}, goto=["c", Send("d", {"x": 1})])

    graph = Graph("g", state={"trail": operator.add}).add_node("jump", jump, destinations=["c", "d"])
    graph.add_node("c", mark("c")).add_node("d", lambda state: {"trail": [f"d{state['x']}"]})
    graph.set_entry_point("jump").set_finish_point("c").set_finish_point("d")
    assert (await orchestrator.execute(graph, timeout=SOON))["trail"] == ["jump", "c", "d1"]


@pytest.mark.parametrize("timeout", [None, 5.0], ids=["thread", "child process"])
async def test_a_sync_node_runs_beside_the_event_loop(orchestrator: Orchestrator, timeout: float | None) -> None:
    here = threading.get_ident()

    def work(state: State) -> dict[str, Any]:
        return {"trail": ["w"], "apart": threading.get_ident() != here or timeout is not None, "sum": sum(state["in"])}

    result = await orchestrator.execute(chain(work, timeout=timeout), {"in": [1, 2]}, timeout=SOON)
    assert result == {"in": [1, 2], "trail": ["w"], "apart": True, "sum": 3}


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial], ids=["function", "partial"])
async def test_an_inline_node_runs_on_the_event_loop_and_its_failure_is_that_of_any_node(
    orchestrator: Orchestrator, wrap: Any
) -> None:
    def work(state: State) -> dict[str, Any]:
        return {"thread": threading.get_ident(), "share": 1 / state["n"]}

    graph = Graph("g").add_node("work", inline(wrap(work))).set_entry_point("work").set_finish_point("work")
    assert await orchestrator.execute(graph, {"n": 4}, timeout=SOON) == {
        "n": 4, "thread": threading.get_ident(), "share": 0.25,
    }  # fmt: skip
    with pytest.raises(RunFailed, match="ZeroDivisionError"):
        await orchestrator.execute(graph, {"n": 0}, timeout=SOON)


def test_what_waits_cannot_be_inline() -> None:
    async def waits(state: State) -> None: ...

    def asks(state: State, ctx: Any) -> None: ...

    for function, what in ((waits, "async"), (asks, "ctx"), ([].append, "cannot be marked")):
        with pytest.raises(UsageError, match=what):
            inline(function)


async def test_a_sync_node_uses_the_context_from_its_thread(orchestrator: Orchestrator) -> None:
    def work(state: State, ctx: Any) -> dict[str, Any]:
        ctx.log("hello", n=1)
        blob = ctx.blobs
        value = ctx.step("k", lambda: 5)
        return {"value": value, "attempt": ctx.attempt, "blob": type(blob).__name__}

    result = await orchestrator.execute(chain(work), timeout=SOON)
    assert (result["value"], result["attempt"]) == (5, 1)


async def test_the_context_tells_who_and_where_a_node_is(orchestrator: Orchestrator) -> None:
    seen: dict[str, Any] = {}

    async def work(state: State, ctx: Any) -> None:
        seen.update(run=ctx.run_id, activation=ctx.activation, attempt=ctx.attempt, key=ctx.idempotency_key)
        seen["workflow"] = state.workflow_id
        digest = await ctx.blobs.put(b"data")
        seen["blob"] = await ctx.blobs.get(digest)
        await ctx.heartbeat()

    result = await orchestrator.execute(chain(work), timeout=SOON)
    assert (seen["run"], seen["activation"], seen["attempt"]) == (result.run_id, "work", 1)
    assert seen["workflow"] == result.run_id
    assert seen["blob"] == b"data"
    assert len(seen["key"]) == 32


async def test_a_declared_class_is_what_nodes_see_and_may_return(orchestrator: Orchestrator) -> None:
    @dataclasses.dataclass
    class Data:
        n: int = 0
        notes: Annotated[list[str], operator.add] = dataclasses.field(default_factory=list)

    async def step(state: Data) -> dict[str, Any]:
        assert isinstance(state, Data)
        return {"n": state.n + 1, "notes": ["x"]}

    graph = Graph("g", state=Data).add_node("a", step).add_node("b", step).set_entry_point("a")
    assert await orchestrator.execute(graph.add_edge("a", "b").set_finish_point("b"), Data(n=5), timeout=SOON) == {
        "n": 7,
        "notes": ["x", "x"],
    }


async def test_functions_may_come_from_a_registry_by_node_type(store: Store) -> None:
    registry = NodeRegistry()

    @registry.register("writer")
    async def write(state: State) -> dict[str, Any]:
        return {"text": "t"}

    graph = Graph("g").add_node("first", None, "writer").set_entry_point("first").set_finish_point("first")
    async with Orchestrator(store, registry) as orchestrator:
        assert await orchestrator.execute(graph, timeout=SOON) == {"text": "t"}
        bad = Graph("h").add_node("first", None, "writre").set_entry_point("first").set_finish_point("first")
        with pytest.raises(UnknownName, match="'writre'") as caught:
            await orchestrator.execute(bad)
        assert "writer" in caught.value.hint


async def test_what_a_node_returns_is_checked(orchestrator: Orchestrator, store: Store) -> None:
    async def wrong(state: State) -> Any:
        return "text"

    with pytest.raises(RunFailed, match="a mapping was expected"):
        await orchestrator.execute(chain(wrong), timeout=SOON)


async def test_a_route_to_nowhere_fails_and_names_what_there_is(orchestrator: Orchestrator) -> None:
    graph = Graph("g", state={"trail": operator.add}).add_node("a", mark("a")).add_node("b", mark("b"))
    graph.set_entry_point("a").set_finish_point("b").add_conditional_edge("a", lambda state: "bb", {"x": "b"})
    with pytest.raises(RunFailed, match="'bb'"):
        await orchestrator.execute(graph, timeout=SOON)


async def test_a_condition_that_returns_nothing_fails_with_a_hint(orchestrator: Orchestrator, store: Store) -> None:
    graph = Graph("g").add_node("a", mark("a")).set_entry_point("a")
    graph.add_conditional_edge("a", lambda state: None, {"x": END})
    with pytest.raises(RunFailed, match="returned None"):
        await orchestrator.execute(graph, options=RunOptions(run_id="r"), timeout=SOON)
    assert len(await payloads(store, "r", NodeFailed)) == 1


async def test_a_command_to_an_undeclared_place_fails(orchestrator: Orchestrator) -> None:
    async def jump(state: State) -> Command[Any]:
        return Command(goto="c")

    graph = Graph("g").add_node("a", jump).add_node("b", mark("b")).add_node("c", mark("c")).set_entry_point("a")
    graph.add_edge("a", "b").add_edge("b", "c").set_finish_point("c")
    with pytest.raises(RunFailed, match="did not declare"):
        await orchestrator.execute(graph, timeout=SOON)


async def test_a_run_id_may_be_chosen_and_is_taken_once(orchestrator: Orchestrator) -> None:
    graph = chain(mark("a"))
    assert (await orchestrator.execute(graph, options=RunOptions(run_id="mine"), timeout=SOON)).run_id == "mine"
    with pytest.raises(Conflict, match="'mine' exists already"):
        await orchestrator.start(graph, options=RunOptions(run_id="mine"))
    assert (await orchestrator.status("mine")).status is RunStatus.DONE


async def test_runs_are_listed_newest_first(orchestrator: Orchestrator) -> None:
    for name in ("r1", "r2"):
        options = RunOptions(run_id=name, labels={"goal": name}, tenant="t", project="p")
        await orchestrator.execute(chain(mark("a")), options=options, timeout=SOON)
    rows = await orchestrator.list()
    assert [row.run_id for row in rows] == ["r2", "r1"]
    assert (rows[0].labels, rows[0].tenant, rows[0].project) == ({"goal": "r2"}, "t", "p")
    assert await orchestrator.list_workflows() == rows
    assert await orchestrator.get_workflow_status("r1") == rows[1]
    with pytest.raises(NotFound):
        await orchestrator.status("r3")


async def test_a_large_result_is_rebuilt_from_the_log(orchestrator: Orchestrator, store: Store) -> None:
    async def big(state: State) -> dict[str, Any]:
        return {"text": "x" * 50_000}

    result = await orchestrator.execute(chain(big), timeout=SOON)
    assert len(result["text"]) == 50_000
    [ended] = await payloads(store, result.run_id, RunFinished)
    assert bytes(ended.result) == b"null"
    assert len((await orchestrator.wait(result.run_id, timeout=SOON))["text"]) == 50_000


async def test_many_runs_at_once(orchestrator: Orchestrator) -> None:
    graph = chain(mark("a"), mark("b"), mark("c"))
    results = await asyncio.gather(*(orchestrator.execute(graph, {"n": n}, timeout=SOON) for n in range(40)))
    assert [result["n"] for result in results] == list(range(40))
    assert all(result["trail"] == ["a", "b", "c"] for result in results)


async def test_a_run_that_goes_quiet_before_a_join_is_an_error_that_names_it(orchestrator: Orchestrator) -> None:
    graph = Graph("g", state={"trail": operator.add})
    for name in "abcxd":
        graph.add_node(name, mark(name))
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "x").add_edge(["b", "c"], "d").set_finish_point("d")
    graph.add_conditional_edge("x", lambda state: END, ["c", END])
    with pytest.raises(RunFailed, match="Nothing is left to run, but 'd' waits for 'c', which did not come"):
        await orchestrator.execute(graph, timeout=SOON)


# -- cache -------------------------------------------------------------------------------------------------------------


async def test_a_cached_node_runs_once_for_the_same_input(orchestrator: Orchestrator, store: Store) -> None:
    calls: list[int] = []

    async def slow(state: State) -> dict[str, Any]:
        calls.append(state["n"])
        return {"double": state["n"] * 2}

    graph = Graph("g").add_node("slow", slow, cache=True).set_entry_point("slow").set_finish_point("slow")
    results = [await orchestrator.execute(graph, {"n": n}, timeout=SOON) for n in (1, 1, 2, 1)]
    assert [result["double"] for result in results] == [2, 2, 4, 2]
    assert calls == [1, 2]
    assert [e.payload.cached for e in await store.events(results[1].run_id) if e.type == "NodeFinished"] == [True]


async def test_a_cache_may_look_at_part_of_the_state(orchestrator: Orchestrator) -> None:
    calls: list[int] = []

    async def slow(state: State) -> dict[str, Any]:
        calls.append(state["n"])
        return {"double": state["n"] * 2}

    policy = CachePolicy(key=lambda state: state["n"])
    graph = Graph("g").add_node("slow", slow, cache=policy).set_entry_point("slow").set_finish_point("slow")
    for noise in range(3):
        await orchestrator.execute(graph, {"n": 1, "noise": noise}, timeout=SOON)
    assert calls == [1]


async def test_what_was_cached_too_long_ago_is_made_again(orchestrator: Orchestrator) -> None:
    calls: list[int] = []

    async def slow(state: State) -> None:
        calls.append(1)

    policy = CachePolicy(ttl_seconds=0.0)
    graph = Graph("g").add_node("slow", slow, cache=policy).set_entry_point("slow").set_finish_point("slow")
    for _ in range(2):
        await orchestrator.execute(graph, timeout=SOON)
    assert len(calls) == 2


# -- streaming ---------------------------------------------------------------------------------------------------------


async def collect(stream: Any) -> list[Any]:
    async with asyncio.timeout(SOON):
        return [item async for item in stream]


async def test_updates_are_streamed_node_by_node(orchestrator: Orchestrator) -> None:
    items = await collect(orchestrator.stream(chain(mark("a"), mark("b"))))
    assert items == [{"a": {"trail": ["a"]}}, {"b": {"trail": ["b"]}}]


async def test_values_are_streamed_as_whole_states(orchestrator: Orchestrator) -> None:
    items = await collect(orchestrator.stream(chain(mark("a"), mark("b")), {"n": 1}, modes="values"))
    assert items == [{"n": 1}, {"n": 1, "trail": ["a"]}, {"n": 1, "trail": ["a", "b"]}]


async def test_events_are_streamed_as_they_are_logged(orchestrator: Orchestrator) -> None:
    items = await collect(orchestrator.stream(chain(mark("a")), modes="events"))
    assert [event.type for event in items] == ["RunStarted", "NodeFinished", "RunFinished"]


async def test_several_modes_are_told_apart(orchestrator: Orchestrator) -> None:
    async def talk(state: State, ctx: Any) -> dict[str, Any]:
        ctx.emit({"progress": 1})
        ctx.emit_token("to")
        ctx.emit_token("ken")
        return {"trail": ["talk"]}

    items = await collect(orchestrator.stream(chain(talk), modes=["updates", "custom", "tokens"]))
    assert sorted(items, key=str) == sorted(
        [("custom", {"progress": 1}), ("tokens", "to"), ("tokens", "ken"), ("updates", {"talk": {"trail": ["talk"]}})],
        key=str,
    )


async def test_what_a_node_emits_is_heard_before_it_is_done(orchestrator: Orchestrator) -> None:
    gate = Gate()

    async def talk(state: State, ctx: Any) -> Any:
        ctx.emit("hello")
        return await gate(state)

    stream = orchestrator.stream(chain(talk), modes="custom")
    assert await asyncio.wait_for(anext(stream), SOON) == "hello"
    assert not gate.left
    gate.open.set()
    assert await collect(stream) == []


async def test_an_unknown_mode_is_refused(orchestrator: Orchestrator) -> None:
    with pytest.raises(UsageError, match="'colours'"):
        await collect(orchestrator.stream(chain(mark("a")), modes="colours"))  # type: ignore[arg-type]


async def test_a_run_that_exists_can_be_followed_from_any_event(orchestrator: Orchestrator) -> None:
    result = await orchestrator.execute(chain(mark("a"), mark("b")), timeout=SOON)
    events = await collect(orchestrator.follow(result.run_id, after=2))
    assert [event.type for event in events] == ["NodeFinished", "RunFinished"]


async def test_a_stream_ends_when_the_run_fails(orchestrator: Orchestrator) -> None:
    async def broken(state: State) -> None:
        raise ValueError("no")

    items = await collect(orchestrator.stream(chain(broken), modes="events"))
    assert [event.type for event in items] == ["RunStarted", "NodeFailed", "RunErrored"]


async def test_of_a_key_that_a_subgraph_only_replaces_its_parent_gets_the_last_value(
    orchestrator: Orchestrator,
) -> None:
    class Draft(TypedDict, total=False):
        text: list[str]
        seen: Annotated[list[str], operator.add]

    inner = Graph("inner", state=Draft)
    inner.add_node("write", lambda state: {"text": [state["text"][0] + "!"], "seen": ["written"]})
    inner.add_edge(START, "write")
    inner.add_conditional_edge(
        "write", lambda state: END if state["text"][0].endswith("!!!") else "write", [END, "write"]
    )
    outer = Graph("outer", state={"text": operator.add, "seen": operator.add})
    outer.add_node("draft", inner)
    outer.set_conditional_entry_point(lambda state: [Send("draft", {"text": [t]}) for t in ("a", "b")], ["draft"])
    outer.add_edge("draft", END)
    result = await orchestrator.execute(outer, {"text": [], "seen": []})
    assert result["text"] == ["a!!!", "b!!!"] and result["seen"] == ["written"] * 6
