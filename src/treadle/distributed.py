"""The graph library over many machines: an orchestrator that plans, and workers that run nodes, on one store."""

from __future__ import annotations

from collections.abc import Collection

from treadle.app import Orchestrator, Worker
from treadle.engine.lease import RENEWALS
from treadle.engine.results import WorkerSettings
from treadle.errors import UsageError

__all__ = ["DistributedOrchestrator", "DistributedWorker"]


class DistributedOrchestrator(Orchestrator):
    """Starts and plans runs whose nodes are run by workers elsewhere; see `Orchestrator` for what it can do.

    Nodes without a function are offered to any worker of their node type. Nodes with a function go to workers that know
    the graph, which plan on by themselves. Should it die, any holder of the graph goes on with its runs.
    """

    def __init__(
        self, url: str | None = None, *, redis_url: str | None = None, settings: WorkerSettings | None = None
    ) -> None:
        """`url` names a store that the workers reach too, e.g. `postgresql://user@host/database`.

        Raises:
            ConfigError: No store has such a URL.
        """
        super().__init__(store=_shared(url or redis_url), settings=settings or WorkerSettings(where="elsewhere"))

    async def connect(self) -> None:
        """Connect to the store and begin to plan. Idempotent. Raises StoreUnavailable."""
        await self._open()

    async def disconnect(self) -> None:
        """Stop; runs go on in the workers as far as they can plan, or when an orchestrator is back. Idempotent."""
        await self.close()


class DistributedWorker(Worker):
    """Runs nodes of given types for orchestrators on other machines; see `Worker`.

    Given a graph (`add_graph`), it also runs the graph's own functions and plans what follows, without a detour.
    """

    def __init__(
        self,
        url: str | None = None,
        node_types: Collection[str] | None = None,
        capacity: int = 4,
        *,
        heartbeat_interval: float | None = None,
        worker_id: str | None = None,
        queues: tuple[str, ...] = ("default",),
        redis_url: str | None = None,
    ) -> None:
        """`heartbeat_interval`: seconds between renewals; a dead worker's tasks are taken over after three or four.

        Raises:
            ConfigError: No store has such a URL.
            UsageError: A number is out of range.
        """
        if heartbeat_interval is not None and heartbeat_interval <= 0:
            raise UsageError(f"A heartbeat every {heartbeat_interval:g} s cannot be; give seconds above 0.")
        lease_seconds = 10.0 if heartbeat_interval is None else heartbeat_interval * RENEWALS
        super().__init__(
            node_types,
            capacity,
            store=_shared(url or redis_url),
            queues=queues,
            worker_id=worker_id,
            lease_seconds=lease_seconds,
        )


def _shared(url: str | None) -> str:
    if url is None or url.startswith("memory"):
        raise UsageError(
            "Nothing says where the shared store is; nothing was opened.",
            hint="Give a URL that all machines reach, e.g. postgresql://user@host/database.",
        )
    return url
