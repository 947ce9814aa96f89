"""Many workers in one process: `python -m tests.faults.crowd URL --workers 25`. For herds, and for doubled calls."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import load

from treadle.engine.results import WorkerSettings
from treadle.engine.worker import Worker
from treadle.errors import TreadleError
from treadle.stores.postgres import PostgresStore
from treadle.testing.faults import FaultyStore

WRITES = frozenset({"claim", "commit", "record", "release", "reserve", "sweep", "announce"})


class Doubling:
    """A fault for `FaultyStore`: each write is delivered again, up to four times, when others have come between."""

    def __init__(self) -> None:
        self._random = Random(os.getpid())
        self._behind: set[asyncio.Task[None]] = set()
        self.again = 0

    async def __call__(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        answer = await call()
        for _ in range(self._random.randint(1, 4) if name in WRITES and name != "claim" else 0):
            task = asyncio.ensure_future(self._later(call))
            self._behind.add(task)
            task.add_done_callback(self._behind.discard)
        return answer

    async def _later(self, call: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(self._random.choice([0.0, 0.01, 0.2, 1.0]))
        try:
            await call()
        except TreadleError:
            pass  # whoever made it first has had its answer
        self.again += 1


async def main(url: str, count: int, capacity: int, twice: bool) -> None:
    settings = WorkerSettings(capacity=capacity, lease_seconds=2.0)
    doubling = Doubling()
    workers = []
    for _ in range(count):
        store: Any = PostgresStore(url)
        await store.open()
        worker = Worker(FaultyStore(store, doubling) if twice else store, settings=settings)  # type: ignore[arg-type]
        for graph in load.GRAPHS:
            worker.add_graph(graph.compile())
        await worker.start()
        workers.append(worker)
    print(f"Worker {workers[0].name} takes tasks of all graphs.", file=sys.stderr, flush=True)
    if twice:
        await _tell(doubling)
    await asyncio.Event().wait()


async def _tell(doubling: Doubling) -> None:
    """Keep the count where it outlives us."""
    place = Path(os.environ[load.LEDGER]).with_name("twice")
    while True:
        before = doubling.again
        await asyncio.sleep(0.2)
        with place.open("a") as out:
            out.write(f"twice - - 0 {os.getpid()} {doubling.again - before}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=4)
    parser.add_argument("--twice", action="store_true")
    given = parser.parse_args()
    asyncio.run(main(given.url, given.workers, given.capacity, given.twice))
