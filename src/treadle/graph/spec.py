"""A compiled graph: nodes, edges and what planning needs to know of them, all of it fixed. No logic of execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from treadle.domain.policy import NO_RETRY, RetryPolicy
from treadle.domain.state import Schema, Values
from treadle.graph.loops import ancestors

START = "__start__"
END = "__end__"
Epoch = tuple[Any, ...]
"""Loop visits of the loops that a node lies in, outermost first."""
Queue = str | Callable[[Values, str], str]
"""The name of a queue, or a pure function of the node's state and the run's id that names one."""


@dataclass(frozen=True, slots=True)
class Send:
    """Start `node` once more, with `data` laid over its state. A list of these fans out over data."""

    node: str
    data: Any = None


N = TypeVar("N")


@dataclass(frozen=True)
class Command(Generic[N]):
    """What a node may return to update the state and choose where to go in one.

    Annotate a node `-> Command[Literal["a", "b"]]` to declare where it may go.
    """

    update: Any = None
    goto: str | Send | Sequence[str | Send] = ()


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Reuse a node's result for the same input."""

    ttl_seconds: float | None = None
    key: Callable[[Values], Any] | None = None
    """What the result depends on; by default the whole state."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node and how it wants to be run."""

    name: str
    func: Callable[..., Any] | None
    node_type: str
    index: int
    """Order of declaration; the order in which joins merge."""
    retry: RetryPolicy = NO_RETRY
    timeout: float | None = None
    """Seconds per attempt."""
    effects: Literal["idempotent", "at_most_once"] = "idempotent"
    queue: Queue = "default"
    priority: int = 0
    key: str | Callable[[Any], Any] | None = None
    """What limits per key of its queue count by: a name, or how to tell it from the node's state."""
    cache: CachePolicy | None = None
    join: Literal["all", "any"] = "all"
    destinations: tuple[str, ...] = ()
    """Where its Commands may go."""
    subgraph: CompiledGraph | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """A conditional edge."""

    source: str
    condition: Callable[..., Any]
    targets: Mapping[Any, str]
    """Label -> node."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """How the epoch changes along one edge."""

    recipe: tuple[int, ...]
    """Per loop of the target: index of the same loop at the source, or -1 to start at its first visit."""
    bump: int = -1
    """Index (at the target) of the loop that this edge closes; -1 for a forward edge."""
    tag: int = 0
    """Tells back edges to the same node apart."""
    leaves: bool = False
    """The edge leaves a loop, so it may fire more than once."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledGraph:
    """What `Graph.compile()` makes. Immutable; shared by all runs."""

    name: str
    description: str
    hash: str
    """Digest of the topology; a run is pinned to it."""
    nodes: Mapping[str, Node]
    edges: Mapping[str, tuple[str, ...]]
    """Source -> targets of its plain edges, in order of declaration; includes START."""
    branches: Mapping[str, tuple[Branch, ...]]
    barriers: Mapping[str, tuple[frozenset[str], ...]]
    """Target -> groups of sources that must all fire (edges declared from a list of sources)."""
    joins: frozenset[str]
    """Nodes with several forward in-edges."""
    hops: Mapping[tuple[str, str], Hop]
    into: Mapping[str, Sequence[str]]
    """Target -> sources of every edge it may be reached by."""
    backs: frozenset[tuple[str, str]]
    """Edges that close a loop."""
    bodies: Mapping[str, frozenset[str]]
    """Head of a loop -> its nodes."""
    loops: Mapping[str, tuple[str, ...]]
    """Node -> heads of the loops that it lies in, outermost first."""
    schema: Schema
    max_steps: int = 10_000
    interrupt_before: frozenset[str] = frozenset()
    interrupt_after: frozenset[str] = frozenset()
    spec: bytes = b"null"
    """The topology as JSON, without code."""
    listed: Mapping[str, Node] = field(default_factory=dict)
    """Every node by qualified name, those of subgraphs included (`sub/edit`)."""
    _feeders: dict[str, frozenset[str]] = field(default_factory=dict)
    _reach: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def pin(self) -> str:
        """What runs and workers call this graph: `name@hash`."""
        return f"{self.name}@{self.hash}"

    def feeders(self, node: str) -> frozenset[str]:
        """Nodes from which `node` can still be reached within its present visit of its loops."""
        known = self._feeders.get(node)
        if known is None:
            cut = {edge for edge in self.backs if node in self.bodies[edge[1]]}
            known = self._feeders[node] = ancestors([node], self.into, cut=cut) - {node}
        return known

    def reach(self, node: str) -> frozenset[str]:
        """Nodes from which `node` can be reached at all, later visits included."""
        known = self._reach.get(node)
        if known is None:
            known = self._reach[node] = ancestors(self.into.get(node, ()), self.into)
        return known
