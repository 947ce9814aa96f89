"""Tasks that do nothing, through one worker: `python -m bench.task_peers NAME enqueue|work DSN COUNT SLOTS`.

`work` ends when COUNT tasks have begun, and prints the seconds from the first to the last. Of Celery there is only
`enqueue` here; its own command runs the worker.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any


class Counter:
    """Counts tasks; `done` is set at the last one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.times: list[float] = []
        self.done = asyncio.Event()

    def add(self) -> None:
        self.times.append(time.time())
        if len(self.times) == self.total:
            self.done.set()

    def seconds(self) -> float:
        return self.times[-1] - self.times[0]


# -- Treadle -----------------------------------------------------------------------------------------------------------


def treadle_graph(counter: Counter | None) -> Any:
    """A run of one task."""
    from treadle.graph.build import Graph
    from treadle.graph.spec import END, START

    async def noop(state: Any) -> None:
        if counter is not None:
            counter.add()

    return Graph("noop").add_node("noop", noop).add_edge(START, "noop").add_edge("noop", END)


async def treadle_enqueue(dsn: str, count: int, slots: int) -> None:
    from treadle.engine.orchestrator import Orchestrator
    from treadle.engine.results import WorkerSettings
    from treadle.stores.postgres import PostgresStore

    idle = WorkerSettings(capacity=0, serve=False, heartbeat=False)
    graph = treadle_graph(None).compile()
    async with Orchestrator(PostgresStore(dsn), settings=idle) as orchestrator:
        for first in range(0, count, 500):
            more = min(500, count - first)
            await asyncio.gather(*(orchestrator.start(graph, {}) for _ in range(more)))


async def treadle_work(dsn: str, count: int, slots: int) -> float:
    from treadle.engine.results import WorkerSettings
    from treadle.engine.worker import Worker
    from treadle.stores.postgres import PostgresStore

    counter = Counter(count)
    store = PostgresStore(dsn)
    await store.open()
    worker = Worker(store, settings=WorkerSettings(capacity=slots))
    worker.add_graph(treadle_graph(counter).compile())
    await worker.start()
    await counter.done.wait()
    await worker.drain()
    await worker.stop()
    await store.close()
    return counter.seconds()


# -- procrastinate -----------------------------------------------------------------------------------------------------


def procrastinate_app(dsn: str, counter: Counter | None) -> tuple[Any, Any]:
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=dsn, max_size=20))

    @app.task(name="noop")
    async def noop() -> None:
        if counter is not None:
            counter.add()

    return app, noop


async def procrastinate_enqueue(dsn: str, count: int, slots: int) -> None:
    app, noop = procrastinate_app(dsn, None)
    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await noop.batch_defer_async(*({} for _ in range(count)))


async def procrastinate_work(dsn: str, count: int, slots: int) -> float:
    counter = Counter(count)
    app, _ = procrastinate_app(dsn, counter)
    async with app.open_async():
        working = asyncio.ensure_future(app.run_worker_async(concurrency=slots, install_signal_handlers=False))
        await counter.done.wait()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return counter.seconds()


# -- pgqueuer ----------------------------------------------------------------------------------------------------------


async def pgqueuer_enqueue(dsn: str, count: int, slots: int) -> None:
    import asyncpg
    from pgqueuer import Queries

    connection = await asyncpg.connect(dsn)
    queries = Queries.from_asyncpg_connection(connection)
    if not await queries.schema_is_installed():
        await queries.install()
    await queries.enqueue(["noop"] * count, [None] * count, [0] * count)
    await connection.close()


async def pgqueuer_work(dsn: str, count: int, slots: int) -> float:
    import asyncpg
    from pgqueuer import PgQueuer

    counter = Counter(count)
    async with asyncpg.create_pool(dsn, min_size=4, max_size=10) as pool:
        queue = PgQueuer.from_asyncpg_pool(pool)

        @queue.entrypoint("noop")
        async def noop(job: Any) -> None:
            counter.add()

        working = asyncio.ensure_future(queue.run(batch_size=slots // 2, max_concurrent_tasks=slots))
        await counter.done.wait()
        queue.shutdown.set()
        await asyncio.wait([working], timeout=10)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return counter.seconds()


# -- Celery ------------------------------------------------------------------------------------------------------------


async def celery_enqueue(dsn: str, count: int, slots: int) -> None:
    from bench.celery_app import noop

    for _ in range(count):
        noop.delay(count)


CONTENDERS: dict[str, tuple[Any, Any]] = {
    "treadle": (treadle_enqueue, treadle_work),
    "procrastinate": (procrastinate_enqueue, procrastinate_work),
    "pgqueuer": (pgqueuer_enqueue, pgqueuer_work),
    "celery": (celery_enqueue, None),
}


async def main(name: str, what: str, dsn: str, count: str, slots: str) -> None:
    enqueue, work = CONTENDERS[name]
    began = time.perf_counter()
    if what == "enqueue":
        await enqueue(dsn, int(count), int(slots))
        print(time.perf_counter() - began)
    else:
        print(await work(dsn, int(count), int(slots)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
