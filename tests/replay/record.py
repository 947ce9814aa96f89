"""Record the histories that later releases must be able to read. Run once per release, with that release:

    PYTHONPATH=src python tests/replay/record.py

What is there already is never written again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from recorded import GRAPHS, HERE, moments

import treadle
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.engine.retention import export_run, import_run
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore

SETTINGS = WorkerSettings(poll_seconds=0.01, sweep_seconds=0.01)


def without_trace(line: str) -> str:
    """Where the code lay on the machine that recorded is nobody's business."""
    event = json.loads(line)
    if event.get("payload", {}).pop("trace", None) is None:
        return line
    return json.dumps(event, separators=(",", ":"))


async def record(name: str, folder: Path) -> None:
    graph = GRAPHS[name]()
    async with Orchestrator(MemoryStore(), settings=SETTINGS) as orchestrator:
        await orchestrator.execute(graph, {"topic": "tea"}, options=RunOptions(run_id=name), timeout=30)
        if name == "approval":
            await orchestrator.answer(name, "yes")
            await orchestrator.wait(name, timeout=30)
            await orchestrator.update_state(name, {"topic": "coffee", "trail": ["corrected"]})
            await orchestrator.answer(name)
            await orchestrator.wait(name, timeout=30)
        lines = [without_trace(line) async for line in export_run(orchestrator.store, name)]
        events = await orchestrator.store.events(name)
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    told = "\n".join(json.dumps(moment, sort_keys=True) for moment in moments(graph, events))
    (folder / f"{name}.moments.jsonl").write_text(told + "\n")


async def record_store(folder: Path) -> None:
    """A SQLite store with all these histories, as the SQL that makes it again."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "runs.db"
        store = SqliteStore(file)
        await store.open()
        for history in sorted(path for path in folder.glob("*.jsonl") if ".moments." not in path.name):
            await import_run(store, history.read_text().splitlines())
        await store.close()
        with closing(sqlite3.connect(file)) as connection:
            lines = [*connection.iterdump()]
    (folder / "store.sql").write_text("\n".join(lines) + "\n")


def main() -> None:
    folder = HERE / treadle.__version__
    folder.mkdir(exist_ok=True)
    for name in GRAPHS:
        if not (folder / f"{name}.jsonl").exists():
            asyncio.run(record(name, folder))
            print(folder / f"{name}.jsonl")
    if not (folder / "store.sql").exists():
        asyncio.run(record_store(folder))
        print(folder / "store.sql")


if __name__ == "__main__":
    main()
