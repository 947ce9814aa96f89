"""The composition root: from settings to stores, orchestrators and services. The only place that names adapters."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from treadle.crews import Crews, prepare_home
from treadle.domain.task import RunRow
from treadle.engine.orchestrator import AnyGraph
from treadle.engine.orchestrator import Orchestrator as EngineOrchestrator
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.engine.worker import Worker as EngineWorker
from treadle.errors import ConfigError, UnknownName, UsageError
from treadle.graph.build import as_compiled
from treadle.graph.marks import is_cpu_bound
from treadle.services.runs import Runs
from treadle.settings import Settings, child_environment, without_password

if TYPE_CHECKING:
    from treadle.domain.inventory import Inventory, Service
    from treadle.ports.model_server import ModelServer
    from treadle.ports.store import SchemaStatus, Store
    from treadle.services.builds import Builds
    from treadle.services.plans import Plans
    from treadle.services.stories import Stories

T = TypeVar("T")
POSTGRES = ("postgresql://", "postgres://")
StoreLike = Any
"""A store, the URL of one, or None for a store in memory."""


def open_store(url: str | Path | None = None) -> Store:
    """Make the store that a URL names. It connects on first use.

    `memory:` (or None), `sqlite:///relative.db`, `sqlite:////absolute.db`, the path of a SQLite file, or
    `postgresql://user@host/database`.

    Raises:
        ConfigError: No store has such a URL.
    """
    text = str(url or "memory:")
    if text in ("memory", "memory:", "memory://"):
        from treadle.stores.memory import MemoryStore

        return MemoryStore()
    if text.startswith(POSTGRES):
        return _postgres(text)
    return _sqlite(store_file(text))


def model_server(service: Service, inventory: Inventory, settings: Settings) -> ModelServer | None:
    """Make the driver of a service that loads and unloads models; None if this service does not."""
    from treadle.models.drivers import KINDS, server_of
    from treadle.models.inventory.keys import key_of

    if service.kind not in KINDS:
        return None
    return server_of(service, inventory, settings.model, key=key_of(service, settings))


def store_file(url: str) -> Path:
    """The file behind a store's URL. Raises ConfigError if it names none."""
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        return Path(url).expanduser()
    if scheme != "sqlite":
        known = ("memory", "sqlite", "postgresql")
        near = UnknownName("store", scheme, known).hint
        raise ConfigError(
            f"There is no store for {url!r}; nothing was opened.", hint=f"{near} Use sqlite:///PATH or postgresql://..."
        )
    path = rest.removeprefix("//").removeprefix("/") if rest.startswith("///") else rest
    if not path:
        raise ConfigError(f"The store URL {url!r} names no file.", hint="Write sqlite:///PATH.")
    return Path(path).expanduser()


def _sqlite(path: Path) -> Store:
    from treadle.stores.sqlite.store import SqliteStore

    return SqliteStore(path)


