"""From submitting a task to its start in another process, on a system that is idle, side by side with Celery.

`python -m bench.cluster_latency DSN` is Treadle's worker.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.cluster_tasks import celery_worker
from bench.engine_measure import Row
from bench.servers import fresh_database, postgres, valkey


def latency(rounds: int, *, count: int = 100) -> list[Row]:
    with postgres() as server, valkey() as redis:
        dsn = fresh_database(server, "latency")
        os.environ["BENCH_REDIS"] = redis
        command = [sys.executable, "-m", "bench.cluster_latency", dsn]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
            with celery_worker(redis, "prefork", 2):
                found = asyncio.run(_measure(dsn, rounds, count))
            worker.kill()
    return [
        _row("p50", statistics.median, found, (10.0, 5.0)),
        _row("p99", lambda values: statistics.quantiles(values, n=100)[98], found, (30.0, 15.0)),
    ]


def _row(name: str, of: Any, found: dict[str, list[list[float]]], bounds: tuple[float, float]) -> Row:
    by_round = {who: [1000 * of(values) for values in rounds] for who, rounds in found.items()}
    middle = {who: statistics.median(values) for who, values in by_round.items()}
    mine = by_round["treadle"]
    return Row(
        f"submit to start, idle, {name}", "ms", middle["treadle"], middle["Celery + Redis"], middle["treadle"], "ms",
        *bounds, "less", others={"Celery + Redis, round trip": middle["Celery + Redis, round trip"]},
        spread=(min(mine), max(mine)), raw=by_round,
    )  # fmt: skip


async def _measure(dsn: str, rounds: int, count: int) -> dict[str, list[list[float]]]:
    from bench.celery_app import late
    from treadle.engine.orchestrator import Orchestrator
    from treadle.engine.results import WorkerSettings
    from treadle.stores.postgres import PostgresStore

    found: dict[str, list[list[float]]] = {"treadle": [], "Celery + Redis": [], "Celery + Redis, round trip": []}
    idle = WorkerSettings(capacity=0, serve=False, heartbeat=False)
    graph = late_graph().compile()
    async with Orchestrator(PostgresStore(dsn), settings=idle) as orchestrator:

        async def treadle() -> tuple[float, ...]:
            return ((await orchestrator.execute(graph, {"sent": time.time()}, timeout=30))["late"],)

        async def celery() -> tuple[float, ...]:
            began = time.time()
            said = await asyncio.to_thread(lambda: late.delay(began).get(timeout=30, interval=0.001))
            return said, time.time() - began

        for call in (treadle, celery):
            await _some(call, 10)
        for _ in range(rounds):
            found["treadle"].append([values[0] for values in await _some(treadle, count)])
            both = await _some(celery, count)
            found["Celery + Redis"].append([values[0] for values in both])
            found["Celery + Redis, round trip"].append([values[1] for values in both])
    return found


async def _some(call: Any, count: int) -> Sequence[tuple[float, ...]]:
    values = []
    for _ in range(count):
        await asyncio.sleep(random.uniform(0.02, 0.08))  # everybody has come to rest
        values.append(await call())
    return values


def late_graph() -> Any:
    from treadle.graph.build import Graph
    from treadle.graph.spec import END, START

    async def late(state: Any) -> dict[str, float]:
        return {"late": time.time() - state["sent"]}

    return Graph("late").add_node("late", late).add_edge(START, "late").add_edge("late", END)


async def _work(dsn: str) -> None:
    from treadle.engine.orchestrator import Orchestrator
    from treadle.stores.postgres import PostgresStore

    async with Orchestrator(PostgresStore(dsn)) as orchestrator:
        orchestrator.add_graph(late_graph())
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
