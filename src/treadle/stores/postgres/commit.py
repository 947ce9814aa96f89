"""Group commit: outcomes that arrive while others are on their way to the server share the next statement.

Nothing waits for company: an idle store sends a single outcome at once. Of one run, only one statement is under way at
a time, so that outcomes that were planned on top of each other arrive in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from treadle.domain.task import Claim, RunStatus
from treadle.errors import Unreachable
from treadle.ports.store import Commit, CommitResult
from treadle.stores.postgres.connection import Connection
from treadle.stores.postgres.pool import Pool
from treadle.stores.postgres.rows import Columns, clean

MOST = 64
"""Outcomes in one statement; more gains nothing and holds the runs' rows for longer."""
UNDER_WAY = 2
"""Statements: while the server works on one, the next is made."""
STATUS = {status.value: status for status in RunStatus}


class _Job:
    __slots__ = ("future", "item", "lease_seconds")

    def __init__(self, item: Commit, lease_seconds: float, future: asyncio.Future[CommitResult]) -> None:
        self.item = item
        self.lease_seconds = lease_seconds
        self.future = future


class Committer:
    """Collects outcomes and records them."""

    def __init__(self, pool: Pool, on_result: Callable[[Commit, CommitResult], None]) -> None:
        """`on_result` is called once per item, before its submitter goes on."""
        self._pool = pool
        self._on_result = on_result
        self._waiting: list[_Job] = []
        self._scheduled = False
        self._busy: set[str] = set()
        """Runs with a statement under way."""
        self._senders: set[asyncio.Task[None]] = set()
        self._doubted: set[tuple[int, int]] = set()
        """(task id, lease_seq) of outcomes given back with their fate unknown; their submitter may try again."""

    def submit(self, item: Commit, lease_seconds: float) -> asyncio.Future[CommitResult]:
        """Record one outcome; the future is set once it is durable, or refused."""
        loop = asyncio.get_running_loop()
        job = _Job(item, lease_seconds, loop.create_future())
        self._waiting.append(job)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return job.future

    async def close(self) -> None:
        """Finish what was submitted."""
        while self._waiting or self._senders:
            self._flush()
            await asyncio.wait(self._senders)

    def _flush(self) -> None:
        """Send what this turn of the event loop has submitted, as far as its runs are free."""
        self._scheduled = False
        while self._waiting and len(self._senders) < UNDER_WAY:
            batch = self._take()
            if not batch:
                return
            self._busy.update(job.item.run_id for job in batch)
            sender = asyncio.get_running_loop().create_task(self._send(batch))
            self._senders.add(sender)
            sender.add_done_callback(self._sent)

    def _take(self) -> list[_Job]:
        """The next batch: of runs that have nothing under way, and of one lease length."""
        batch: list[_Job] = []
        rest: list[_Job] = []
        held: set[str] = set()
        for job in self._waiting:
            run_id = job.item.run_id
            fits = len(batch) < MOST and (not batch or job.lease_seconds == batch[0].lease_seconds)
            if fits and run_id not in self._busy and run_id not in held:
                batch.append(job)
            else:
                held.add(run_id)
                rest.append(job)
        self._waiting = rest
        return batch

    def _sent(self, sender: asyncio.Task[None]) -> None:
        self._senders.discard(sender)
        self._flush()

    async def _send(self, batch: list[_Job]) -> None:
        try:
            items = [job.item for job in batch]
            for job, result in zip(batch, await self._record(items, batch[0].lease_seconds), strict=True):
                self._on_result(job.item, result)
                if not job.future.done():
                    job.future.set_result(result)
        except Unreachable as error:
            self._doubted.update((job.item.task_id, job.item.lease_seq) for job in batch)
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001  # given to whoever submitted it
            if len(batch) == 1:
                _fail(batch, error)
            else:  # one of them breaks the statement, which undid them all: each gets one of its own
                for job in batch:
                    await self._send([job])
        finally:
            self._busy.difference_update(job.item.run_id for job in batch)

    async def _record(self, items: list[Commit], lease_seconds: float) -> list[CommitResult]:
        results = await self._pool.run(
            lambda c: self._commit(c, items, lease_seconds), again=lambda c: self._find_out(c, items, lease_seconds)
        )
        if self._doubted:
            results = await self._undoubt(items, results)
        return results

    async def _undoubt(self, items: list[Commit], results: list[CommitResult]) -> list[CommitResult]:
        """An outcome that was given back in doubt, and is now fenced, may be fenced by itself."""
        keys = {(item.task_id, item.lease_seq) for item in items} & self._doubted
        if keys and any(result.status == "fenced" for result in results):
            found = await self._pool.run(lambda c: self._look(c, items))
            results = [
                found.get(n, result) if result.status == "fenced" and (item.task_id, item.lease_seq) in keys else result
                for n, (item, result) in enumerate(zip(items, results, strict=True))
            ]
        self._doubted -= keys
        return results

    async def _commit(self, c: Connection, items: Sequence[Commit], lease_seconds: float) -> list[CommitResult]:
        rows = await c.fetch(self._pool.sql["commit"], lease_seconds, *_parameters(items))
        found = [
            (outcome, version, STATUS[status], graph) for _, outcome, version, status, graph, _ in rows[: len(items)]
        ]
        claims: dict[int, list[int]] = {}
        for row in rows[len(items) :]:
            claims.setdefault(row[0] - 1, []).append(row[5])
        return [
            CommitResult(outcome, version, _claims(items[n], claims[n], graph) if n in claims else (), status)
            for n, (outcome, version, status, graph) in enumerate(found)
        ]

    async def _find_out(self, c: Connection, items: list[Commit], lease_seconds: float) -> list[CommitResult]:
        """The connection broke under these: read which of them took place, and send only the others."""
        found = await self._look(c, items)
        rest = [n for n in range(len(items)) if n not in found]
        if rest:
            sent = await self._commit(c, [items[n] for n in rest], lease_seconds)
            found |= dict(zip(rest, sent, strict=True))
            if any(result.status == "fenced" for result in sent):  # the first try may have come through after we looked
                found |= await self._look(c, items)
        return [found[n] for n in range(len(items))]

    async def _look(self, c: Connection, items: Sequence[Commit]) -> dict[int, CommitResult]:
        """Which of these took place: index -> result."""
        origins = [f"{item.task_id}.{item.lease_seq}" for item in items]
        rows = await c.fetch(self._pool.sql["took_place"], [item.run_id for item in items], origins)
        found = {}
        for position, version, status, graph in rows:
            item = items[position - 1]
            claims: tuple[Claim, ...] = ()
            names = [task.activation for task in item.tasks if task.lease]
            if names:
                made = await c.fetch(self._pool.sql["handed_on"], item.run_id, names, item.worker)
                claims = tuple(Claim(row[0], item.run_id, row[1], row[2], row[3], graph, 1, 1) for row in made)
            found[position - 1] = CommitResult("committed", version, claims, STATUS[status])
        return found


