"""Behind pgbouncer in transaction mode, where a connection is one's own for one statement only."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.domain.events import NodeFinished
from treadle.engine.orchestrator import Orchestrator
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.ports.store import TASKS
from treadle.testing.postgres import UNPRIVILEGED, Server, server_or_skip, wheel_binaries
from treadle.testing.samples import new_run

asyncpg = pytest.importorskip("asyncpg")

from treadle.stores.postgres import PostgresStore  # noqa: E402

schemas = (f"pooled{number}" for number in itertools.count())
SERVERS = 3


@pytest.fixture
def server() -> Server:
    return server_or_skip(wheel_binaries)


@pytest.fixture
def pooled(server: Server) -> Iterator[str]:
    """The DSN of a pooler that shares a few connections among all clients."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    folder = Path(tempfile.mkdtemp(prefix="treadle-pgb-", dir="/tmp"))
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npostgres = host={server.folder}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {folder}\n"
        f"auth_type = trust\nauth_file = {folder}/users\npool_mode = transaction\ndefault_pool_size = {SERVERS}\n"
    )
    who = {"user": UNPRIVILEGED} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, UNPRIVILEGED)
    process = subprocess.Popen(
        [program, folder / "pgbouncer.ini"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who
    )
    yield f"postgresql://postgres@/postgres?host={folder}&port=6432&statement_cache_size=0"
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    shutil.rmtree(folder)


async def open_store(dsn: str, schema: str, listen_dsn: str | None = None) -> PostgresStore:
    store = PostgresStore(dsn, schema=schema, listen_dsn=listen_dsn)
    for patience in range(50):
        try:
            await store.open()
            return store
        except Exception:  # the pooler is still starting
            if patience == 49:
                raise
            await asyncio.sleep(0.1)
    raise AssertionError


def chain() -> Graph:
    graph = Graph("pooled")
    before = START
    for number in range(5):

        async def step(state: dict[str, int]) -> dict[str, int]:
            return {"count": state.get("count", 0) + 1}

        graph.add_node(f"n{number}", step)
        graph.add_edge(before, f"n{number}")
        before = f"n{number}"
    graph.add_edge(before, END)
    return graph


async def test_many_clients_share_few_connections_and_nothing_is_mixed_up(server: Server, pooled: str) -> None:
    schema = next(schemas)
    stores = [await open_store(pooled, schema) for _ in range(2)]
    connection = await asyncpg.connect(server.dsn())
    async with Orchestrator(stores[0]) as one, Orchestrator(stores[1]) as two:
        results = await asyncio.gather(*(o.execute(chain(), {"count": 0}, timeout=60) for o in (one, two) * 20))
        used = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            "AND query LIKE '%' || $1 || '.%'",
            schema,
        )
        assert 0 < used <= SERVERS
        assert [result["count"] for result in results] == [5] * 40
        for result in results:
            events = await one.store.events(result.workflow_id)
            done = Counter(event.activation for event in events if isinstance(event.payload, NodeFinished))
            assert len(done) == 5 and set(done.values()) == {1}
    await connection.close()


async def test_a_listener_may_go_past_the_pooler(server: Server, pooled: str) -> None:
    schema = next(schemas)
    here = await open_store(pooled, schema)
    there = await open_store(pooled, schema, server.dsn())
    mark = await there.wait(TASKS, -1, 0)
    waiting = asyncio.ensure_future(there.wait(TASKS, mark, 30))
    await asyncio.sleep(0)
    await here.create_run(new_run("r", "a"))
    assert await asyncio.wait_for(waiting, 10) != mark
    await here.close()
    await there.close()
