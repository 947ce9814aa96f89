"""Claims from a queue that holds a million tasks, beside claims from one that holds only what is claimed.

Two schemas of one PostgreSQL server, claimed from in turns, one task per claim; the commits between are not timed.

    python -m bench backlog --tasks 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.engine_measure import machine, median
from treadle.domain.events import Draft, NodeFinished, RunFinished, RunStarted
from treadle.domain.task import Claim, NewTask, RunStatus
from treadle.errors import TreadleError
from treadle.ports.store import Commit, NewRun, TaskMove
from treadle.stores.postgres import PostgresStore
from treadle.stores.postgres.create import Creations
from treadle.testing.postgres import NoServer, Server, wheel_binaries

BATCH = 2_000
SLICE = 25
"""Claims from one queue before it is the other's turn."""
GRAPH = "backlog@1"


async def queue_up(store: PostgresStore, count: int, *, graph: str = GRAPH, node: str = "a", first: int = 0) -> None:
    """Create so many runs, each with one ready task, in statements of many."""
    creations = Creations(store._pool)
    for start in range(first, first + count, BATCH):
        runs = [
            NewRun(f"backlog-{number}", graph, [Draft(RunStarted())], [NewTask(node, node, node)])
            for number in range(start, min(start + BATCH, first + count))
        ]
        await creations.record([(run, run.run_id) for run in runs])


async def _vacuum(store: PostgresStore) -> None:
    for table in ("runs", "tasks", "events"):
        await store._pool.run(lambda c, table=table: c.execute(f"ANALYZE {store.where.schema}.{table}"))  # type: ignore[misc]


def _done(claim: Claim) -> Commit:
    events = [Draft(NodeFinished(claim.node), claim.activation), Draft(RunFinished())]
    return Commit(
        claim.run_id, claim.task_id, claim.lease_seq, "w", events, TaskMove("done"), status=RunStatus.DONE
    )  # fmt: skip


async def _claims(store: PostgresStore, count: int) -> list[float]:
    """Milliseconds that each of so many claims took."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        claims = await store.claim("w", queues=["default"], limit=1, lease_seconds=60, graphs=[GRAPH])
        took.append((time.perf_counter() - began) * 1000)
        assert len(claims) == 1
        await store.commit([_done(claims[0])], lease_seconds=60)
    return took


async def _measure(server: Server, tasks: int, claims: int) -> dict[str, Any]:
    few, many = (PostgresStore(server.dsn(), schema=name, pool_size=1) for name in ("few", "many"))
    await few.open()
    await many.open()
    began = time.perf_counter()
    await queue_up(many, tasks)
    filled = time.perf_counter() - began
    await _vacuum(many)
    taken: dict[str, list[float]] = {"few": [], "many": []}
    for turn in range(claims // SLICE + 4):
        await queue_up(few, SLICE, first=turn * SLICE)
        for name, store in (("few", few), ("many", many)):
            found = await _claims(store, SLICE)
            taken[name] += found if turn >= 4 else []  # the first turns warm up
    await few.close()
    await many.close()
    return {"tasks": tasks, "claims": len(taken["few"]), "seconds to queue them": round(filled, 1), "ms": taken}


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _table(found: dict[str, Any], *, where: str) -> str:
    lines = ["| queue | claims | p50 | p90 | p99 | longest |", "|---|---|---|---|---|---|"]
    for name, label in (("few", "what is claimed, and no more"), ("many", f"{found['tasks']:,} tasks")):
        took = found["ms"][name]
        cells = (median(took), *(percentile(took, share) for share in (0.9, 0.99)), max(took))
        lines.append(f"| {label} | {len(took):,} | " + " | ".join(f"{cell:.2f} ms" for cell in cells) + " |")
    few, many = (percentile(found["ms"][name], 0.99) for name in ("few", "many"))
    halves = (median(found["ms"]["many"]) / median(found["ms"]["few"]), many / few)
    lines.append(f"\np50 {halves[0]:.2f} times, p99 {halves[1]:.2f} times (aim: under 3). {where}.")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench backlog", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="that wait (default: %(default)s)")
    parser.add_argument("--claims", type=int, default=4_000, help="measured from each queue (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print every measured claim")
    given = parser.parse_args(argv)
    try:
        server = Server(wheel_binaries(), {"fsync": "on", "shared_buffers": "'256MB'"})
    except NoServer as error:
        raise TreadleError(f"There is no server to measure: {error}") from error
    try:
        found = asyncio.run(_measure(server, given.tasks, given.claims))
    finally:
        server.stop()
    print(json.dumps(found) if given.json else _table(found, where=machine(Path("/tmp"))))
    return 0
