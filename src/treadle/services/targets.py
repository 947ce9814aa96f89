"""Finding what a user wants to run by its name: `pkg.module:graph`, `path/to/file.py:graph`, or a plan file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from treadle.engine.orchestrator import AnyGraph
from treadle.engine.registry import NodeRegistry
from treadle.errors import NotFound, UnknownName, UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import CompiledGraph


def is_plan(target: str) -> bool:
    """Tell whether a target is named like a plan file, and not like a graph."""
    return target.endswith((".yaml", ".yml"))


def load_graph(target: str, folder: Path) -> tuple[AnyGraph, NodeRegistry | None]:
    """Import the module and return the graph, with the module's registry of nodes if it has exactly one.

    Runs the module's code. Without `:name` the module must hold exactly one graph.

    Raises:
        NotFound: There is no such module or file.
        UnknownName: The module has no such graph.
        UsageError: The module cannot be imported, or what it names is no graph.
    """
    place, _, name = target.partition(":")
    if not place:
        raise UsageError(f"{target!r} names no module.", hint="Write pkg.module:graph or file.py:graph.")
    module = load_module(place, folder)
    return _graph_in(module, name, place), _registry_in(module)


def load_module(place: str, folder: Path) -> ModuleType:
    """Import a module by name or file; `folder` is searched first. Raises as `load_graph`."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return _from_file(folder / place) if place.endswith(".py") else importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            hint = f"Names are looked up in {folder} and in what is installed; or give the path of a .py file."
            raise NotFound(f"There is no module {place!r}.", hint=hint) from error
        raise UsageError(f"{place!r} needs the module {error.name!r}, which is not installed.") from error
    except (NotFound, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever a user's module raises while it is imported
        raise UsageError(f"{place!r} cannot be imported: {type(error).__name__}: {error}.") from error


def graphs_in(module: ModuleType) -> dict[str, AnyGraph]:
    """Graphs that a module has under public names."""
    return {name: value for name, value in vars(module).items() if _is_graph(value) and not name.startswith("_")}


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFound(f"There is no file {str(path)!r}.", hint="Write pkg.module:graph or file.py:graph.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def _graph_in(module: ModuleType, name: str, place: str) -> AnyGraph:
    known = graphs_in(module)
    if not name:
        if len(known) != 1:
            names = ", ".join(f"{place}:{known_name}" for known_name in known) or "it has none"
            raise UsageError(f"{place!r} holds {len(known)} graphs; name one.", hint=f"Graphs there: {names}.")
        return next(iter(known.values()))
    found: Any = getattr(module, name, None)
    if found is None:
        raise UnknownName("graph", f"{place}:{name}", [f"{place}:{graph}" for graph in known])
    if callable(found) and not _is_graph(found):
        found = _made_by(found, f"{place}:{name}")
    if not _is_graph(found):
        raise UsageError(f"{place}:{name} is a {type(found).__name__}, and a Graph was expected.")
    return found  # type: ignore[no-any-return]


def _made_by(factory: Callable[[], Any], target: str) -> Any:
    try:
        return factory()
    except Exception as error:  # whatever a user's function raises
        raise UsageError(f"{target} did not make a graph: {type(error).__name__}: {error}.") from error


def _registry_in(module: ModuleType) -> NodeRegistry | None:
    found = {id(value): value for value in vars(module).values() if isinstance(value, NodeRegistry)}
    return next(iter(found.values())) if len(found) == 1 else None


def _is_graph(value: Any) -> bool:
    return isinstance(value, Graph | CompiledGraph)


def load_all(places: Sequence[str], folder: Path) -> tuple[list[AnyGraph], NodeRegistry]:
    """Load the graphs of several modules, each whole or by name, and one registry of all their nodes.

    Raises as `load_graph`; UsageError for modules with neither.
    """
    graphs: list[AnyGraph] = []
    registry = NodeRegistry()
    for place in places:
        module = load_module(place.partition(":")[0], folder)
        graphs += [_graph_in(module, place.partition(":")[2], place)] if ":" in place else graphs_in(module).values()
        own = _registry_in(module)
        for node_type in own or ():
            registry.register(node_type, own.find(node_type) if own else None)
    if not graphs and not list(registry):
        raise UsageError(f"{', '.join(places)} holds no graph and no node registry; the worker was not started.")
    return graphs, registry
