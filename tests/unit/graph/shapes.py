"""Short ways to write graphs whose nodes say where the state has been."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from treadle.domain.state import State
from treadle.graph.build import Graph
from treadle.graph.spec import END, START

TRAIL = {"trail": operator.add}


def mark(name: str, **more: Any) -> Callable[[State], dict[str, Any]]:
    """A node that leaves its name in `trail`."""

    def node(state: State) -> dict[str, Any]:
        return {"trail": [name], **more}

    return node


def graph_of(text: str, *, nodes: str = "", name: str = "g", state: Any = None, **settings: Any) -> Graph:
    """Build from edges such as "a-b a-c b,c=d d-END"; `=` from a list of sources. START leads to the first node.

    Nodes are declared in order of `nodes`, else of appearance; those that the caller adds itself are left out of both.
    """
    graph = Graph(name, state=state or TRAIL, **settings)
    pairs: list[tuple[str | list[str], str]] = []
    for word in text.split():
        barred = "=" in word
        sources, target = word.split("=" if barred else "-")
        pairs.append((sources.split(",") if barred else sources, target))
    seen = [
        name for sources, target in pairs for name in (*([sources] if isinstance(sources, str) else sources), target)
    ]
    for node in nodes.split() or dict.fromkeys(seen):
        if node not in ("START", "END"):
            graph.add_node(node, mark(node))
    ends = {"START": START, "END": END}
    for sources, target in pairs:
        graph.add_edge(
            [ends.get(s, s) for s in sources] if isinstance(sources, list) else ends.get(sources, sources),
            ends.get(target, target),
        )
    if "START" not in seen:
        graph.set_entry_point(nodes.split()[0] if nodes else seen[0])
    return graph


def visits(state: State, name: str) -> int:
    """How often a node has been passed, by the trail that the state shows."""
    return list(state["trail"]).count(name)
