"""Where the nodes of builds go, and what becomes of one that fails on a machine that lacks something."""

from __future__ import annotations

import dataclasses
from typing import Any

from treadle.domain.task import WorkerState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.engine.worker import Worker
from treadle.errors import ConfigError, ModelUnavailable
from treadle.graph.build import Graph
from treadle.services.guests import model_queue, placed_graph, queue_of
from treadle.stores.memory import MemoryStore
from treadle.workflows import Crew

ANYWHERE = model_queue("ollama", "qwen")


async def nobody(run_id: str) -> Crew:
    raise AssertionError("no node is run")


def queues(graph: Graph, state: dict[str, Any]) -> dict[str, str]:
    """Where each node waits that is a function, those of subgraphs included."""
    nodes = {name: node for name, node in graph.compile().listed.items() if node.subgraph is None}
    return {name: node.queue(state, "r1") for name, node in nodes.items() if callable(node.queue)}


def test_only_what_touches_the_folder_of_the_build_stays_at_home() -> None:
    graph = placed_graph(nobody, shared=True)
    placed = queues(graph, {"queue": ANYWHERE})
    assert set(placed.values()) == {queue_of("r1"), ANYWHERE} and {"code/write", "change/fix"} <= set(placed)
    at_home = {name for name, queue in placed.items() if queue == queue_of("r1")}
    assert at_home == {"open", "merge", "commit", "give_up"}


def test_on_a_store_of_one_machine_all_is_at_home_and_nothing_waits_for_another() -> None:
    graph = placed_graph(nobody, shared=False)
    assert set(queues(graph, {"queue": ""}).values()) == {queue_of("r1")}
    assert {node.retry.max_attempts for node in graph.compile().listed.values()} == {1}


def test_a_task_that_climbed_waits_for_whoever_has_the_models_of_its_tier() -> None:
    placed = queues(placed_graph(nobody, shared=True), {"queue": ANYWHERE, "work_queue": "build:ollama/larger"})
    assert placed["code/write"] == "build:ollama/larger"


async def test_what_a_machine_without_its_model_cannot_do_another_does() -> None:
    """The first model server is gone; the worker says so, and whoever takes the task next has one."""
    retry = dataclasses.replace(
        placed_graph(nobody, shared=True).compile().listed["code/write"].retry, initial_seconds=0.01
    )
    assert retry.retries(ModelUnavailable("gone"), 5) and not retry.retries(ModelUnavailable("gone"), 6)
    assert not retry.retries(ConfigError("wrong"), 1)
    asked: list[str] = []

    async def work(state: Any, ctx: Any) -> dict[str, Any]:
        asked.append(ctx._worker.name)
        if ctx._worker.name == "bare":
            bare.state = WorkerState.DRAINING  # it takes nothing more; a test need not wait for chance
            raise ModelUnavailable("The server is gone.")
        return {"done": True}

    graph = Graph("g").add_node("write", work, queue=ANYWHERE, retry=retry)
    graph.set_entry_point("write").set_finish_point("write")
    store = MemoryStore()
    settings = WorkerSettings(queues=(ANYWHERE,), where="known", poll_seconds=0.02, sweep_seconds=0.02)
    bare, able = (Worker(store, settings=settings, name=name) for name in ("bare", "able"))
    async with Orchestrator(store, settings=WorkerSettings(queues=(), where="known", poll_seconds=0.02)) as home:
        for worker in (bare, able):
            worker.add_graph(graph.compile())
        await bare.start()
        run_id = await home.start(graph, options=RunOptions(run_id="r1"))
        seen = 0
        while not asked:
            seen = await store.wait(run_id, seen, 0.02)
        await able.start()
        assert (await home.wait(run_id, timeout=20))["done"] is True
        await able.stop()
        await bare.stop()
    assert asked == ["bare", "able"]
