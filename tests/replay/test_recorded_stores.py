"""A SQLite file of every earlier release is brought up to date, and nothing in it is lost."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from recorded import GRAPHS, HERE, read_events

from treadle.engine.orchestrator import Orchestrator
from treadle.engine.worker import WorkerSettings
from treadle.errors import StoreUnavailable
from treadle.stores.migrations import Migration, Phase
from treadle.stores.sqlite import SqliteStore, migrate
from treadle.stores.sqlite.migrate import NEWEST

RELEASES = sorted(path.parent.name for path in HERE.glob("*/waiting.jsonl"))
NEXT = "ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';"


def later(phase: Phase, sql: str, *, oldest: int = 1) -> Migration:
    return Migration(NEWEST + 1, "later", phase, oldest, sql)


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Path:
    return HERE / str(request.param)


@pytest.fixture
def file(release: Path, tmp_path: Path) -> Path:
    made = tmp_path / "runs.db"
    connection = apsw.Connection(str(made))
    connection.execute((release / "store.sql").read_text())
    connection.close()
    return made


def schema_version(file: Path) -> int:
    connection = apsw.Connection(str(file))
    [(version,)] = connection.execute("SELECT max(number) FROM migrations").fetchall()
    connection.close()
    return int(version)


async def assert_nothing_is_lost(file: Path, release: Path) -> None:
    store = SqliteStore(file)
    await store.open()
    rows = {row.run_id: row for row in await store.runs()}
    assert set(rows) == set(GRAPHS)
    for name, row in rows.items():
        lines = (release / f"{name}.jsonl").read_text().splitlines()
        assert await store.events(name) == read_events(lines[1:], name)
        assert row.last_seq == len(lines) - 1
    await store.close()


async def test_a_file_of_an_earlier_release_is_brought_up_to_date(file: Path, release: Path) -> None:
    await assert_nothing_is_lost(file, release)
    assert schema_version(file) == NEWEST


async def test_a_run_that_waited_in_an_earlier_file_goes_on(file: Path) -> None:
    async with Orchestrator(SqliteStore(file), settings=WorkerSettings(poll_seconds=0.01)) as orchestrator:
        orchestrator.add_graph(GRAPHS["waiting"]())
        await orchestrator.answer("waiting", "yes")
        result = await orchestrator.wait("waiting", timeout=10)
    assert result["trail"] == ["a", "recorded long ago", "yes", "z"]


async def test_the_next_migration_is_applied_once_and_older_code_keeps_off(
    file: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as upgraded:
        upgraded.setattr(migrate, "MIGRATIONS", [*migrate.MIGRATIONS, later("pre", NEXT, oldest=NEWEST + 1)])
        for _ in range(2):
            await assert_nothing_is_lost(file, release)
    assert schema_version(file) == NEWEST + 1
    with pytest.raises(StoreUnavailable, match=f"has schema {NEWEST + 1}, for programs that know {NEWEST + 1}"):
        await SqliteStore(file).open()


async def test_a_migration_that_breaks_leaves_the_file_as_it_was(
    file: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = schema_version(file)
    with monkeypatch.context() as upgraded:
        upgraded.setattr(migrate, "MIGRATIONS", [*migrate.MIGRATIONS, later("pre", f"{NEXT} SELECT nonsense;")])
        with pytest.raises(StoreUnavailable):
            await SqliteStore(file).open()
    assert schema_version(file) == before
    await assert_nothing_is_lost(file, release)
