"""Commits: a batch of outcomes as the arrays of one statement; and what becomes of one whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.domain.task import Claim, NewTask, RunStatus
from treadle.errors import StoreUnavailable
from treadle.ports.store import Commit, CommitResult
from treadle.stores.postgres.connection import Connection
from treadle.stores.postgres.pool import Pool
from treadle.stores.postgres.rows import Columns, clean

STATUS = {status.value: status for status in RunStatus}
Item = tuple[Commit, float]
"""An outcome, and for how long what it hands on is leased."""


class Commits:
    """Records outcomes, each at most once, whatever happens to the connection."""

    def __init__(self, pool: Pool, on_room: Callable[[], None]) -> None:
        """`on_room` is called when a queue with a limit may have room."""
        self._pool = pool
        self._on_room = on_room
        self._doubted: set[tuple[int, int]] = set()
        """(task id, lease_seq) of outcomes given back with their fate unknown; their submitter may try again."""

    async def record(self, items: list[Item]) -> list[CommitResult]:
        """Record a batch. Raises StoreUnavailable: perhaps it was recorded; the next try finds out."""
        try:
            results = await self._pool.run(lambda c: self._commit(c, items), again=lambda c: self._find_out(c, items))
        except StoreUnavailable:
            self._doubted.update((item.task_id, item.lease_seq) for item, _ in items)
            raise
        keys = {(item.task_id, item.lease_seq) for item, _ in items} & self._doubted if self._doubted else set()
        if keys and any(result.status == "fenced" for result in results):  # perhaps by themselves
            found = await self._pool.run(lambda c: self._look(c, items))
            results = [
                found.get(n, result) if result.status == "fenced" and (item.task_id, item.lease_seq) in keys else result
                for n, ((item, _), result) in enumerate(zip(items, results, strict=True))
            ]
        self._doubted -= keys
        return results

    async def _commit(self, c: Connection, items: Sequence[Item]) -> list[CommitResult]:
        rows = await c.fetch(self._pool.sql["commit"], *_parameters(items))
        claims: dict[int, list[int | None]] = {}
        for row in rows[len(items) :]:
            if row[0]:
                claims.setdefault(row[0] - 1, []).append(row[5])
            else:
                self._on_room()
        return [
            CommitResult(
                outcome,
                version,
                claims_of(item.run_id, graph, item.tasks, claims[n]) if n in claims else (),
                STATUS[status],
            )
            for n, ((item, _), (_, outcome, version, status, graph, _)) in enumerate(zip(items, rows, strict=False))
        ]

    async def _find_out(self, c: Connection, items: list[Item]) -> list[CommitResult]:
        """The connection broke under these: read which of them took place, and send only the others."""
        found = await self._look(c, items)
        rest = [n for n in range(len(items)) if n not in found]
        if rest:
            sent = await self._commit(c, [items[n] for n in rest])
            found |= dict(zip(rest, sent, strict=True))
            if any(result.status == "fenced" for result in sent):  # the first try may have come through after we looked
                found |= await self._look(c, items)
        return [found[n] for n in range(len(items))]

    async def _look(self, c: Connection, items: Sequence[Item]) -> dict[int, CommitResult]:
        """Which of these took place: index -> result."""
        origins = [item.name for item, _ in items]
        rows = await c.fetch(self._pool.sql["took_place"], [item.run_id for item, _ in items], origins)
        found = {}
        for position, version, status, graph in rows:
            item = items[position - 1][0]
            claims: tuple[Claim, ...] = ()
            names = [task.activation for task in item.tasks if task.lease]
            if names:
                made = await c.fetch(self._pool.sql["handed_on"], item.run_id, names, item.worker)
                claims = tuple(Claim(row[0], item.run_id, row[1], row[2], row[3], graph, 1, 1) for row in made)
            found[position - 1] = CommitResult("committed", version, claims, STATUS[status])
        return found


def claims_of(run_id: str, graph: str, tasks: Sequence[NewTask], task_ids: Sequence[int | None]) -> tuple[Claim, ...]:
    """The claims for new tasks that were handed on (one without an id was not); none if some have lapsed since, as the
    others will."""
    given = [task for task in tasks if task.lease and not task.held and task.delay_seconds is None]
    if len(given) != len(task_ids):
        return ()
    return tuple(
        Claim(task_id, run_id, task.activation, task.node, task.node_type, graph, 1, 1)
        for task, task_id in zip(given, task_ids, strict=True)
        if task_id is not None
    )


def _parameters(items: Sequence[Item]) -> tuple[list[Any], ...]:
    columns = Columns()
    rows = []
    for n, (item, lease_seconds) in enumerate(items, 1):
        columns.add_events(n, item.events)
        moving = columns.add_tasks(n, item.tasks, lease=True) if item.tasks else False
        move = item.move
        rows.append(
            (
                item.run_id, item.task_id, item.lease_seq, item.worker, item.expected, item.after, move.to,
                move.delay_seconds, clean(move.error), move.uncounted, item.status and item.status.value,
                clean(item.error), len(item.events), moving, lease_seconds,
            )
        )  # fmt: skip
    names = [item.name for item, _ in items]
    return (*map(list, zip(*rows, strict=True)), *columns.events, *columns.tasks, *columns.blobs, names)
