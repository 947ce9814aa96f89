"""Durable workloads on SQLite, side by side: steps per second with every step on disk, and bytes left on disk.

Both sides run with WAL and `synchronous=FULL`, so each commit waits for the disk. LangGraph uses its own savers with
`durability="sync"`: AsyncSqliteSaver (async API) and SqliteSaver (sync API); the faster one is compared. The floor is
a bare loop of one INSERT and COMMIT on the same disk, in the same round.

A disk syncs a write-ahead log that grows two to three times slower than one whose file is written over again, which
every log is after its first thousand pages. So floor and figure are taken with all logs in the same state.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import string
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import apsw

from bench.engine_graphs import Conversation, Kit, langgraph_kit, sequential, treadle_kit
from bench.engine_measure import Row, best, interleave, median, ratios, versus
from treadle.engine.orchestrator import Orchestrator
from treadle.stores.sqlite import SqliteStore

ASYNC, SYNC = "AsyncSqliteSaver", "SqliteSaver, sync API"


@contextmanager
def scratch(folder: Path | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="treadle-bench-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def thread(**more: Any) -> dict[str, Any]:
    """A LangGraph config with a thread of its own."""
    return {"recursion_limit": 10**9, "configurable": {"thread_id": uuid.uuid4().hex}, **more}


@asynccontextmanager
async def async_saver(path: Path) -> AsyncIterator[Any]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        yield saver


@contextmanager
def sync_saver(path: Path) -> Iterator[Any]:
    from langgraph.checkpoint.sqlite import SqliteSaver

    with SqliteSaver.from_conn_string(str(path)) as saver:
        saver.setup()
        yield saver


class BareCommits:
    """What the disk can do: one small row, one commit, one fsync."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB)")

    def insert(self, count: int) -> None:
        data = os.urandom(200)
        for _ in range(count):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("INSERT INTO rows (data) VALUES (?)", (data,))
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


LOG_PAGES = 1000
"""SQLite begins a write-ahead log again when it holds so many."""


async def one_at_a_time(folder: Path | None, rounds: int) -> list[Row]:
    """Sequential 10, one run after the other, in turns of two runs, on logs that are written over."""
    with scratch(folder) as at, sync_saver(at / "peer-sync.db") as plain:
        async with async_saver(at / "peer.db") as saver, Orchestrator(SqliteStore(at / "treadle.db")) as orchestrator:
            ours = sequential(treadle_kit(), 10)
            bare = BareCommits(at / "bare.db")
            peer = sequential(langgraph_kit(), 10).compile(checkpointer=saver)
            peer_sync = _sync_sequential(10).compile(checkpointer=plain)
            state: Any = {"messages": []}

            async def treadle() -> None:
                await orchestrator.execute(ours, state)

            async def langgraph() -> None:
                await peer.ainvoke(state, thread(), durability="sync")

            async def langgraph_sync() -> None:
                peer_sync.invoke(state, thread(), durability="sync")

            async def commits() -> None:
                bare.insert(10)

            work = {"treadle": treadle, "bare": commits, ASYNC: langgraph, SYNC: langgraph_sync}
            bare.insert(LOG_PAGES)  # a page each; the others write several with each step
            for call in work.values():
                for _ in range(LOG_PAGES // 20):
                    await call()
            rates = await interleave(work, 10, rounds=rounds, repeat=2, slices=15)
            bare.close()
    share = [100 * r for r in ratios(rates["treadle"], rates["bare"])]
    fastest = best(rates, [ASYNC, SYNC])
    others: dict[str, float | str] = {
        "bare fsynced commits/s": median(rates["bare"]),
        "times LangGraph": median(ratios(rates["treadle"], rates[fastest])),
        ASYNC: median(rates[ASYNC]),
        SYNC: median(rates[SYNC]),
    }
    return [
        Row(
            "sequential 10, SQLite, sync, one run at a time", "steps/s", median(rates["treadle"]),
            median(rates[fastest]), median(share), "% of bare commits/s", 70, 90, others=others,
            spread=(min(share), max(share)), raw=rates,
        )
    ]  # fmt: skip


def _sync_sequential(count: int) -> Any:
    """The chain for LangGraph's sync API, which does not take async nodes."""
    kit = langgraph_kit()
    graph = kit.graph(Conversation, "sequential")
    before = kit.start
    for number in range(count):
        graph.add_node(f"n{number}", lambda state: None)
        graph.add_edge(before, f"n{number}")
        before = f"n{number}"
    graph.add_edge(before, kit.end)
    return graph


async def at_once(folder: Path | None, rounds: int, runs: int = 100) -> list[Row]:
    """Sequential 10, a hundred runs at the same time on one store."""
    with scratch(folder) as at:
        async with async_saver(at / "peer.db") as saver, Orchestrator(SqliteStore(at / "treadle.db")) as orchestrator:
            ours = sequential(treadle_kit(), 10)
            peer = sequential(langgraph_kit(), 10).compile(checkpointer=saver)
            bare = BareCommits(at / "bare.db")
            state: Any = {"messages": []}

            async def treadle() -> None:
                await asyncio.gather(*[orchestrator.execute(ours, state) for _ in range(runs)])

            async def langgraph() -> None:
                await asyncio.gather(*[peer.ainvoke(state, thread(), durability="sync") for _ in range(runs)])

            async def commits() -> None:
                bare.insert(1000)

            work = {"treadle": treadle, "bare": commits, ASYNC: langgraph}
            rates = await interleave(work, 10 * runs, rounds=rounds, repeat=1)
            bare.close()
    name = "sequential 10, SQLite, sync, 100 runs at once"
    row = versus(name, "steps/s", rates, {ASYNC: ASYNC}, least=8, aim=15)
    row.others["bare fsynced commits/s"] = median(rates["bare"])
    return [row]


LETTERS = string.ascii_letters + string.digits + "+/"


def growing(kit: Kit, steps: int) -> Any:
    """A loop that appends 1 kB of random text to a list, `steps` times."""

    async def append(state: Any) -> dict[str, Any]:
        return {"messages": ["".join(LETTERS[byte & 63] for byte in os.urandom(1000))]}

    graph = kit.graph(Conversation, "growing")
    graph.add_node("append", append)
    graph.add_edge(kit.start, "append")
    graph.add_conditional_edges(
        "append", lambda state: kit.end if len(state["messages"]) >= steps else "append", ["append", kit.end]
    )
    return graph


async def bytes_on_disk(folder: Path | None, steps: int = 400) -> list[Row]:
    """What `steps` steps of 1 kB leave behind once the store is closed, write-ahead log included."""
    with scratch(folder) as at:
        async with Orchestrator(SqliteStore(at / "treadle.db")) as orchestrator:
            result = await orchestrator.execute(growing(treadle_kit(), steps), {"messages": []})
            assert len(result["messages"]) == steps
        async with async_saver(at / "peer.db") as saver:
            peer = growing(langgraph_kit(), steps).compile(checkpointer=saver)
            await peer.ainvoke({"messages": []}, thread(), durability="sync")
        ours, theirs = _size(at / "treadle.db"), _size(at / "peer.db")
    return [
        Row(f"{steps} steps appending 1 kB each: bytes on disk", "MB", ours, theirs, ours, "MB", 1.5, 0.8, "less",
            others={"times less": theirs / ours, "payload": steps * 1000 / 1e6}),
    ]  # fmt: skip


def _size(path: Path) -> float:
    return sum(found.stat().st_size for found in path.parent.glob(path.name + "*")) / 1e6
