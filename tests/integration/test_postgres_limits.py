"""Limits of queues over worker processes on one PostgreSQL, one of which is killed: what the log says of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle.domain.events import Event, NodeFinished, TaskClaimed, TaskReleased
from treadle.domain.limit import Limit
from treadle.ports.store import Store
from treadle.testing.postgres import Server, server_or_skip, wheel_binaries

pytest.importorskip("asyncpg")

from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.stores.postgres import PostgresStore

SRC = Path(__file__).parents[2] / "src"
KEYS = 5
RUNS, TASKS = 4, 16
LIMIT = Limit("mail", concurrency=4, per_key=1, rate=8, rate_seconds=0.5)
GRAPH = f"""
import asyncio
from treadle import Graph, Send

async def send(state):
    await asyncio.sleep(0.02 + state["n"] % 3 * 0.03)
    return {{}}

graph = Graph("mail").add_node("plan", lambda state: {{}})
graph.add_node("send", send, queue="mail", key=lambda state: state["n"] % {KEYS})
graph.add_conditional_edge("plan", lambda state: [Send("send", {{"n": n}}) for n in range({TASKS})], ["send"])
graph.set_entry_point("plan").set_finish_point("send")
"""


class Workers:
    """Worker processes; what is left of them is killed in the end."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "mailing.py").write_text(GRAPH)
        self._folder = folder
        self._command = [
            sys.executable, "-m", "treadle", "worker", "--import", "mailing", "--queues", "default,mail",
            "--capacity", "6", "--lease", "2", "--store", url,
        ]  # fmt: skip
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(SRC), "HOME": str(self._folder)}
        process = subprocess.Popen(
            self._command, cwd=self._folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.running.append(process)
        return process

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def server() -> Server:
    return server_or_skip(wheel_binaries)


@pytest.fixture
def workers(tmp_path: Path, server: Server) -> Iterator[Workers]:
    workers = Workers(tmp_path, f"{server.dsn()}&schema=limits_of_processes")
    yield workers
    workers.end()


@pytest.fixture
async def planner(workers: Workers, server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Orchestrator]:
    """Starts runs and runs nothing itself."""
    monkeypatch.syspath_prepend(str(workers._folder))
    store = PostgresStore(server.dsn(), schema="limits_of_processes")
    async with Orchestrator(store, settings=WorkerSettings(serve=False, heartbeat=False, capacity=0)) as planner:
        yield planner


async def mails(store: Store, run_ids: list[str]) -> list[Event]:
    """What the logs say of tasks of the limited queue, in the order of the database's clock."""
    events = [event for run_id in run_ids for event in await store.events(run_id)]
    return sorted((e for e in events if (e.activation or "").startswith("send")), key=lambda event: event.at)


async def test_no_limit_is_exceeded_though_workers_die(workers: Workers, planner: Orchestrator) -> None:
    import mailing  # type: ignore[import-not-found]

    await planner.store.set_limit(LIMIT)
    pids = [workers.start().pid for _ in range(3)]
    run_ids = [await planner.start(mailing.graph, {}) for _ in range(RUNS)]
    mark = 0
    while not (
        claims := [e.payload for e in await mails(planner.store, run_ids) if isinstance(e.payload, TaskClaimed)]
    ):
        mark = await planner.store.wait(run_ids[0], mark, 1)
    os.kill(next(pid for pid in pids if f"-{pid}-" in claims[-1].worker), signal.SIGKILL)
    workers.start()
    for run_id in run_ids:
        await planner.wait(run_id, timeout=60)
    told = await mails(planner.store, run_ids)
    assert most_at_once(told) == (LIMIT.concurrency, LIMIT.per_key)
    starts = [event.at for event in told if isinstance(event.payload, TaskClaimed)]
    assert len(starts) >= RUNS * TASKS
    assert LIMIT.rate is not None
    assert all(b - a >= LIMIT.rate_seconds for a, b in zip(starts, starts[LIMIT.rate :], strict=False))
    assert starts[-1] - starts[0] < 20  # and the rate is made use of: 64 tasks take 4 s of it


def most_at_once(told: list[Event]) -> tuple[int, int]:
    """The largest number of tasks, and of tasks with one key, that were leased at the same time."""
    most = most_of_key = 0
    held: dict[Any, int] = {}
    for event in told:
        task = (event.run_id, event.activation)
        if isinstance(event.payload, TaskClaimed):
            held[task] = int(str(event.activation).rsplit(":", 1)[1].rstrip("]")) % KEYS
        elif isinstance(event.payload, NodeFinished | TaskReleased):
            held.pop(task, None)
        most = max(most, len(held))
        most_of_key = max(most_of_key, max(Counter(held.values()).values(), default=0))
    return most, most_of_key
