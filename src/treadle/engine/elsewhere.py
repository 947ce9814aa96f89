"""Nodes that run where nobody knows their graph: what such a worker is given, and what is made of what it gives back.

An offered task lies in a queue of its node type, with its input in its journal. Whoever has the function runs it and
puts what it returned into the journal, together with an `advance` task for the same activation on a queue of the graph.
Any holder of the graph takes that, and finishes the activation as if it had run the node itself.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import Draft, NodeFailed, NodeReturned, TaskOffered
from treadle.domain.state import Schema, State
from treadle.domain.task import Claim, NewTask
from treadle.engine.context import Context
from treadle.engine.execute import Callee, call, view_of
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import WorkerSettings
from treadle.errors import LeaseLost, NodeError, RemoteError, TreadleError
from treadle.graph.fold import pack_route, unpack_route
from treadle.graph.plan import Live
from treadle.graph.spec import Command, CompiledGraph, Node, Send
from treadle.ports.store import Commit, TaskMove

ADVANCE = "@advance"
"""Node type of the second half of a node that was run elsewhere."""
INPUT = "input"
"""Journal key of what an offered node is called with."""


def node_queue(node: Node) -> str:
    """Where a node is offered to workers that know its type."""
    return _queue_of(node.node_type, node.queue if isinstance(node.queue, str) else "default")


def key_of(live: Live) -> str | None:
    """What limits per key count an activation by. Raises NodeError if its node's function cannot tell."""
    key = live.node.key
    if callable(key):
        try:
            key = key(view_of(live, ""))
        except Exception as error:  # whatever a user's function raises
            raise NodeError(
                f"The key of node {live.node.name!r} could not be told: {type(error).__name__}: {error}.",
                hint="Its function gets the state that the node will get; it may return None.",
            ) from error
    return None if key is None else str(key)


def graph_queue(pin: str) -> str:
    """Where work lies that needs the graph, and no node's function."""
    return f"graph:{pin}"


def _queue_of(node_type: str, queue: str) -> str:
    return f"node:{node_type}" if queue == "default" else f"node:{node_type}@{queue}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new task goes."""

    queue: str
    here: bool
    """This worker may run it."""
    offered: bool = False


class Places:
    """Knows which nodes run in this worker."""

    def __init__(self, registry: NodeRegistry, settings: WorkerSettings) -> None:
        self._registry = registry
        self._own = frozenset(settings.queues)
        self._named: dict[str, None] = {}
        """Queues that nodes of known graphs name, beside our own."""
        self.where = settings.where

    def know(self, graph: CompiledGraph) -> None:
        """A graph is known here from now on; who runs all of it serves the queues that its nodes name."""
        names = (node.queue for node in graph.listed.values())
        self._named |= dict.fromkeys(name for name in names if isinstance(name, str) and name not in self._own)

    def find(self, pin: str, run_id: str) -> Callable[[Live], Place] | None:
        """How to place the tasks of a run of a graph; None: all of them run here."""
        if self.where == "here":
            return None
        return lambda live: self._place(pin, live, run_id)

    def _place(self, pin: str, live: Live, run_id: str) -> Place:
        if live.after or live.node.subgraph is not None:
            return Place(graph_queue(pin) if self.where == "elsewhere" else live.queue(run_id), here=True)
        if live.node.func is None and not self._has_function(live):
            return Place(node_queue(live.node), here=False, offered=True)
        queue = live.queue(run_id)
        return Place(queue, here=self.where == "known" and queue in self._own)

    def _has_function(self, live: Live) -> bool:
        return self.where == "known" and (live.node.func is not None or live.node.node_type in self._registry)

    def runs(self, claim: Claim, live: Live) -> bool:
        """Whether a task of a graph that is known here can go on here."""
        if self.where == "here" or claim.node_type == ADVANCE or live.after or live.node.subgraph is not None:
            return True
        return self._has_function(live)

    def queues(self, queues: Iterable[str], pins: Iterable[str]) -> list[str]:
        """Queues to claim from for graphs that are known here."""
        if self.where == "here":
            return [*queues, *self._named]
        own = [] if self.where == "elsewhere" else [*queues]
        return [*own, *map(graph_queue, pins)]

    def node_queues(self, queues: Iterable[str]) -> list[str]:
        """Queues to claim from whatever the graph."""
        if self.where != "known":
            return []
        return [_queue_of(node_type, queue) for queue in queues for node_type in self._registry]


def offer(live: Live) -> Draft:
    """Say what an offered node is called with."""
    given = live.data if live.data is not None and not isinstance(live.data, Mapping) else live.state()
    node = live.node
    payload = TaskOffered(node.name, msgspec.Raw(codec.encode_shared(given)), node.timeout, node.effects)
    return Draft(payload, live.id, INPUT)


