"""From a graph under construction to a CompiledGraph: derive what planning needs. Problems are found by `validate`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.errors import GraphError
from treadle.graph import loops
from treadle.graph.spec import END, START, Branch, CompiledGraph, Hop, Node
from treadle.graph.validate import find_problems

if TYPE_CHECKING:
    from treadle.graph.build import Graph


@dataclass(slots=True)
class Shape:
    """The edges of a graph, in the forms that checking and planning ask for."""

    nodes: dict[str, Node]
    edges: dict[str, list[str]]
    branches: dict[str, list[Branch]]
    barriers: dict[str, list[frozenset[str]]]
    out: dict[str, list[str]]
    """Every edge that may be taken, conditional ones and Commands included."""


def compile_graph(graph: Graph, name: str, before: tuple[str, ...], after: tuple[str, ...]) -> CompiledGraph:
    """Raises GraphError with every problem found."""
    shape = _shape(graph)
    problems = [*graph.problems, *find_problems(shape, graph.edges, before + after)]
    if problems:
        raise GraphError(name, problems)
    into = loops.reversed_edges(shape.out)
    backs = loops.back_edges(START, shape.out)
    bodies = loops.loop_bodies(backs, into)
    rings = loops.loops_of(shape.nodes, bodies) | {START: (), END: ()}
    spec = _topology(graph, name, shape)
    listed: dict[str, Node] = {}
    for node in shape.nodes.values():
        listed[node.name] = node
        if node.subgraph:
            listed.update({f"{node.name}/{inner}": n for inner, n in node.subgraph.listed.items()})
    return CompiledGraph(
        name=name,
        description=graph.description,
        hash=hashlib.sha256(spec).hexdigest()[:12],
        nodes=shape.nodes,
        edges={source: tuple(targets) for source, targets in shape.edges.items()},
        branches={source: tuple(found) for source, found in shape.branches.items()},
        barriers={target: tuple(groups) for target, groups in shape.barriers.items()},
        joins=_joins(shape, into, backs),
        hops=_hops(shape, backs, bodies, rings),
        into=into,
        backs=frozenset(backs),
        bodies=bodies,
        loops=rings,
        schema=graph.schema,
        max_steps=graph.max_steps,
        interrupt_before=frozenset(before),
        interrupt_after=frozenset(after),
        spec=spec,
        listed=listed,
    )


def _shape(graph: Graph) -> Shape:
    nodes = dict(graph.nodes)
    edges: dict[str, list[str]] = {}
    barriers: dict[str, list[frozenset[str]]] = {}
    for sources, target in graph.edges:
        for source in sources:
            edges.setdefault(source, []).append(target)
        if len(sources) > 1:
            barriers.setdefault(target, []).append(frozenset(sources))
    branches: dict[str, list[Branch]] = {}
    for branch in graph.branches:
        branches.setdefault(branch.source, []).append(branch)
    if START in branches:  # choosing where to start is a step like any other
        nodes[START] = Node(START, _pass, START, index=-1)
    everywhere = [*graph.nodes, END]
    out: dict[str, list[str]] = {}
    for source in [START, *graph.nodes]:
        targets = list(edges.get(source, ()))
        for branch in branches.get(source, ()):
            targets += branch.targets.values() if branch.targets else everywhere
        if source in nodes:
            targets += nodes[source].destinations
        out[source] = list(dict.fromkeys(targets))
    return Shape(nodes, edges, branches, barriers, out)


async def _pass(state: Any) -> None:
    """The node behind START when a condition decides where to begin."""


def _joins(shape: Shape, into: dict[str, list[str]], backs: loops.EdgeSet) -> frozenset[str]:
    several = {
        node
        for node in shape.nodes
        if sum((source, node) not in backs for source in into.get(node, ())) > 1 or node in shape.barriers
    }
    return frozenset(several)


def _hops(
    shape: Shape, backs: loops.EdgeSet, bodies: dict[str, frozenset[str]], rings: dict[str, tuple[str, ...]]
) -> dict[tuple[str, str], Hop]:
    closing: dict[str, list[str]] = {}
    for source in shape.out:
        for target in shape.out[source]:
            if (source, target) in backs:
                closing.setdefault(target, []).append(source)
    hops = {}
    for source, targets in shape.out.items():
        at_source = rings[source]
        for target in targets:
            at_target = rings[target]
            recipe = tuple(at_source.index(head) if head in at_source else -1 for head in at_target)
            is_back = (source, target) in backs
            bump = at_target.index(target) if is_back else -1
            tag = closing[target].index(source) if is_back else 0
            leaves = any(target not in bodies[head] for head in at_source)
            hops[source, target] = Hop(recipe, bump, tag, leaves)
    return hops


def _topology(graph: Graph, name: str, shape: Shape) -> bytes:
    """What a run is pinned to: everything that decides which activations exist, and nothing else."""
    plain = {
        "name": name,
        "nodes": [
            [node.name, node.node_type, node.join, list(node.destinations), node.subgraph and node.subgraph.hash]
            for node in graph.nodes.values()
        ],
        "edges": [[list(sources), target] for sources, target in graph.edges],
        "branches": [[b.source, b.name, [[str(k), v] for k, v in b.targets.items()]] for b in graph.branches],
    }
    return msgspec.json.encode(plain)
