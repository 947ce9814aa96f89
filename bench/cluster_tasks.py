"""A backlog of tasks that do nothing, worked off by one worker with twenty slots, side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.engine_measure import Rates, Row, versus
from bench.servers import fresh_database, postgres, valkey

POOLS = ("threads", "prefork")
"""Of Celery."""
SECONDS = 300


def tasks(rounds: int, *, count: int = 4000, slots: int = 20) -> list[Row]:
    with postgres() as server, valkey() as redis, tempfile.TemporaryDirectory() as folder:
        work: dict[str, Callable[[], float]] = {}
        for name in ("treadle", "procrastinate", "pgqueuer"):
            work[name] = _in_postgres(name, fresh_database(server, name), count, slots)
        for pool in POOLS:
            work[f"Celery + Redis, {pool}"] = _in_celery(pool, redis, Path(folder), count, slots)
        rates: Rates = {name: [] for name in work}
        names = list(work)
        for call in work.values():
            call()
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                rates[name].append((count - 1) / work[name]())
    title = f"{count:,} no-op tasks, one worker, {slots} slots"
    slow = ["procrastinate", *(f"Celery + Redis, {pool}" for pool in POOLS)]
    first = versus(title, "tasks/s", rates, {name: name for name in slow}, least=5, aim=10)
    second = versus(f"{title}: pgqueuer", "tasks/s", rates, {"pgqueuer": "pgqueuer"}, least=1.0, aim=1.5)
    return [first, second]


def _in_postgres(name: str, dsn: str, count: int, slots: int) -> Callable[[], float]:
    def call() -> float:
        said = [run(name, what, dsn, count, slots) for what in ("enqueue", "work")]
        return float(said[1])

    return call


def run(name: str, what: str, dsn: str, count: int, slots: int, **env: str) -> str:
    command = [sys.executable, "-m", "bench.task_peers", name, what, dsn, str(count), str(slots)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _in_celery(pool: str, redis: str, folder: Path, count: int, slots: int) -> Callable[[], float]:
    def call() -> float:
        out = folder / "seconds"
        out.unlink(missing_ok=True)
        run("celery", "enqueue", "-", count, slots, BENCH_REDIS=redis)
        with celery_worker(redis, pool, slots, BENCH_OUT=str(out)):
            give_up = time.monotonic() + SECONDS
            while not out.exists():
                assert time.monotonic() < give_up, "Celery did not come to an end"
                time.sleep(0.02)
        return float(out.read_text())

    return call


@contextmanager
def celery_worker(redis: str, pool: str, slots: int, **env: str) -> Iterator[None]:
    """A worker of Celery's own, as shipped but for the chatter between workers."""
    command = [sys.executable, "-m", "celery", "-A", "bench.celery_app", "worker", "-P", pool, "-c", str(slots)]
    command += ["-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    quiet = subprocess.DEVNULL
    worker = subprocess.Popen(
        command, env={**os.environ, "BENCH_REDIS": redis, **env}, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(worker.pid, 9)
        worker.wait()