def hand_over(claim: Claim, live: Live, worker: str, *, known: bool) -> Commit:
    """Offer a task that was claimed by somebody who cannot run it; `known`: its input is in the journal already."""
    node = live.node
    task = NewTask(claim.activation, claim.node, node.node_type, node_queue(node), node.priority, key=key_of(live))
    drafts = [] if known else [offer(live)]
    return Commit(claim.run_id, claim.task_id, claim.lease_seq, worker, drafts, TaskMove("done"), tasks=[task])


async def run_offered(claim: Claim, context: Context, registry: NodeRegistry, worker: str) -> Commit:
    """Run an offered node and give back what it returned, or how it failed.

    Raises:
        Signal: It asked to wait.
        LeaseLost: Somebody else has it now.
        NodeError: It was offered without its input.
    """
    await context.load()
    offered = context.event(INPUT, TaskOffered)
    if offered is None:
        raise NodeError(f"Task {claim.activation!r} of node type {claim.node_type!r} came without its input.")
    number = count_returns(context) + 1
    context.attempts_before = number - 1
    began = time.perf_counter()
    try:
        if offered.effects == "at_most_once":
            refuse_repeat(claim)
        returned = await _call(offered, registry.find(claim.node_type), context)
        payload = _said(offered.node, returned, worker, time.perf_counter() - began)
    except LeaseLost:
        raise
    except Exception as error:  # noqa: BLE001  # the task boundary: every failure of a node becomes its outcome
        payload = _failed(offered.node, error, worker, time.perf_counter() - began)
    task = NewTask(claim.activation, claim.node, ADVANCE, graph_queue(claim.graph))
    drafts = [*context.notes, Draft(payload, claim.activation, _key(number))]
    return Commit(claim.run_id, claim.task_id, claim.lease_seq, worker, drafts, TaskMove("done"), tasks=[task])


def refuse_repeat(claim: Claim) -> None:
    """Raise NodeError if a node that must run at most once has been begun before."""
    if claim.attempt > 1:
        raise NodeError(
            f"Node {claim.node!r} is declared at_most_once and its worker died; it was not run again.",
            hint="Check outside what it did, then `treadle retry` the task.",
        )


async def _call(offered: TaskOffered, function: Callable[..., Any], context: Context) -> Any:
    given = codec.decode(offered.state)
    if isinstance(given, Mapping):
        given = State(dict(given), workflow_id=context.run_id)
    return await call(Callee.of(function), given, context, offered.node, offered.timeout)


def _key(number: int) -> str:
    return f"return:{number}"


def count_returns(context: Context) -> int:
    """How often the node has come back, well or not."""
    number = 0
    while context.event(_key(number + 1), NodeReturned) is not None:
        number += 1
    return number


@dataclass(frozen=True, slots=True)
class Return:
    """What came back last."""

    key: str
    number: int
    said: NodeReturned
    judged: bool
    """It was a failure, and is in the log as such."""

    def value(self) -> Any:
        """What the node returned. Raises RemoteError if it raised."""
        said = self.said
        if said.error is not None:
            raise RemoteError(said.error, kinds=said.kinds, code=said.code, exit_code=said.exit_code, trace=said.trace)
        return Command(update=codec.decode(said.update), goto=unpack_route(said.goto))


def last_return(context: Context) -> Return | None:
    """What the node's last run elsewhere gave back; None if it has not been run."""
    number = count_returns(context)
    key = _key(number)
    said = context.event(key, NodeReturned)
    return None if said is None else Return(key, number, said, context.event(key, NodeFailed) is not None)


def _said(node: str, returned: Any, worker: str, seconds: float) -> NodeReturned:
    goto: tuple[Any, ...] = ()
    if isinstance(returned, Command):
        goto = (returned.goto,) if isinstance(returned.goto, str | Send) else tuple(returned.goto)
        returned = returned.update
    update = msgspec.Raw(codec.encode_shared(Schema().as_update(returned)))
    return NodeReturned(node, update, pack_route(goto), worker=worker, seconds=round(seconds, 6))


def _failed(node: str, error: Exception, worker: str, seconds: float) -> NodeReturned:
    known = isinstance(error, TreadleError)
    text = str(error) or type(error).__name__
    return NodeReturned(
        node,
        error=text if known else f"{type(error).__name__}: {text}",
        code=error.code if isinstance(error, TreadleError) else type(error).__name__,
        kinds=tuple(kind.__name__ for kind in type(error).__mro__[:-1]),
        exit_code=error.exit_code if isinstance(error, TreadleError) else 1,
        trace="" if known else "".join(traceback.format_exception(error))[-6000:],
        worker=worker,
        seconds=round(seconds, 6),
    )
