"""Drawing a graph as Mermaid or as text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from treadle.errors import UsageError
from treadle.graph.spec import END, START, CompiledGraph

_LABELS = {START: "START", END: "END"}


def draw(graph: CompiledGraph, style: str = "mermaid") -> str:
    """`mermaid` or `text`."""
    if style == "mermaid":
        return "\n".join(["flowchart TD", *_mermaid(graph, "")]) + "\n"
    if style == "text":
        return "\n".join(_text(graph)) + "\n"
    raise UsageError(f"There is no drawing style {style!r}.", hint="Use 'mermaid' or 'text'.")


def _edges(graph: CompiledGraph) -> Iterator[tuple[str, str, str | None, bool]]:
    """(source, target, label, is conditional) in order of declaration."""
    for source in dict.fromkeys([START, *graph.nodes]):
        for target in graph.edges.get(source, ()):
            yield source, target, None, False
        for branch in graph.branches.get(source, ()):
            for label, target in branch.targets.items():
                yield source, target, None if label == target else str(label), True
            if not branch.targets:
                yield source, END, "anywhere", True
        if source in graph.nodes:
            for target in graph.nodes[source].destinations:
                yield source, target, None, True


def _mermaid(graph: CompiledGraph, prefix: str) -> Iterator[str]:
    def name(node: str) -> str:
        return re.sub(r"\W", lambda found: f"_{ord(found[0]):x}_", f"{prefix}{_LABELS.get(node, 'n_' + node)}")

    yield f"    {name(START)}([start])"
    yield f"    {name(END)}([end])"
    for node in graph.nodes.values():
        if node.subgraph:
            yield f'    subgraph {name(node.name)}["{_quoted(node.name)}"]'
            yield from ("    " + line for line in _mermaid(node.subgraph, f"{prefix}{node.name}_"))
            yield "    end"
        else:
            yield f'    {name(node.name)}["{_quoted(node.name)}"]'
    for source, target, label, conditional in _edges(graph):
        arrow = "-.->" if conditional else "-->"
        yield f"    {name(source)} {arrow}{f'|{_quoted(label)}|' if label else ''} {name(target)}"


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;").replace("|", "#124;")


def _text(graph: CompiledGraph) -> Iterator[str]:
    yield graph.name + (f": {graph.description}" if graph.description else "")
    for source, target, label, conditional in _edges(graph):
        arrow = f" -?{f'[{label}]' if label else ''}-> " if conditional else " --> "
        again = "  (again)" if (source, target) in graph.backs else ""
        yield f"  {_LABELS.get(source, source)}{arrow}{_LABELS.get(target, target)}{again}"
    for node in graph.nodes.values():
        if node.subgraph:
            yield from (f"  {node.name} | {line}" for line in _text(node.subgraph))
