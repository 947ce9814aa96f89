"""The writer of the SQLite store: who shares a transaction, and who gets a turn meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from treadle.errors import StoreUnavailable
from treadle.stores.sqlite.writer import Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    made = Writer(tmp_path / "runs.db", "OFF")
    await made.start()
    yield made
    await made.stop()


def put(c: apsw.Connection) -> None:
    c.execute("INSERT INTO limits (queue, rate_seconds) SELECT 'q' || count(*), 1 FROM limits")


def rows(c: apsw.Connection) -> int:
    return len(c.execute("SELECT 1 FROM limits").fetchall())


async def test_tasks_that_write_at_the_same_time_share_transactions(writer: Writer) -> None:
    transactions = 0

    def counted() -> bool:
        nonlocal transactions
        transactions += 1
        return False

    await writer.submit(lambda c: c.set_commit_hook(counted), plain=True)

    async def several() -> None:
        for _ in range(10):
            await writer.submit(put)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(several())
    await writer.submit(lambda c: c.set_commit_hook(None), plain=True)
    assert await writer.submit(rows) == 500
    assert transactions < 50


async def test_a_task_alone_in_writing_leaves_others_their_turn(writer: Writer) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    for _ in range(2000):
        await writer.submit(put)
    running.cancel()
    assert turns >= 2
    assert await writer.submit(rows) == 2000


LOOP, THREAD = "MainThread", "treadle-sqlite-writer"


@pytest.mark.parametrize(
    ("seconds", "tasks", "where"),
    [
        (0.0003, 1, LOOP),
        (0.0003, 5, LOOP),
        (0.0015, 1, LOOP),
        (0.0015, 5, THREAD),
        (0.004, 1, THREAD),
        (0.004, 5, THREAD),
    ],
)
async def test_who_waits_for_the_disk_depends_on_its_speed_and_on_who_writes(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, seconds: float, tasks: int, where: str
) -> None:
    clock = itertools.count(0.0, seconds)
    monkeypatch.setattr("treadle.stores.sqlite.writer.time", SimpleNamespace(perf_counter=clock.__next__))

    async def several() -> str:
        for _ in range(100):
            await writer.submit(put)
        return await writer.submit(lambda _: threading.current_thread().name)

    assert set(await asyncio.gather(*[several() for _ in range(tasks)])) == {where}


async def test_what_cannot_be_begun_is_told_to_whoever_asked(writer: Writer) -> None:
    await writer.submit(lambda c: c.execute("BEGIN"), plain=True)
    with pytest.raises(StoreUnavailable, match="within a transaction"):
        await asyncio.wait_for(writer.submit(put), 10)
    await writer.submit(put)
    assert await writer.submit(rows) == 1