def _postgres(url: str) -> Store:
    try:
        from treadle.stores.postgres import PostgresStore
    except ImportError as error:
        raise ConfigError(
            f"The PostgreSQL store needs {error.name}, which is not installed; nothing was opened.",
            hint="Run: pip install 'treadle[postgres]'",
        ) from None
    return PostgresStore(url)


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine from code that is not async, for scripts."""
    return asyncio.run(work)


class Orchestrator(EngineOrchestrator):
    """Starts and watches runs; see `treadle.engine.orchestrator.Orchestrator` for what it can do.

    Args:
        registry: Functions for nodes that name only a node type.
        store: A store or its URL; by default one in memory, which is gone with the process.
    """

    def __init__(
        self, registry: NodeRegistry | None = None, store: StoreLike = None, *, settings: WorkerSettings | None = None
    ) -> None:
        self._url = store if isinstance(store, str) else None
        opened: Store = open_store(store) if store is None or isinstance(store, str | Path) else store
        lent = _Lent(registry or NodeRegistry(), lambda: _started_on(opened, self._url))
        super().__init__(opened, lent, settings=settings)


class Worker:
    """Runs nodes of given types, several at once, for orchestrators on the same store.

    It lends its functions to orchestrators in this process that share its store, and takes what orchestrators elsewhere
    offer there to workers of its node types. Given a graph (`add_graph`), it also plans, and takes any task of it.
    """

    def __init__(
        self,
        node_types: Collection[str] | None = None,
        capacity: int = 4,
        *,
        store: StoreLike = None,
        queues: tuple[str, ...] = ("default",),
        worker_id: str | None = None,
        lease_seconds: float = 10.0,
    ) -> None:
        """`node_types`: what it may run; None means all that is registered. `capacity`: nodes run at once."""
        if capacity < 1:
            raise UsageError(f"A worker's capacity is {capacity}; it needs at least 1.")
        self.node_types = None if node_types is None else frozenset(node_types)
        self.capacity = capacity
        self.registry = NodeRegistry()
        self._owns_store = store is None or isinstance(store, str | Path)
        self.store: Store = open_store(store) if self._owns_store else store
        self.url = store if isinstance(store, str) else None
        self._settings = WorkerSettings(capacity=capacity, queues=queues, lease_seconds=lease_seconds, where="known")
        self._name = worker_id
        self._graphs: list[AnyGraph] = []
        self._running: EngineWorker | None = None
        self._slots = asyncio.Semaphore(capacity)
        self._threads = threading.BoundedSemaphore(capacity)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def register_node(self, node_type: str, function: Callable[..., Any]) -> None:
        """Give the function for a node type. Raises UnknownName if this worker is not for that type."""
        if self.node_types is not None and node_type not in self.node_types:
            raise UnknownName("node type of this worker", node_type, self.node_types)
        self.registry.register(node_type, self._bounded(function))

    def register(self, node_type: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Do as `register_node`, as a decorator."""

        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            self.register_node(node_type, function)
            return function

        return keep

    def add_graph(self, graph: AnyGraph) -> None:
        """Let it take tasks of this graph from the store, whoever started the run."""
        self._graphs.append(graph)
        if self._running is not None:
            self._running.add_graph(as_compiled(graph))

    async def start(self) -> None:
        """Begin to work; returns at once. Idempotent.

        Raises:
            UsageError: A node type of this worker has no function.
        """
        missing = sorted(name for name in self.node_types or () if name not in self.registry)
        if missing:
            raise UsageError(
                f"This worker has no function for {', '.join(map(repr, missing))}; it was not started.",
                hint="Call register_node(name, function) first.",
            )
        if self._running is None:
            await self.store.open()
            self._running = EngineWorker(self.store, registry=self.registry, settings=self._settings, name=self._name)
            for graph in self._graphs:
                self._running.add_graph(as_compiled(graph))
            await self._running.start()
            _STARTED.add(self)

    async def stop(self) -> None:
        """Claim no more, give back what runs, and lend nothing more. Idempotent."""
        _STARTED.discard(self)
        running, self._running = self._running, None
        if running is not None:
            await running.stop()
            if self._owns_store:
                await self.store.close()

    def _bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if is_cpu_bound(function):
            return function  # bounded by the processes
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call(*args: Any) -> Any:
                async with self._slots:
                    return await function(*args)

            return call

        @functools.wraps(function)
        def call_in_thread(*args: Any) -> Any:
            with self._threads:
                return function(*args)

        return call_in_thread


_STARTED: weakref.WeakSet[Worker] = weakref.WeakSet()


def _started_on(store: Store, url: str | None) -> list[Worker]:
    return [worker for worker in _STARTED if worker.store is store or (url is not None and worker.url == url)]


class _Lent(NodeRegistry):
    """A registry that also finds what started workers on the same store lend."""

    def __init__(self, own: NodeRegistry, workers: Callable[[], list[Worker]]) -> None:
        super().__init__()
        self._own = own
        self._workers = workers

    def register(self, node_type: str, function: Callable[..., Any] | None = None) -> Any:
        return self._own.register(node_type, function)

    def find(self, node_type: str) -> Callable[..., Any]:
        lenders = [self._own, *(worker.registry for worker in self._workers())]
        for registry in lenders:
            if node_type in registry:
                return registry.find(node_type)
        return self._own.find(node_type)

    def __contains__(self, node_type: object) -> bool:
        return node_type in self._own or any(node_type in worker.registry for worker in self._workers())

    def __iter__(self) -> Iterator[str]:
        return iter({name for registry in (self._own, *(w.registry for w in self._workers())) for name in registry})


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What `treadle db status` shows."""

    url: str
    exists: bool
    bytes: int
    """On this machine's disk; 0 where it is kept by a server."""
    runs: int
    by_status: Mapping[str, int]
    workers: int
    """Alive."""
    older_workers: int
    """Of an earlier release, which keep `post` migrations waiting."""
    schema: SchemaStatus


