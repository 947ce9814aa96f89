"""What the SQLite store leaves on the disk."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from treadle.stores.sqlite import SqliteStore
from treadle.stores.sqlite.connection import connect
from treadle.stores.sqlite.migrate import migrate
from treadle.testing.samples import new_run


async def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await store.open()
    await store.create_run(new_run("r", "a"))
    assert (await store.run("r")).version == 1
    assert (tmp_path / "runs.db-wal").exists()
    await store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


def test_processes_that_begin_together_on_a_new_file_wait_for_each_other(tmp_path: Path) -> None:
    begin = threading.Barrier(4)

    def opened(path: Path) -> None:
        begin.wait()
        connection = connect(path)
        migrate(connection, path)
        connection.close()

    with ThreadPoolExecutor(4) as threads:
        for number in range(50):
            for done in [threads.submit(opened, tmp_path / f"{number}.db") for _ in range(4)]:
                done.result(timeout=60)
