"""Pre and post migrations: the rule of both stores, and a release that replaces another while a load is worked on."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from treadle.errors import Conflict, StoreUnavailable
from treadle.ports.store import Store, WorkerRow
from treadle.stores.migrations import Migration
from treadle.stores.sqlite import SqliteStore
from treadle.stores.sqlite import migrate as sqlite_migrate
from treadle.testing.postgres import Server, server_or_skip, wheel_binaries
from treadle.testing.samples import new_run

asyncpg = pytest.importorskip("asyncpg")

from treadle.engine.orchestrator import Orchestrator  # noqa: E402
from treadle.engine.results import WorkerSettings  # noqa: E402
from treadle.services.targets import load_module  # noqa: E402
from treadle.stores.postgres import PostgresStore  # noqa: E402
from treadle.stores.postgres import migrate as postgres_migrate  # noqa: E402

SRC = Path(__file__).parents[2] / "src"
schemas = (f"migrated{number}" for number in itertools.count())


@pytest.fixture
def server() -> Server:
    return server_or_skip(wheel_binaries)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Store]:
    if kind == "sqlite":
        return lambda: SqliteStore(tmp_path / "runs.db")
    server, schema = request.getfixturevalue("server"), next(schemas)
    return lambda: PostgresStore(server.dsn(), schema=schema)


def upgrade(patch: pytest.MonkeyPatch, kind: str) -> int:
    """Pretend to be a later release, with a migration of each phase; returns the number of the first."""
    module: ModuleType = sqlite_migrate if kind == "sqlite" else postgres_migrate
    number, prefix = module.NEWEST + 1, "" if kind == "sqlite" else "treadle."
    added = Migration(number, "add", "pre", 1, f"ALTER TABLE {prefix}runs ADD COLUMN colour text;")
    removed = Migration(number + 1, "drop", "post", number, f"ALTER TABLE {prefix}runs DROP COLUMN colour;")
    patch.setattr(module, "MIGRATIONS", [*module.MIGRATIONS, added, removed])
    return int(number)


async def test_a_post_migration_waits_until_it_is_asked_for_and_no_older_worker_lives(
    make: Callable[[], Store], kind: str
) -> None:
    old = make()
    await old.open()
    await old.create_run(new_run("r", "a"))
    await old.announce(WorkerRow("old", "host", 7, 4, ("default",)))
    with pytest.MonkeyPatch.context() as patch:
        number = upgrade(patch, kind)
        new = make()
        await new.open()
        found = await new.schema()
        assert found.schema == number and [(m.number, m.phase) for m in found.pending] == [(number + 1, "post")]
        assert await new.migrate() == []
        with pytest.raises(Conflict, match="takes away what old still needs, of an earlier release") as caught:
            await new.migrate(post=True)
        assert "treadle workers" in caught.value.hint
        assert (await new.schema()).pending == found.pending
        await old.announce(WorkerRow("old", "host", 7, 0, ("default",)))
        assert await new.migrate(post=True) == [f"{number + 1} drop"]
        assert (await new.schema()).pending == ()
    with pytest.raises(StoreUnavailable, match=f"for programs that know {number} or newer") as refused:
        await old.announce(WorkerRow("old", "host", 7, 4, ("default",)))
    assert refused.value.hint == "Upgrade Treadle."
    again = make()
    with pytest.raises(StoreUnavailable, match="for programs that know"):
        await again.open()
    assert (await new.run("r")).run_id == "r"
    for store in (old, new):
        await store.close()


async def test_an_empty_store_gets_all_migrations_at_once(make: Callable[[], Store], kind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        number = upgrade(patch, kind)
        store = make()
        await store.open()
        assert (await store.schema()).schema == number + 1
        await store.close()


# -- a rolling upgrade -------------------------------------------------------------------------------------------------

JOB = """
import asyncio
from treadle import Graph

async def step(state):
    await asyncio.sleep(0.01)
    return {"n": state["n"] + 1}

graph = Graph("job")
before = "__start__"
for number in range(5):
    graph.add_node(f"s{number}", step).add_edge(before, f"s{number}")
    before = f"s{number}"
