"""Building a graph by hand: names as users of graph libraries know them. Checks nothing that `validate` can check."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from treadle.domain.policy import NO_RETRY, RetryPolicy
from treadle.domain.state import Schema
from treadle.errors import UsageError
from treadle.graph.compile import compile_graph
from treadle.graph.draw import draw
from treadle.graph.spec import END, START, Branch, CachePolicy, Command, CompiledGraph, Node, Queue

Condition = Callable[..., Any]
"""state -> node name, label, Send, or a list of these. May be async, and may take ctx as second argument."""


class Graph:
    """A graph under construction.

    Nodes are `async def` or `def` functions of `(state)` or `(state, ctx)` that return a mapping of updates, None or a
    Command. A node starts when its own inputs are there; a node with several forward in-edges runs once, when each has
    fired or can no longer fire.
    """

    def __init__(
        self, name: str = "graph", description: str = "", *, state: Any = None, max_steps: int = 10_000
    ) -> None:
        """`state` declares the keys: a TypedDict (reducers by Annotated), dataclass, pydantic model, key -> reducer."""
        self.name = name
        self.description = description
        self.schema = Schema(state)
        self.max_steps = max_steps
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[tuple[str, ...], str]] = []
        self.branches: list[Branch] = []
        self.problems: list[str] = []
        self._compiled: CompiledGraph | None = None

    def add_node(
        self,
        name: str | Callable[..., Any],
        func: Callable[..., Any] | Graph | CompiledGraph | None = None,
        node_type: str | None = None,
        *,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        effects: Literal["idempotent", "at_most_once"] = "idempotent",
        queue: Queue = "default",
        priority: int = 0,
        key: str | Callable[[Any], Any] | None = None,
        cache: CachePolicy | bool | None = None,
        join: Literal["all", "any"] = "all",
        destinations: Sequence[str] = (),
    ) -> Graph:
        """Add a node.

        Args:
            func: The function, or a graph that runs as one node. None: whoever has a function for `node_type` runs it.
            retry: A policy, or a number of attempts. Default: no retry.
            timeout: Seconds per attempt. A sync function with a timeout runs in a child process, which is killed.
                One that keeps a core busy is better marked `@cpu_bound`, one that never waits `@inline`.
            queue: Only workers that serve it take the node; a function of (state, run id) may name it.
            effects: `at_most_once`: the node never runs again by itself, neither after a crash nor by `retry`.
            queue: Workers take tasks from queues by name; limits hold per queue.
            priority: Higher is claimed first; one step is worth a minute of waiting.
            key: What a limit per key of the queue counts by: a name, or a function of the node's state, asked once when
                the node is planned, e.g. `lambda state: state["customer"]`. None: not counted.
            cache: True or a policy: reuse the result for the same input.
            join: `any`: start when the first in-edge fires, and ignore the others.
            destinations: Where Commands of this node may go (or annotate it `-> Command[Literal["a", "b"]]`).
        """
        self._compiled = None
        if not isinstance(name, str):
            return self.add_node(
                name.__name__, name, node_type, retry=retry, timeout=timeout, effects=effects, queue=queue,
                priority=priority, key=key, cache=cache, join=join, destinations=destinations,
            )  # fmt: skip
        if name in self.nodes:
            self.problems.append(f"Node {name!r} is added twice. Give one of them another name.")
        if name in (START, END) or "/" in name or "#" in name or "[" in name:
            self.problems.append(
                f"{name!r} cannot name a node. Leave out '/', '#', '[' and the names of START and END."
            )
        subgraph = func.compile() if isinstance(func, Graph) else func if isinstance(func, CompiledGraph) else None
        function = None if isinstance(func, Graph | CompiledGraph) else func
        if isinstance(retry, int):
            retry = RetryPolicy(max_attempts=retry)
        if cache is True:
            cache = CachePolicy()
        self.nodes[name] = Node(
            name=name,
            func=function,
            node_type=node_type or name,
            index=len(self.nodes),
            retry=retry or NO_RETRY,
            timeout=timeout,
            effects=effects,
            queue=queue,
            priority=priority,
            key=key,
            cache=cache or None,
            join=join,
            destinations=tuple(destinations) or _annotated_targets(function),
            subgraph=subgraph,
        )
        return self

    def add_edge(self, source: str | Sequence[str], target: str) -> Graph:
        """Lead from one node to another. A list of sources is a join: the target waits for all of them to fire."""
        self._compiled = None
        sources = tuple(source) if isinstance(source, list | tuple) else (source,)
        wrong = [name for name in (*sources, target) if not isinstance(name, str)]
        if wrong:
            self.problems += [f"An edge names {name!r}, which is no name of a node. Write the name." for name in wrong]
        else:
            self.edges.append((sources, target))
        return self

    def add_conditional_edge(
        self, source: str, condition: Condition, targets: Mapping[Any, str] | Sequence[str] | None = None
    ) -> Graph:
        """Choose after `source` where to go: `condition(state)` returns a label of `targets` (or a node, or Sends).

        Without `targets`, those of the condition's Literal return annotation are taken, else every node is possible.
        """
        self._compiled = None
        if targets is None:
            targets = _annotated_targets(condition) or None
        if targets is None:
            labels: Mapping[Any, str] = {}
        elif isinstance(targets, Mapping):
            labels = dict(targets)
        else:
            labels = {target: target for target in targets}
        name = getattr(condition, "__name__", "condition")
        self.branches.append(Branch(source, condition, labels, name))
        return self

    add_conditional_edges = add_conditional_edge

    def add_sequence(self, functions: Iterable[Callable[..., Any]]) -> Graph:
        """Add functions as a chain of nodes, named after them."""
        names = []
        for function in functions:
            self.add_node(function)
            names.append(function.__name__)
        for source, target in itertools.pairwise(names):
            self.add_edge(source, target)
        return self

    def set_entry_point(self, node: str) -> Graph:
        return self.add_edge(START, node)

    def set_conditional_entry_point(self, condition: Condition, targets: Any = None) -> Graph:
        return self.add_conditional_edge(START, condition, targets)

    def set_finish_point(self, node: str) -> Graph:
        return self.add_edge(node, END)

    def compile(
        self,
        *,
        name: str | None = None,
        interrupt_before: Sequence[str] = (),
        interrupt_after: Sequence[str] = (),
    ) -> CompiledGraph:
        """Check the graph and make it runnable. Returns the same object while nothing is added.

        Raises:
            GraphError: Lists every problem with its cure.
        """
        plain = not (interrupt_before or interrupt_after or name)
        if plain and self._compiled is not None:
            return self._compiled
        compiled = compile_graph(self, name or self.name, tuple(interrupt_before), tuple(interrupt_after))
        if plain:
            self._compiled = compiled
        return compiled

    def draw(self, style: Literal["mermaid", "text"] = "mermaid") -> str:
        """The graph as Mermaid source or as text."""
        return draw(self.compile(), style)


def _annotated_targets(function: Any) -> tuple[str, ...]:
    """Read `-> Literal["a", "b"]` or `-> Command[Literal["a", "b"]]`; () where there is no such annotation."""
    if function is None or not callable(function):
        return ()
    annotation = getattr(function, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        try:
            annotation = eval(
                annotation, getattr(function, "__globals__", {}), {"Command": Command, "Literal": Literal}
            )
        except Exception:  # noqa: BLE001  # an annotation we cannot read is no annotation
            return ()
    if typing.get_origin(annotation) is Literal:
        return tuple(arg for arg in typing.get_args(annotation) if isinstance(arg, str))
    for arg in typing.get_args(annotation):
        if typing.get_origin(arg) is Literal:
            return tuple(a for a in typing.get_args(arg) if isinstance(a, str))
    return ()


def as_compiled(graph: Graph | CompiledGraph) -> CompiledGraph:
    if isinstance(graph, CompiledGraph):
        return graph
    if isinstance(graph, Graph):
        return graph.compile()
    raise UsageError(f"A Graph was expected, not {type(graph).__name__}.")
