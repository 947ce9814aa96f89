"""From the log back to a position: replay what finished, in order. Calls no code of the user but reducers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from treadle.domain import codec
from treadle.domain.events import Event, NodeFinished, RunStarted, StateUpdated
from treadle.graph.plan import Position, Target
from treadle.graph.spec import CompiledGraph, Send


def pack_route(route: Sequence[Target]) -> tuple[Any, ...]:
    """A route as the log keeps it."""
    return tuple(t if isinstance(t, str) else [t.node, codec.to_plain(t.data)] for t in route)


def unpack_route(route: Sequence[Any]) -> list[Target]:
    return [t if isinstance(t, str) else Send(t[0], codec.from_plain(t[1])) for t in route]


def rebuild(graph: CompiledGraph, events: Iterable[Event]) -> Position:
    """The position after these events; they must begin with the run's first."""
    position = Position(graph)
    for event in events:
        payload = event.payload
        if isinstance(payload, NodeFinished):
            assert event.activation is not None
            position.finish(event.activation, codec.decode(payload.update), unpack_route(payload.route))
        elif isinstance(payload, RunStarted):
            position.start(graph.schema.initial(codec.decode(payload.state)))
        elif isinstance(payload, StateUpdated):
            position.external(f"@{event.seq}", codec.decode(payload.update))
    return position
