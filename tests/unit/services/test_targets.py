"""Graphs by the names that users type."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from treadle.errors import NotFound, UnknownName, UsageError
from treadle.services.targets import load_all, load_graph

MODULE = """
from treadle import Graph, NodeRegistry
registry = NodeRegistry()
@registry.register("a")
def a(state): return {}
graph = Graph("g").add_node("a").set_entry_point("a").set_finish_point("a")
def make(): return graph
def broken(): raise ValueError("no")
number = 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "targets_module.py").write_text(MODULE)
    (tmp_path / "targets_broken.py").write_text("1 / 0")
    (tmp_path / "targets_needs.py").write_text("import not_installed_at_all")
    return tmp_path


@pytest.mark.parametrize(
    "target", ["targets_module:graph", "targets_module.py:graph", "targets_module", "targets_module:make"]
)
def test_a_graph_is_found_with_the_registry_of_its_module(folder: Path, target: str) -> None:
    graph, registry = load_graph(target, folder)
    assert graph.name == "g" and registry is not None and "a" in registry


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        ("nowhere:graph", NotFound, "no module 'nowhere'"),
        ("nowhere.sub:graph", NotFound, "no module"),
        ("nowhere.py:graph", NotFound, "no file"),
        ("targets_needs:graph", UsageError, "needs the module 'not_installed_at_all'"),
        ("targets_broken:graph", UsageError, "ZeroDivisionError"),
        ("targets_module:grahp", UnknownName, "no graph"),
        ("targets_module:number", UsageError, "is a int"),
        ("targets_module:broken", UsageError, "ValueError: no"),
        (":graph", UsageError, "names no module"),
    ],
)
def test_what_is_wrong_with_a_target_is_said(folder: Path, target: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load_graph(target, folder)


def test_a_worker_gets_all_graphs_of_a_module_and_its_nodes(folder: Path) -> None:
    graphs, registry = load_all(["targets_module"], folder)
    assert [graph.name for graph in graphs] == ["g"] and "a" in registry
    with pytest.raises(UsageError):
        load_all(["json"], folder)
