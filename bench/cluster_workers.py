"""Tasks a second with one, two and four worker processes on one PostgreSQL, and what the machine does meanwhile.

`python -m bench.cluster_workers DSN SLOTS` is one such process: it works until SIGTERM, then says when its tasks began.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

from bench.engine_measure import Row, median
from bench.servers import fresh_database, postgres
from bench.task_peers import Counter, treadle_enqueue, treadle_graph

PROCESSES = (1, 2, 4)


def workers(rounds: int, *, count: int = 6000, slots: int = 20) -> list[Row]:
    rates: dict[str, list[float]] = {str(number): [] for number in PROCESSES}
    shares: dict[str, list[float]] = {}
    with postgres() as server:
        for turn in range(rounds):
            for number in PROCESSES[turn % 3 :] + PROCESSES[: turn % 3]:
                rate, told = _measure(fresh_database(server, f"w{number}"), number, count, slots)
                rates[str(number)].append(rate)
                for what, share in told.items():
                    shares.setdefault(f"{number}: {what}", []).append(share)
    best = max(rates, key=lambda name: median(rates[name]))
    value = 100 * median(rates["4"]) / median(rates[best])
    others: dict[str, float | str] = {f"{name} processes, tasks/s": median(values) for name, values in rates.items()}
    others |= {what: median(values) for what, values in shares.items() if what.startswith(("1", "4"))}
    return [
        Row(
            "no-op tasks, 1, 2 and 4 worker processes", "tasks/s", median(rates["4"]), None, value,
            "% of the best, with 4", 90, 95, others=others, raw=rates,
        )
    ]  # fmt: skip


def _measure(dsn: str, number: int, count: int, slots: int) -> tuple[float, dict[str, float]]:
    """Tasks a second while all processes were at work, and where the processor time went."""
    asyncio.run(treadle_enqueue(dsn, count, slots))
    command = [sys.executable, "-m", "bench.cluster_workers", dsn, str(slots)]
    busy, began = _busy_seconds(), time.time()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    asyncio.run(_drained(dsn))
    busy, wall = _busy_seconds() - busy, time.time() - began
    for process in running:
        process.send_signal(signal.SIGTERM)
    told = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    first = max(one["times"][0] for one in told)
    last = min(one["times"][-1] for one in told)
    inside = sum(first <= at <= last for one in told for at in one["times"])
    cores = os.cpu_count() or 1
    used = sum(one["cpu"] for one in told)
    return inside / (last - first), {
        "processors busy, %": 100 * busy / (wall * cores),
        "of it the workers, %": 100 * used / max(busy, 1e-9),
    }


async def _drained(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    while await connection.fetchval("SELECT count(*) FROM treadle.runs WHERE NOT ended"):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await connection.close()


def _busy_seconds() -> float:
    """Processor seconds that the machine has spent on anything."""
    user, nice, system, *_ = map(float, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


async def _work(dsn: str, slots: int) -> None:
    from treadle.engine.results import WorkerSettings
    from treadle.engine.worker import Worker
    from treadle.stores.postgres import PostgresStore

    counter, stop = Counter(0), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = PostgresStore(dsn)
    await store.open()
    worker = Worker(store, settings=WorkerSettings(capacity=slots))
    worker.add_graph(treadle_graph(counter).compile())
    await worker.start()
    await stop.wait()
    await worker.stop()
    await store.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"times": counter.times, "cpu": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], int(sys.argv[2])))