class Application:
    """What the faces work with: settings, an orchestrator, and the services over it. Usable as `async with`."""

    def __init__(self, settings: Settings, orchestrator: EngineOrchestrator) -> None:
        self.settings = settings
        self.orchestrator = orchestrator
        self.runs = Runs(orchestrator.store)
        self.crews = Crews(
            settings, orchestrator.store, orchestrator.worker.name, shared=settings.store.url.startswith(POSTGRES)
        )

    async def __aenter__(self) -> Self:
        await self.orchestrator.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.orchestrator.worker.stop()
        if "builds" in self.__dict__:
            await self.builds.close()
        await self.orchestrator.close()

    @functools.cached_property
    def stories(self) -> Stories:
        from treadle.services.stories import Stories

        return Stories(self.orchestrator.store, lambda run_id: self.crews.snapshots(self.home, run_id))

    @property
    def home(self) -> Path:
        """The project's `.treadle` folder."""
        return self.settings.project / ".treadle"

    async def store_status(self) -> StoreStatus:
        """Where runs are kept, and how many."""
        url = self.settings.store.url
        file = store_file(url) if url.startswith("sqlite") else None
        size = sum(part.stat().st_size for part in file.parent.glob(file.name + "*")) if file else 0
        rows = await self.orchestrator.store.runs(limit=100_000)
        by_status = dict(sorted(Counter(row.status.value for row in rows).items()))
        alive = [row for row in await self.orchestrator.store.workers() if row.alive]
        schema = await self.orchestrator.store.schema()
        older = sum(row.knows < schema.knows for row in alive)
        exists = file is None or file.exists()
        return StoreStatus(without_password(url), exists, size, len(rows), by_status, len(alive), older, schema)

    async def prune(self, *, older_than_seconds: float, keep: int = 0) -> list[str]:
        """Remove runs that ended long ago, and what builds among them left on this machine; returns their ids."""
        from treadle.engine import retention
        from treadle.workspace import remove_leavings

        store = self.orchestrator.store
        removed = await retention.prune(store, older_than_seconds=older_than_seconds, keep=keep)
        if removed:
            left = await store.runs(limit=1_000_000)
            origins = {row.labels.get("fork_of") for row in left}  # a fork has the trees of the run it came from
            gone = [run_id for run_id in removed if run_id not in origins]
            await remove_leavings(self.home, gone, {row.run_id for row in left})
        return removed

    async def vacuum(self) -> None:
        """Give the space of removed runs back to the disk: in the store, and in the snapshots of builds."""
        from treadle.workspace import collect_garbage

        await self.orchestrator.store.vacuum()
        await collect_garbage(self.home)

    @functools.cached_property
    def builds(self) -> Builds:
        from treadle.services.builds import Builds

        return Builds(self.settings, self.orchestrator, self.crews)

    @functools.cached_property
    def plans(self) -> Plans:
        from treadle.services.plans import Plans

        return Plans(self.settings, self.orchestrator, self.crews)

    async def fork(self, row: RunRow, fork_id: str, event: int | None, changes: Mapping[str, Any]) -> str:
        """Fork a run; its graph must be known here, unless it is a build. Returns the new run's id."""
        if row.labels.get("kind") == "build":
            return await self.builds.fork(row, fork_id, event, changes)
        options = RunOptions(run_id=fork_id, labels={**row.labels, "fork_of": row.run_id})
        return await self.orchestrator.fork(row.run_id, event, changes, options=options)


_IDLE = WorkerSettings(capacity=0, serve=False, heartbeat=False, poll_seconds=0.5)


def connect(
    settings: Settings,
    *,
    serving: bool = True,
    registry: NodeRegistry | None = None,
    worker: WorkerSettings | None = None,
) -> Application:
    """Put an application together over the configured store.

    Args:
        serving: It may run tasks. Otherwise it only looks and changes, and creates no store where none is.
        worker: How tasks are run; None runs none.
    """
    url = settings.store.url
    if serving:
        if url.startswith("sqlite") and store_file(url).absolute().parent == settings.project / ".treadle":
            prepare_home(settings)
    elif url.startswith("sqlite") and not store_file(url).exists():
        url = "memory:"
    return Application(settings, Orchestrator(registry, url, settings=worker if serving and worker else _IDLE))


def go_on_in_background(settings: Settings, run_id: str) -> None:
    """Start a process of its own that goes on with a run; what it says goes to a file of the project's `.treadle`."""
    folder = prepare_home(settings) / "logs"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "treadle", "resume", run_id]
    # Not in the arguments, which all users of the machine can read: a URL may hold a password.
    place = {"TREADLE_STORE_URL": settings.store.url}
    with (folder / f"{run_id}.log").open("ab") as out:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=Path.cwd(),
            env=child_environment({"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **place}),
        )
