"""A graph may be made again with other code, as in a notebook: what was given last is what runs."""

from __future__ import annotations

import asyncio
from typing import Any

from flows import QUICK, SOON, chain

from treadle.domain.state import State
from treadle.engine import cache
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import WorkerSettings
from treadle.engine.signals import interrupt
from treadle.graph.build import Graph
from treadle.graph.spec import Send
from treadle.ports.store import Store


def saying(word: str, **settings: Any) -> Graph:
    async def node(state: State) -> dict[str, Any]:
        return {"said": word}

    return Graph("g").add_node("node", node, **settings).set_entry_point("node").set_finish_point("node")


async def test_a_graph_of_the_same_shape_runs_its_own_code(orchestrator: Orchestrator) -> None:
    words = [str(number) for number in range(8)]
    results = [await orchestrator.execute(saying(word), timeout=SOON) for word in words]
    assert [result["said"] for result in results] == words


async def test_a_run_that_waited_goes_on_with_the_code_given_last(orchestrator: Orchestrator) -> None:
    def asking(word: str) -> Graph:
        async def node(state: State) -> dict[str, Any]:
            return {"trail": [f"{interrupt('?')} {word}"]}

        return chain(node)

    for word in ("old", "new"):
        waiting = await orchestrator.execute(asking(word), timeout=SOON)
        await orchestrator.answer(waiting.run_id, "the answer is")
        result = await orchestrator.wait(waiting.run_id, timeout=SOON)
        assert result["trail"] == [f"the answer is {word}"]


async def test_a_function_registered_again_takes_the_place_of_the_old_one(store: Store) -> None:
    registry = NodeRegistry()
    graph = Graph("g").add_node("node").set_entry_point("node").set_finish_point("node")
    async with Orchestrator(store, registry, settings=QUICK) as orchestrator:
        for word in ("old", "new"):
            registry.register("node", lambda state, word=word: {"said": word})
            assert (await orchestrator.execute(graph, timeout=SOON))["said"] == word


async def test_a_result_of_other_code_is_not_reused(orchestrator: Orchestrator) -> None:
    results = [await orchestrator.execute(saying(word, cache=True), timeout=SOON) for word in ("old", "new")]
    assert [result["said"] for result in results] == ["old", "new"]


async def test_results_are_kept_apart_by_what_a_send_carries(store: Store) -> None:
    calls: list[int] = []

    async def node(number: int) -> dict[str, Any]:
        calls.append(number)
        return {"trail": [number * 10]}

    async def plan(state: State) -> None:
        return None

    graph = chain(plan)
    graph.add_node("node", node, cache=True).set_finish_point("node")
    graph.add_conditional_edge("plan", lambda state: [Send("node", number) for number in (1, 2, 1)], ["node"])
    async with Orchestrator(store, settings=WorkerSettings(capacity=1, poll_seconds=0.02)) as orchestrator:
        result = await orchestrator.execute(graph, timeout=SOON)
    assert result["trail"] == [10, 20, 10]
    assert calls == [1, 2]


async def test_a_cache_forgets_the_oldest_result_when_it_holds_too_many(
    orchestrator: Orchestrator, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cache, "MOST", 2)
    calls: list[int] = []

    async def node(state: State) -> None:
        calls.append(state["n"])

    graph = Graph("g").add_node("node", node, cache=True).set_entry_point("node").set_finish_point("node")
    for number in (1, 2, 3, 3, 2, 1):
        await asyncio.wait_for(orchestrator.execute(graph, {"n": number}), SOON)
    assert calls == [1, 2, 3, 1]
