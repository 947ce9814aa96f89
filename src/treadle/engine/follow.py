"""Following a run: what happens in it, as it happens, in the form asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from treadle.domain import codec
from treadle.domain.events import Event, NodeFinished, Payload, RunStarted, StateUpdated
from treadle.domain.task import RunRow, RunStatus
from treadle.engine.results import Ending
from treadle.engine.worker import Worker
from treadle.errors import UsageError
from treadle.graph.fold import rebuild, unpack_route
from treadle.graph.plan import Position
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import Store

Mode = Literal["values", "updates", "events", "custom", "tokens"]
GraphOf = Callable[[RunRow], CompiledGraph]


class Follower:
    """Yields what happens in one run until it comes to rest."""

    def __init__(
        self, worker: Worker, graph_of: GraphOf, run_id: str, modes: Mode | Sequence[Mode], after: int = 0
    ) -> None:
        self._worker = worker
        self._graph_of = graph_of
        self._run_id = run_id
        self._modes: Sequence[str] = (modes,) if isinstance(modes, str) else tuple(modes)
        for mode in self._modes:
            if mode not in ("values", "updates", "events", "custom", "tokens"):
                raise UsageError(
                    f"There is no stream mode {mode!r}.", hint="Use values, updates, events, custom or tokens."
                )
        self._single = isinstance(modes, str)
        self._after = after
        self._position: Position | None = None
        self._heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._stop = worker.listeners.listen(run_id, self._hear)

    def close(self) -> None:
        self._stop()

    def _hear(self, activation: str, kind: str, value: Any) -> None:
        if kind in self._modes:
            self._heard.put_nowait((kind, value))

    async def __aiter__(self) -> AsyncIterator[Any]:
        store, run_id = self._worker.store, self._run_id
        mark = -1
        resting = False
        while True:
            row = await store.run(run_id)
            resting = row.status.ended or (row.status is RunStatus.WAITING and not row.paused)
            while not self._heard.empty():
                yield self._shaped(*self._heard.get_nowait())
            for event in await store.events(run_id, after=self._after):
                self._after = event.seq
                for mode, data in self._read(event, row):
                    yield self._shaped(mode, data)
            if resting and self._heard.empty():
                return
            mark = await self._next(mark)

    async def _next(self, mark: int) -> int:
        poll = self._worker.settings.poll_seconds
        news = asyncio.ensure_future(self._worker.store.wait(self._run_id, mark, poll))
        if not {"custom", "tokens"} & set(self._modes):
            return await news
        heard = asyncio.ensure_future(self._heard.get())
        try:
            await asyncio.wait((news, heard), return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                self._heard.put_nowait(heard.result())
            return news.result() if news.done() else mark
        finally:
            heard.cancel()
            news.cancel()

    def _shaped(self, mode: str, data: Any) -> Any:
        return data if self._single else (mode, data)

    def _read(self, event: Event, row: RunRow) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        payload: Payload = event.payload
        if "events" in self._modes:
            found.append(("events", event))
        if isinstance(payload, NodeFinished) and "updates" in self._modes:
            found.append(("updates", {payload.node: codec.decode(payload.update)}))
        if "values" in self._modes:
            found += self._fold(event, row)
        return found

    def _fold(self, event: Event, row: RunRow) -> list[tuple[str, Any]]:
        payload = event.payload
        if isinstance(payload, RunStarted):
            self._position = rebuild(self._graph_of(row), [event])
        elif isinstance(payload, NodeFinished | StateUpdated) and self._position is not None:
            self._position = replayed(self._position, event)
        else:
            return []
        assert self._position is not None
        return [("values", dict(self._position.values()))]


def replayed(position: Position, event: Event) -> Position:
    """Move a position by one more event."""
    payload = event.payload
    if isinstance(payload, NodeFinished):
        position.finish(event.activation or "", codec.decode(payload.update), unpack_route(payload.route))
    elif isinstance(payload, StateUpdated):
        position.external(f"@{event.seq}", codec.decode(payload.update))
    return position


async def news(store: Store, worker: Worker, run_id: str, ending: asyncio.Future[Ending], mark: int) -> int:
    """Wait until this process sees a run rest; or, if others run it, until something is new about it.

    `mark` is what the last call returned, at first 0. May return for nothing.
    """
    seconds = worker.settings.poll_seconds
    if worker.runs(run_id):
        await asyncio.wait((ending,), timeout=seconds)
        return mark
    told = asyncio.ensure_future(store.wait(run_id, mark, seconds))
    try:
        await asyncio.wait((ending, told), return_when=asyncio.FIRST_COMPLETED)
        return told.result() if told.done() else mark
    finally:
        told.cancel()
