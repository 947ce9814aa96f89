"""What the SQLite store leaves on the disk."""

from __future__ import annotations

from pathlib import Path

from treadle.stores.sqlite import SqliteStore
from treadle.testing.samples import new_run


async def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await store.open()
    await store.create_run(new_run("r", "a"))
    assert (await store.run("r")).version == 1
    assert (tmp_path / "runs.db-wal").exists()
    await store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]
