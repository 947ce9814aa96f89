"""Durable chains of ten steps that do nothing, each library in its own process: `python -m bench.chain_peers NAME DSN`.

It reads lines `WHAT COUNT` (`one`: so many runs in turn; `many`: so many at once) and answers each with the seconds
that it took and the processor seconds that it used.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

STEPS = 10
Chain = Callable[[], Awaitable[Any]]


@asynccontextmanager
async def treadle(dsn: str) -> AsyncIterator[Chain]:
    from bench.engine_graphs import sequential, treadle_kit
    from treadle.engine.orchestrator import Orchestrator
    from treadle.stores.postgres import PostgresStore

    graph = sequential(treadle_kit(), STEPS)
    async with Orchestrator(PostgresStore(dsn)) as orchestrator:
        yield lambda: orchestrator.execute(graph, {"messages": []})


@asynccontextmanager
async def langgraph(dsn: str, *, pool: bool) -> AsyncIterator[Chain]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    from bench.engine_graphs import langgraph_kit, sequential

    @asynccontextmanager
    async def saver() -> AsyncIterator[Any]:
        if not pool:
            async with AsyncPostgresSaver.from_conn_string(dsn) as made:
                yield made
            return
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(dsn, min_size=20, max_size=20, kwargs=options, open=False) as connections:
            yield AsyncPostgresSaver(connections)  # type: ignore[arg-type]

    async with saver() as saving:
        await saving.setup()
        graph = sequential(langgraph_kit(), STEPS).compile(checkpointer=saving)

        async def run() -> None:
            config = {"recursion_limit": 100, "configurable": {"thread_id": uuid.uuid4().hex}}
            await graph.ainvoke({"messages": []}, config, durability="sync")

        yield run


@asynccontextmanager
async def dbos(dsn: str) -> AsyncIterator[Chain]:
    from dbos import DBOS

    url = dsn.replace("postgresql://", "postgresql+psycopg://")
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})

    @DBOS.step()
    async def step(state: dict[str, Any]) -> None:
        return None

    @DBOS.workflow()
    async def chain(state: dict[str, Any]) -> None:
        for _ in range(STEPS):
            await step(state)

    DBOS.launch()
    try:
        yield lambda: chain({"messages": []})
    finally:
        DBOS.destroy()


CONTENDERS = {
    "treadle": treadle,
    "LangGraph, one connection": lambda dsn: langgraph(dsn, pool=False),
    "LangGraph, pool of 20": lambda dsn: langgraph(dsn, pool=True),
    "DBOS": dbos,
}


async def serve(name: str, dsn: str) -> None:
    async with CONTENDERS[name](dsn) as chain:  # type: ignore[operator]
        await chain()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, count = line.split()
            began, used = time.perf_counter(), time.process_time()
            if what == "one":
                for _ in range(int(count)):
                    await chain()
            else:
                await asyncio.gather(*(chain() for _ in range(int(count))))
            print(time.perf_counter() - began, time.process_time() - used, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:3]))
