"""What earlier releases wrote is rebuilt to the same states, pinned to the same graphs, and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import GRAPHS, HERE, moments, read_events

from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.engine.retention import import_run
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore

HISTORIES = sorted(path for path in HERE.glob("*/*.jsonl") if ".moments." not in path.name)


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_are_histories_of_every_graph() -> None:
    assert {path.stem for path in HISTORIES} == set(GRAPHS)


@pytest.mark.parametrize("path", HISTORIES, ids=named)
def test_a_recorded_history_rebuilds_to_the_same_state_at_every_event(path: Path) -> None:
    graph = GRAPHS[path.stem]()
    events = read_events(path.read_text().splitlines()[1:], path.stem)
    told = [json.loads(line) for line in path.with_suffix(".moments.jsonl").read_text().splitlines()]
    assert list(moments(graph, events)) == told


@pytest.mark.parametrize("path", HISTORIES, ids=named)
def test_a_graph_that_has_not_changed_keeps_its_pin(path: Path) -> None:
    header = json.loads(path.read_text().splitlines()[0])
    assert header["run"]["graph"] == GRAPHS[path.stem]().pin


@pytest.mark.parametrize("path", [path for path in HISTORIES if path.stem == "waiting"], ids=named)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_run_that_waited_in_an_earlier_release_goes_on_in_this_one(
    path: Path, kind: str, tmp_path: Path
) -> None:
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "r.db")
    async with Orchestrator(store, settings=WorkerSettings(poll_seconds=0.01)) as orchestrator:
        orchestrator.add_graph(GRAPHS["waiting"]())
        await import_run(store, path.read_text().splitlines())
        await orchestrator.answer("waiting", "yes")
        result = await orchestrator.wait("waiting", timeout=10)
        assert result["trail"] == ["a", "recorded long ago", "yes", "z"]
