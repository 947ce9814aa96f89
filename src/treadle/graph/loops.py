"""Loops of a directed graph: back edges, the nodes each loop holds, and reachability. Pure functions over names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Adjacency = Mapping[str, Sequence[str]]
EdgeSet = set[tuple[str, str]]


def back_edges(start: str, out: Adjacency) -> EdgeSet:
    """Edges that close a loop: those that lead to a node still open in a depth-first walk in order of declaration."""
    found: EdgeSet = set()
    done: set[str] = set()
    open_: set[str] = {start}
    stack = [(start, iter(out.get(start, ())))]
    while stack:
        node, targets = stack[-1]
        for target in targets:
            if target in open_:
                found.add((node, target))
            elif target not in done:
                open_.add(target)
                stack.append((target, iter(out.get(target, ()))))
                break
        else:
            stack.pop()
            open_.discard(node)
            done.add(node)
    return found


def reversed_edges(out: Adjacency) -> dict[str, list[str]]:
    into: dict[str, list[str]] = {}
    for source, targets in out.items():
        for target in targets:
            into.setdefault(target, []).append(source)
    return into


def ancestors(nodes: Iterable[str], into: Mapping[str, Sequence[str]], *, stop: str | None = None,
              cut: EdgeSet | None = None) -> frozenset[str]:  # fmt: skip
    """Nodes from which one of `nodes` can be reached (themselves included), not passing `stop` nor edges in `cut`."""
    seen = set(nodes)
    stack = list(seen)
    while stack:
        node = stack.pop()
        if node == stop:
            continue
        for source in into.get(node, ()):
            if source not in seen and not (cut and (source, node) in cut):
                seen.add(source)
                stack.append(source)
    return frozenset(seen)


def loop_bodies(backs: EdgeSet, into: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Head of each loop -> its nodes: those that reach a closing edge without passing the head."""
    closers: dict[str, set[str]] = {}
    for source, head in backs:
        closers.setdefault(head, set()).add(source)
    return {head: ancestors(sources | {head}, into, stop=head) for head, sources in closers.items()}


def loops_of(nodes: Iterable[str], bodies: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """Node -> heads of the loops around it, outermost (largest) first."""
    order = sorted(bodies, key=lambda head: (-len(bodies[head]), head))
    return {node: tuple(head for head in order if node in bodies[head]) for node in nodes}
