"""What a worker knows of the runs that it is at work on: a view of each, kept for as long as a slot uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from treadle.domain.task import Claim
from treadle.engine import advance
from treadle.engine.advance import View
from treadle.engine.results import WorkerSettings
from treadle.errors import NodeError, Unreachable
from treadle.graph.fold import rebuild
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import Store


class Views:
    """Views by run, read from the log where they are missing or behind."""

    def __init__(self, store: Store, graphs: Mapping[str, CompiledGraph], settings: WorkerSettings) -> None:
        self._store = store
        self._graphs = graphs
        self._settings = settings
        self._views: dict[str, View] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}
        """Run -> slots at work on it."""

    def __contains__(self, run_id: str) -> bool:
        """Whether any slot is at work on the run."""
        return run_id in self._users

    def enter(self, run_id: str) -> None:
        """A slot begins to work on a run."""
        self._users[run_id] = self._users.get(run_id, 0) + 1

    def leave(self, run_id: str) -> None:
        """A slot has done with a run; nothing of it is kept after the last one."""
        self._users[run_id] -= 1
        if not self._users[run_id]:
            del self._users[run_id]
            self._views.pop(run_id, None)
            self._loading.pop(run_id, None)

    def keep(self, run_id: str, view: View) -> None:
        self._views[run_id] = view

    def forget(self, run_id: str, view: View | None = None) -> None:
        """Read the log again before planning on; with `view`, unless another has taken its place."""
        if view is None or self._views.get(run_id) is view:
            self._views.pop(run_id, None)

    def fresh(self, claim: Claim) -> View | None:
        """A view of a run that nothing has happened in yet, if the claim brought its first event."""
        if claim.start is None or claim.run_id in self._views or claim.graph not in self._graphs:
            return None
        view = self._views[claim.run_id] = View(rebuild(self._graphs[claim.graph], [claim.start]), 1)
        return view

    async def knowing(self, claim: Claim) -> View:
        """A view that knows the claimed activation; if its lease is lost, perhaps one that does not.

        Raises:
            Unreachable: The store was away for as long as a lease lasts.
        """
        view = self._views.get(claim.run_id)
        return view if view is not None and claim.activation in view.position.index else await self._load(claim)

    async def _load(self, claim: Claim) -> View:
        """Read a run's log. One slot reads for all that need the same run's."""
        graph = self._graphs.get(claim.graph)
        if graph is None:
            raise NodeError(f"This worker does not know graph {claim.graph!r}.")
        give_up = time.monotonic() + self._settings.lease_seconds
        async with self._loading.setdefault(claim.run_id, asyncio.Lock()):
            known = self._views.get(claim.run_id)
            if known is not None and claim.activation in known.position.index:
                return known
            while True:
                try:
                    view = self._views[claim.run_id] = await advance.load_view(self._store, graph, claim.run_id)
                    return view
                except Unreachable:
                    if time.monotonic() > give_up:
                        raise
                await asyncio.sleep(self._settings.poll_seconds / 10)
