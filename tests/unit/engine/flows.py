"""Graphs and settings that the tests of the engine share."""

from __future__ import annotations

import asyncio
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

from treadle.domain.events import Event
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.graph.build import Graph
from treadle.graph.spec import START
from treadle.ports.store import Store

QUICK = WorkerSettings(lease_seconds=5.0, sweep_seconds=0.02, poll_seconds=0.02)
SOON = 10.0
"""Seconds after which a test that waits for an event has failed."""


def chain(*functions: Callable[..., Any], name: str = "g", **settings: Any) -> Graph:
    """A graph that runs these functions one after the other; `settings` are for every node."""
    graph = Graph(name, state={"trail": operator.add})
    before = START
    for function in functions:
        graph.add_node(function.__name__, function, **settings)
        graph.add_edge(before, function.__name__)
        before = function.__name__
    return graph.set_finish_point(before)


def mark(name: str) -> Callable[[Any], Any]:
    async def node(state: Any) -> dict[str, Any]:
        return {"trail": [name]}

    node.__name__ = name
    return node


class Gate:
    """A node that says when it is entered and stays until it is let go."""

    def __init__(self, name: str = "gate") -> None:
        self.__name__ = name
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.left: list[str] = []
        """How it was left: `done` or `cancelled`."""

    async def __call__(self, state: Any) -> Mapping[str, Any]:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.left.append("cancelled")
            raise
        self.left.append("done")
        return {"trail": [self.__name__]}

    async def wait(self) -> None:
        await asyncio.wait_for(self.entered.wait(), SOON)


async def kinds(store: Store, run_id: str) -> list[str]:
    return [event.type for event in await store.events(run_id)]


async def payloads(store: Store, run_id: str, kind: type) -> list[Any]:
    return [event.payload for event in await store.events(run_id) if isinstance(event.payload, kind)]


async def finished(store: Store, run_id: str) -> list[str]:
    """Activations that have finished, in the order of the log."""
    return [event.activation or "" for event in await store.events(run_id) if event.type == "NodeFinished"]


def assert_sound(events: list[Event]) -> None:
    """No gap, and nobody finished twice."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    done = [event.activation for event in events if event.type == "NodeFinished"]
    assert len(done) == len(set(done))


async def result_of(orchestrator: Orchestrator, run_id: str) -> Any:
    return await orchestrator.wait(run_id, timeout=SOON)


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until what `condition` returns, or comes to, is true: for what tells nobody when it happens."""
    async with asyncio.timeout(SOON):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.005)