def _fail(batch: list[_Job], error: Exception) -> None:
    for job in batch:
        if not job.future.done():
            job.future.set_exception(error)


def _claims(item: Commit, task_ids: list[int], graph: str) -> tuple[Claim, ...]:
    given = [task for task in item.tasks if task.lease and not task.held and task.delay_seconds is None]
    return tuple(
        Claim(task_id, item.run_id, task.activation, task.node, task.node_type, graph, 1, 1)
        for task, task_id in zip(given, task_ids, strict=True)
    )


def _parameters(items: Sequence[Commit]) -> tuple[list[Any] | tuple[list[Any], ...], ...]:
    """The arrays of `commit_v1`, after the lease."""
    columns = Columns()
    rows = []
    for n, item in enumerate(items, 1):
        columns.add_events(n, item.events)
        moving = columns.add_tasks(n, item.tasks, lease=True) if item.tasks else False
        move = item.move
        rows.append(
            (
                item.run_id, item.task_id, item.lease_seq, item.worker, item.expected, item.after, move.to,
                move.delay_seconds, clean(move.error), move.uncounted, item.status and item.status.value,
                clean(item.error), len(item.events), moving,
            )
        )  # fmt: skip
    return (*map(list, zip(*rows, strict=True)), *columns.events, *columns.tasks, *columns.blobs)
