"""What is wrong with a graph: every problem at once, each with its cure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from treadle.graph import loops
from treadle.graph.spec import END, START

if TYPE_CHECKING:
    from treadle.graph.compile import Shape

Edges = Sequence[tuple[tuple[str, ...], str]]


def find_problems(shape: Shape, edges: Edges, interrupts: Iterable[str]) -> list[str]:
    """Each problem as one sentence of what is wrong and one of what to do."""
    if not shape.nodes:
        return ["It has no nodes. Add one with add_node(name, func)."]
    problems = [*_unknown_names(shape, edges, interrupts)]
    if not shape.out[START]:
        problems.append("It has no entry. Name the first node with set_entry_point(node).")
    if problems:
        return problems  # the rest would only repeat these
    return [*_unreachable(shape), *_dead_ends(shape), *_impossible_joins(shape)]


def _unknown_names(shape: Shape, edges: Edges, interrupts: Iterable[str]) -> Iterator[str]:
    known = [*shape.nodes, END]
    named: list[tuple[str, str, list[str]]] = []
    for sources, target in edges:
        named += [(source, f"the edge {source!r} -> {target!r}", [START, *shape.nodes]) for source in sources]
        named.append((target, f"the edge {', '.join(sources)!r} -> {target!r}", known))
    for source, branches in shape.branches.items():
        named.append((source, f"the conditional edge from {source!r}", [START, *shape.nodes]))
        named += [(t, f"the conditional edge from {source!r}", known) for b in branches for t in b.targets.values()]
    for node in shape.nodes.values():
        named += [(t, f"the destinations of {node.name!r}", known) for t in node.destinations]
    named += [(name, "interrupt_before or interrupt_after", list(shape.nodes)) for name in interrupts]
    for name, where, allowed in dict.fromkeys((n, w, tuple(a)) for n, w, a in named):
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            cure = f"Did you mean {near[0]!r}?" if near else f"Add it with add_node({name!r}, func)."
            yield f"There is no node {name!r}, which {where} names. {cure}"


def _unreachable(shape: Shape) -> Iterator[str]:
    reached = _forward(shape, START)
    for name in shape.nodes:
        if name not in reached:
            yield f"Node {name!r} can never be reached. Lead to it with add_edge(source, {name!r}), or remove it."


def _dead_ends(shape: Shape) -> Iterator[str]:
    into = loops.reversed_edges(shape.out)
    finishing = loops.ancestors([END], into)
    if START not in finishing:
        yield "It has no finish. Name the last node with set_finish_point(node), or add_edge(node, END)."
        return
    for name in shape.nodes:
        if name not in finishing:
            yield f"Node {name!r} leads nowhere. Use set_finish_point({name!r}) if it is a last node."


def _impossible_joins(shape: Shape) -> Iterator[str]:
    for target, groups in shape.barriers.items():
        if shape.nodes[target].join == "any":
            yield f"Node {target!r} has join='any' and an edge from a list of sources. Use single edges, or join='all'."
        barred = {source for group in groups for source in group}
        others = any(target in targets and source not in barred for source, targets in shape.out.items())
        if others:
            continue  # another edge can start it, so the list may close a loop
        reached = _forward(shape, START, without=target)
        for source in sorted(barred - reached):
            yield (
                f"The join {target!r} can never complete: it waits for {source!r}, which is reached only through "
                f"{target!r} itself. Remove {source!r} from the list, or lead to {source!r} another way."
            )


def _forward(shape: Shape, start: str, *, without: str | None = None) -> set[str]:
    seen = {start}
    stack = [start]
    while stack:
        for target in shape.out.get(stack.pop(), ()):
            if target not in seen and target != without:
                seen.add(target)
                stack.append(target)
    return seen
