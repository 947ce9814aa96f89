"""What is wrong with a graph: every problem at once, each with its cure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from treadle.graph import loops
from treadle.graph.spec import END, START

if TYPE_CHECKING:
    from treadle.graph.compile import Shape

Edges = Sequence[tuple[tuple[str, ...], str]]


def find_problems(shape: Shape, edges: Edges, interrupts: Iterable[str]) -> list[str]:
    """Each problem as one sentence of what is wrong and one of what to do."""
    if not shape.nodes:
        return ["It has no nodes. Add one with add_node(name, func)."]
    problems = [*_wrong_settings(shape), *_wrong_conditions(shape), *_unknown_names(shape, edges, interrupts)]
    assumed = _as_if_known(shape, edges)
    if not shape.out[START]:  # that nothing is reached would only repeat this
        problems.append("It has no entry. Name the first node with set_entry_point(node).")
        return [*problems, *_dead_ends(shape, edges, assumed)]
    problems += _unreachable(shape, assumed)
    problems += _dead_ends(shape, edges, assumed)
    return [*problems, *_impossible_joins(shape, assumed)]


def _wrong_settings(shape: Shape) -> Iterator[str]:
    for node in shape.nodes.values():
        where = f"Node {node.name!r}"
        func: Any = node.func  # annotations promise much
        if func is not None and not callable(func):
            yield f"{where} is given {func!r}, which cannot be called. Give it a function or a graph."
        if node.effects not in ("idempotent", "at_most_once"):
            yield f"{where} has effects={node.effects!r}. Use 'idempotent' or 'at_most_once'."
        if node.join not in ("all", "any"):
            yield f"{where} has join={node.join!r}. Use 'all' or 'any'."
        if node.timeout is not None and not node.timeout > 0:
            yield f"{where} has timeout={node.timeout!r}. Give seconds above 0, or None."
        if node.retry.max_attempts < 1:
            yield f"{where} has retry with {node.retry.max_attempts} attempts. Give at least 1, the first included."
        if not node.queue:
            yield f"{where} has a queue without a name. Name it, or leave it out."
        if not isinstance(node.queue, str) and (node.func is None and not node.subgraph):
            yield f"{where} has no function here, so its queue needs a name. A function can name it where one runs it."
        if node.subgraph and (
            node.timeout or node.cache or node.retry.max_attempts > 1 or node.effects != "idempotent"
        ):
            yield f"{where} is a graph. Give retry, timeout, cache and effects to the nodes of that graph."


def _wrong_conditions(shape: Shape) -> Iterator[str]:
    for source, branches in shape.branches.items():
        for branch in branches:
            condition: Any = branch.condition
            if not callable(condition):
                yield (
                    f"The conditional edge from {source!r} has the condition {condition!r}, which cannot be "
                    f"called. Give it a function of the state; for a fixed target use add_edge({source!r}, target)."
                )


def _as_if_known(shape: Shape, edges: Edges) -> dict[str, list[str]]:
    """All edges, as if what is missing were there: the node that was probably meant, or one that leads to the end.

    So what is missing is named once, and everything else that is wrong is found beside it.
    """
    named = [(source, target) for sources, target in edges for source in sources]
    named += [(source, target) for source, targets in shape.out.items() for target in targets]
    out: dict[str, list[str]] = {name: [] for name in (START, *shape.nodes)}
    for source, target in named:
        source, target = _meant(source, out), target if target == END else _meant(target, out)
        out.setdefault(source, []).append(target)
        if source not in shape.out:
            out[START].append(source)
        if target != END and target not in shape.out:
            out.setdefault(target, []).append(END)
    return out


def _meant(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to this one; itself if none is near."""
    names = list(known)
    near = [name] if name in names else get_close_matches(name, names, n=1)
    return near[0] if near else name


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


def _unreachable(shape: Shape, out: loops.Adjacency) -> Iterator[str]:
    reached = _forward(out, START)
    for name in shape.nodes:
        if name not in reached:
            yield f"Node {name!r} can never be reached. Lead to it with add_edge(source, {name!r}), or remove it."


def _dead_ends(shape: Shape, edges: Edges, out: loops.Adjacency) -> Iterator[str]:
    finishing = loops.ancestors([END], loops.reversed_edges(out))
    named = any(END in targets for targets in shape.out.values()) or any(target == END for _, target in edges)
    if not named or (shape.out[START] and START not in finishing):
        yield "It has no finish. Name the last node with set_finish_point(node), or add_edge(node, END)."
        return
    for name in shape.nodes:
        if name not in finishing:
            yield f"Node {name!r} leads nowhere. Use set_finish_point({name!r}) if it is a last node."


def _impossible_joins(shape: Shape, out: loops.Adjacency) -> Iterator[str]:
    for target, groups in shape.barriers.items():
        if shape.nodes[target].join == "any":
            yield f"Node {target!r} has join='any' and an edge from a list of sources. Use single edges, or join='all'."
        barred = {source for group in groups for source in group}
        others = any(target in targets and source not in barred for source, targets in out.items())
        if others:
            continue  # another edge can start it, so the list may close a loop
        reached = _forward(out, START, without=target)
        for source in sorted(barred - reached):
            yield (
                f"The join {target!r} can never complete: it waits for {source!r}, which is reached only through "
                f"{target!r} itself. Remove {source!r} from the list, or lead to {source!r} another way."
            )


def _forward(out: loops.Adjacency, start: str, *, without: str | None = None) -> set[str]:
    seen = {start}
    stack = [start]
    while stack:
        for target in out.get(stack.pop(), ()):
            if target not in seen and target != without:
                seen.add(target)
                stack.append(target)
    return seen
