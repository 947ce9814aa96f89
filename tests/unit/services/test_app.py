"""The composition root: URLs of stores, and workers that lend their functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle import Graph, NodeRegistry, Orchestrator, State, Worker, open_store, run_sync
from treadle.app import store_file
from treadle.errors import ConfigError, UnknownName, UsageError
from treadle.stores.memory import MemoryStore


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///runs.db", "runs.db"),
        ("sqlite:////var/runs.db", "/var/runs.db"),
        ("sqlite:runs.db", "runs.db"),
        ("runs.db", "runs.db"),
        ("/var/runs.db", "/var/runs.db"),
    ],
)
def test_the_file_of_a_store_url(url: str, path: str) -> None:
    assert store_file(url) == Path(path)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:", "redis://h"])
def test_a_url_without_a_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_store(url)


def test_memory_is_the_default() -> None:
    assert isinstance(open_store(), MemoryStore) and isinstance(open_store("memory:"), MemoryStore)


def two_step_graph() -> Graph:
    graph = Graph("research")
    graph.add_node("researcher").add_node("writer")
    return graph.set_entry_point("researcher").add_edge("researcher", "writer").set_finish_point("writer")


async def researcher(state: State) -> dict[str, object]:
    return {"findings": [f"about {state.get('query')}"]}


def writer(state: State) -> dict[str, object]:
    return {"report": f"{len(state['findings'])} findings"}


async def test_a_registry_gives_the_functions_of_nodes_that_name_only_a_type() -> None:
    registry = NodeRegistry()
    registry.register("researcher", researcher)
    registry.register("writer", writer)
    async with Orchestrator(registry=registry) as orchestrator:
        result = await orchestrator.execute(two_step_graph(), initial_state={"query": "AI"})
    assert result["report"] == "1 findings"


async def test_a_started_worker_lends_its_functions_to_orchestrators_on_its_store() -> None:
    store = open_store()
    worker = Worker(node_types={"researcher", "writer"}, capacity=4, store=store)
    worker.register_node("researcher", researcher)
    worker.register_node("writer", writer)
    async with Orchestrator(store=store) as orchestrator:
        with pytest.raises(UnknownName):
            await orchestrator.execute(two_step_graph(), {"query": "AI"})
        async with worker:
            result = await orchestrator.execute(two_step_graph(), {"query": "AI"})
    assert result["report"] == "1 findings"


async def test_a_worker_with_the_graph_takes_up_what_another_left_in_a_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    graph = Graph("one").add_node("writer", writer).set_entry_point("writer").set_finish_point("writer")
    from treadle.engine.results import WorkerSettings

    idle = WorkerSettings(capacity=0, serve=False, heartbeat=False)
    async with Orchestrator(store=url, settings=idle) as orchestrator:
        run_id = await orchestrator.start(graph, {"findings": [1, 2]})
        worker = Worker(store=url)
        worker.add_graph(graph)
        async with worker:
            assert (await orchestrator.wait(run_id, timeout=20))["report"] == "2 findings"


async def test_a_worker_without_its_functions_does_not_start() -> None:
    worker = Worker(node_types={"researcher", "writer"})
    worker.register_node("writer", writer)
    with pytest.raises(UsageError, match="'researcher'"):
        await worker.start()
    with pytest.raises(UnknownName):
        worker.register_node("resercher", researcher)


def test_run_sync_runs_one_coroutine() -> None:
    async def answer() -> int:
        return 42

    assert run_sync(answer()) == 42
