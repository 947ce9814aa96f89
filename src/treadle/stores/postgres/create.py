"""New runs: a batch of them as the arrays of one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from treadle.ports.store import CommitResult, NewRun
from treadle.stores.postgres.commit import STATUS, claims_of
from treadle.stores.postgres.pool import Pool
from treadle.stores.postgres.rows import Columns, clean

Item = tuple[NewRun, str]
"""A run, and the token by which its creator knows it again."""


class Creations:
    """Creates runs; a call whose answer was lost is repeated, and knows its runs by their tokens."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, items: list[Item]) -> list[CommitResult]:
        rows = await self._pool.rows("create_run", *_parameters(items))
        claims: dict[int, list[int | None]] = {}
        for row in rows[len(items) :]:
            claims.setdefault(row[0] - 1, []).append(row[4])
        return [
            CommitResult(
                outcome,
                version,
                claims_of(new.run_id, new.graph, new.tasks, claims[n]) if n in claims else (),
                STATUS[status],
                other or "",
            )
            for n, ((new, _), (_, outcome, version, status, _, other)) in enumerate(zip(items, rows, strict=False))
        ]


def _parameters(items: Sequence[Item]) -> tuple[list[Any], ...]:
    columns = Columns()
    budgets = [(n, kind, limit) for n, (new, _) in enumerate(items, 1) for kind, limit in new.budgets.items()]
    rows = []
    for n, (new, token) in enumerate(items, 1):
        columns.add_events(n, new.events)
        moving = columns.add_tasks(n, new.tasks, lease=new.worker is not None)
        still = bool(new.tasks) and not moving and not new.status.ended
        rows.append(
            (
                new.run_id, new.graph, new.status.value, "waiting" if still else new.status.value, new.tenant,
                new.project, new.deadline_seconds, _labels(new), token, new.worker,
                new.lease_seconds, len(new.events), clean(new.dedup),
            )
        )  # fmt: skip
    limits = [list(column) for column in zip(*budgets, strict=True)] or [[], [], []]
    return (*map(list, zip(*rows, strict=True)), *limits, *columns.events, *columns.tasks, *columns.blobs)


def _labels(new: NewRun) -> str:
    return msgspec.json.encode({clean(name): clean(value) for name, value in new.labels.items()}).decode()
