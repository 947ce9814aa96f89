"""What a task costs PostgreSQL and its clients: processor time, write-ahead log, disk. A busy machine hardly shows."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from bench.cluster_chains import Contender
from bench.cluster_tasks import run
from bench.engine_measure import Row, median
from bench.servers import fresh_database, postgres
from treadle.testing.postgres import Server

QUEUES = ("treadle", "procrastinate", "pgqueuer")
Spent = dict[str, float]


def cost(rounds: int, *, count: int = 4000, slots: int = 20) -> list[Row]:
    tasks: dict[str, list[Spent]] = {name: [] for name in QUEUES}
    steps: list[Spent] = []
    with postgres() as server:
        for _ in range(rounds):
            for name in QUEUES:
                dsn = fresh_database(server, name)
                tasks[name].append(_spent(server, dsn, count, _task(name, dsn, count, slots)))
            dsn = fresh_database(server, "chains")
            chains = Contender("treadle", dsn)
            runs = max(count // 200, 1)
            steps.append(
                _spent(server, dsn, runs * 500, lambda c=chains, n=runs: [c.time("many", 50) for _ in range(n)])
            )
            chains.close()
    peers = {name: median([one["server, us"] for one in tasks[name]]) for name in QUEUES[1:]}
    title = "processor time of the server"
    return [
        _row(f"{title} for a run of one task, from its start to its end", tasks["treadle"], min(peers.values()), peers),
        _row(f"{title} for a step of a chain of 10, 50 runs at once", steps, None, {}),
    ]


def _row(name: str, found: list[Spent], peer: float | None, more: dict[str, float]) -> Row:
    middle = {what: median([one[what] for one in found]) for what in found[0]}
    mine = middle.pop("server, us")
    values = [one["server, us"] for one in found]
    told = {what: value for what, value in middle.items() if value}  # a contender that still lives has no time yet
    others: dict[str, float | str] = {**{f"{who}, us": value for who, value in more.items()}, **told}
    return Row(name, "us", mine, peer, mine, "us", None, None, "less", others=others, spread=(min(values), max(values)))


def _task(name: str, dsn: str, count: int, slots: int) -> Callable[[], Any]:
    return lambda: [run(name, what, dsn, count, slots) for what in ("enqueue", "work")]


def _spent(server: Server, dsn: str, count: int, call: Callable[[], Any]) -> Spent:
    """What some work cost, per unit."""
    before = (_server_seconds(server), _children_seconds(), asyncio.run(_bytes(dsn)))
    call()
    after = (_server_seconds(server), _children_seconds(), asyncio.run(_bytes(dsn)))
    return {
        "server, us": 1e6 * (after[0] - before[0]) / count,
        "clients, us": 1e6 * (after[1] - before[1]) / count,
        "write-ahead log, bytes": (after[2][0] - before[2][0]) / count,
        "on disk, bytes": (after[2][1] - before[2][1]) / count,
    }


def _server_seconds(server: Server) -> float:
    """Processor seconds of the server's main process, of its children, and of those that have ended."""
    main = int((server.data / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        pid, parent = int(stat.parent.name), int(fields[1])
        if pid == main:
            ticks += sum(map(int, fields[11:15]))
        elif parent == main:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _bytes(dsn: str) -> tuple[int, int]:
    """Write-ahead log so far, and the size of the database."""
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, pg_database_size(current_database())"
    )
    await connection.close()
    return row[0], row[1]