graph.set_finish_point(before)
"""


def later_release(folder: Path) -> Path:
    """A copy of this program that commits by another function, and drops the one that we call."""
    package = folder / "later" / "treadle"
    shutil.copytree(SRC / "treadle", package, ignore=shutil.ignore_patterns("__pycache__"))
    store = package / "stores" / "postgres"
    operations = (store / "migrations" / "0003_operations.sql").read_text()
    [commit] = re.findall(r"CREATE FUNCTION treadle\.commit_v1\(.*?\nEND \$\$;\n", operations, re.DOTALL)
    number = postgres_migrate.NEWEST + 1
    new = commit.replace("commit_v1", "commit_v2")
    added = f"-- pre, oldest: 1\nALTER TABLE treadle.runs ADD COLUMN colour text;\n{new}"
    (store / "migrations" / f"{number:04}_colours.sql").write_text(added)
    removed = f"-- post, oldest: {number}\nDROP FUNCTION treadle.commit_v1;\n"
    (store / "migrations" / f"{number + 1:04}_no_commit_v1.sql").write_text(removed)
    queries = (store / "queries.sql").read_text()
    assert "commit_v1" in queries
    (store / "queries.sql").write_text(queries.replace("commit_v1", "commit_v2"))
    return package.parent


class Release:
    """The command line of one release, on one store."""

    def __init__(self, src: Path, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.env = {**os.environ, "PYTHONPATH": str(src)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "treadle", *arguments, "--store", self.url]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.env, cwd=self.folder)

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        return process.returncode, out, err

    async def worker(self) -> subprocess.Popen[str]:
        process = self.start("worker", "--import", "job.py", "--capacity", "4", "--lease", "5")
        assert process.stderr is not None
        line = await asyncio.to_thread(process.stderr.readline)
        assert "takes tasks of" in line, line
        return process

    async def finished(self, pid: int, more_than: int) -> int:
        """Wait until a worker says that it has finished more tasks than so many; returns how many."""
        async with asyncio.timeout(60):
            while True:
                _, out, _ = await self("workers", "--json")
                rows = [json.loads(line) for line in out.splitlines()]
                for row in rows:
                    if row["pid"] == pid and row["finished"] > more_than:
                        return int(row["finished"])


class Load:
    """Keeps ten runs going until it is told to stop."""

    def __init__(self, orchestrator: Orchestrator, graph: Any) -> None:
        self.runs: list[str] = []
        self.stopped = False
        self._orchestrator = orchestrator
        self._graph = graph

    async def feed(self) -> None:
        while not self.stopped:
            self.runs.append(await self._orchestrator.start(self._graph, {"n": 0}))
            if len(self.runs) > 10:
                await self._orchestrator.wait(self.runs[-10], timeout=60)
        for run_id in self.runs[-10:]:
            await self._orchestrator.wait(run_id, timeout=60)


@pytest.mark.slow
async def test_one_release_replaces_another_under_load_and_nothing_is_lost(server: Server, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    dsn = f"{server.dsn()}&schema={next(schemas)}"
    now, later = Release(SRC, tmp_path, dsn), Release(later_release(tmp_path), tmp_path, dsn)
    graph = load_module("job.py", tmp_path).graph
    idle = WorkerSettings(capacity=0, serve=False, heartbeat=False)
    processes = []
    async with Orchestrator(PostgresStore(dsn), settings=idle) as orchestrator:
        load = Load(orchestrator, graph)
        feeding = asyncio.ensure_future(load.feed())
        try:
            processes.append(old := await now.worker())
            done = await now.finished(old.pid, 0)
            code, out, err = await later("db", "migrate")
            assert code == 0 and "still to come" in out and "no_commit_v1 (post)" in out and "--post" in err, err
            code, _, err = await later("db", "migrate", "--post")
            assert code == 1 and f"-{old.pid}-" in err and "of an earlier release" in err
            assert ", 1 of an earlier release" in (await later("db", "status"))[1]
            processes.append(new := await later.worker())
            await later.finished(new.pid, 10)
            await later.finished(old.pid, done + 10)
            old.send_signal(signal.SIGTERM)
            await asyncio.to_thread(old.communicate, timeout=60)
            assert old.returncode == 0
            code, out, err = await later("db", "migrate", "--post")
            assert code == 0 and "applied" in out and "up to date" in out, err
            code, _, err = await now("worker", "--import", "job.py")
            assert code == 5 and "for programs that know" in err and "Upgrade Treadle" in err
            load.stopped = True
            await asyncio.wait_for(feeding, 90)
        finally:
            feeding.cancel()
            for process in processes:
                process.kill()
                process.communicate()
        for run_id in load.runs:
            await assert_whole(orchestrator, run_id)
        assert len(load.runs) > 20


async def assert_whole(orchestrator: Orchestrator, run_id: str) -> None:
    assert (await orchestrator.status(run_id)).status.value == "done"
    events = await orchestrator.store.events(run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    finished = Counter(event.activation for event in events if event.type == "NodeFinished")
    assert len(finished) == 5 and set(finished.values()) == {1}
    assert (await orchestrator.wait(run_id))["n"] == 5
