"""Running a graph without store, worker or clock: activations finish one by one, in any order that a test chooses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import Event, NodeFinished, Payload, RunStarted
from treadle.domain.state import State, Values
from treadle.errors import UsageError
from treadle.graph.build import Graph, as_compiled
from treadle.graph.fold import pack_route
from treadle.graph.marks import takes_context
from treadle.graph.plan import Live, Position, Target
from treadle.graph.spec import Command, Send

Pick = Callable[[Sequence[str]], int]
"""Index of the activation that finishes next, given all that are live in order of their start."""


def first(ready: Sequence[str]) -> int:
    return 0


def last(ready: Sequence[str]) -> int:
    return len(ready) - 1


class Walk:
    """One run of a graph whose nodes and conditions are plain functions.

    A node that takes a second argument is given the id of its activation.
    """

    def __init__(self, graph: Any, state: Values | None = None, *, pick: Pick = first) -> None:
        self.graph = as_compiled(graph) if isinstance(graph, Graph) else graph
        self.position = Position(self.graph)
        self.pick = pick
        self.finished: list[str] = []
        """Activations in the order in which they finished."""
        self.events: list[Event] = []
        """The log that an engine would have written."""
        self.ready: list[Live] = []
        values = self.graph.schema.initial(state or {})
        self._log(RunStarted(state=msgspec.Raw(codec.encode(values))))
        self.ready += self.position.start(values)

    @property
    def result(self) -> Values:
        """The last state; a run that is not over has none."""
        if self.position.result is None:
            raise UsageError(f"The run is not over: {self.position.stuck or sorted(self.position.index)}.")
        return self.position.result

    def run(self) -> Walk:
        """Go on until nothing is left to do."""
        while self.ready:
            self.step()
        return self

    def step(self, activation: str | None = None) -> list[str]:
        """Finish one activation (by default what `pick` says); returns those that start because of it."""
        ids = [live.id for live in self.ready]
        live = self.ready.pop(self.pick(ids) if activation is None else ids.index(activation))
        update, route = outcome_of(live)
        started = self.position.finish(live.id, update, route)
        self.finished.append(live.id)
        self.ready += started
        self._log(
            NodeFinished(
                live.node.name,
                msgspec.Raw(codec.encode(update)),
                pack_route(route),
                tuple(started_live.id for started_live in started),
            ),
            live.id,
        )
        return [started_live.id for started_live in started]

    def _log(self, payload: Payload, activation: str | None = None) -> None:
        seq = len(self.events) + 1
        name = type(payload).__name__
        self.events.append(Event(seq, float(seq), "walk", activation, name, 1, "default", "default", payload))


def outcome_of(live: Live) -> tuple[Values, list[Target]]:
    """What a node of plain functions returns, and where it leads. As `engine.execute`, without anything async."""
    graph, node = live.frame.graph, live.node
    returned = None if live.after or node.func is None else _call(node.func, _view(live), live.id)
    goto: Sequence[str | Send] = ()
    if inspect.iscoroutine(returned):  # the node behind START
        returned.close()
        returned = None
    if isinstance(returned, Command):
        goto = (returned.goto,) if isinstance(returned.goto, str | Send) else tuple(returned.goto)
        returned = returned.update
    update = graph.schema.as_update(returned)
    after = graph.schema.apply(live.state(), update)
    route: list[Target] = list(goto)
    for branch in graph.branches.get(node.name, ()):
        chosen = _call(branch.condition, graph.schema.view(after, "walk"), live.id)
        picked = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
        if not picked:
            route.append(Send("", list(dict.fromkeys(branch.targets.values()))))
        route += [label if isinstance(label, Send) else branch.targets.get(label, label) for label in picked]
    return update, route


def _view(live: Live) -> Any:
    if live.data is not None and not isinstance(live.data, Mapping):
        return live.data
    return State(live.state())


def _call(function: Callable[..., Any], view: Any, activation: str) -> Any:
    return function(view, activation) if takes_context(function) else function(view)
