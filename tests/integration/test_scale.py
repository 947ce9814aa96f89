"""What the page on scale tells to do to a database leaves it one that Treadle works with."""

from __future__ import annotations

import itertools
import operator
import re
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from treadle.engine.orchestrator import Orchestrator
from treadle.errors import NotFound
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.testing.postgres import server_or_skip, wheel_binaries

asyncpg = pytest.importorskip("asyncpg")

from treadle.stores.postgres import PostgresStore  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "scale.md"


class Trail(TypedDict, total=False):
    trail: Annotated[list[int], operator.add]


def chain() -> Graph:
    graph = Graph("chain", state=Trail)

    async def step(state: Any) -> dict[str, Any]:
        return {"trail": [len(state.get("trail", []))]}

    names = [START, "a", "b", "c", END]
    for name in names[1:-1]:
        graph.add_node(name, step)
    for before, after in itertools.pairwise(names):
        graph.add_edge(before, after)
    return graph


async def test_the_log_can_be_partitioned_by_run_and_old_runs_dropped() -> None:
    schema = "scaled"
    partition, drop = (
        sql.replace("treadle.", f"{schema}.").replace("1000000", "4").replace("2000000", "1000")
        for sql in re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    )
    dsn = server_or_skip(wheel_binaries).dsn()
    connection = await asyncpg.connect(dsn)

    async def run_three() -> list[str]:
        async with Orchestrator(PostgresStore(dsn, schema=schema)) as orchestrator:
            results = [await orchestrator.execute(chain(), {}, timeout=30) for _ in range(3)]
        assert [result["trail"] for result in results] == [[0, 1, 2]] * 3
        return [result.run_id for result in results]

    old = await run_three()
    await connection.execute(partition)
    new = await run_three()
    counts = [await connection.fetchval(f"SELECT count(*) FROM {schema}.{name}") for name in ("events_0", "events_1")]
    assert min(counts) >= 15
    await connection.execute(drop)
    async with Orchestrator(PostgresStore(dsn, schema=schema)) as orchestrator:
        assert [row.run_id for row in await orchestrator.list()] == new[::-1]
        version, events = await orchestrator.store.history(new[0])
        assert version > 1 and [event.seq for event in events] == list(range(1, len(events) + 1))
        with pytest.raises(NotFound):
            await orchestrator.store.history(old[0])
        await orchestrator.store.delete_run(new[1])
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    await connection.close()
