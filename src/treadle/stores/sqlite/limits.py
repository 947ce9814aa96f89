"""Limits of queues: what a claim may still take of one, and when to ask again. Within the claim's own transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from treadle.domain.limit import Limit, LimitRow
from treadle.ports.store import no_limit
from treadle.stores.sqlite import connection as sql
from treadle.stores.sqlite.rows import Row

KEY = 10
"""Where the key stands in a row of `ready_tasks`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker asks for."""

    queues: Sequence[str]
    limit: int
    graphs: str | None
    """JSON list, or None for all."""
    node_types: str | None


def known(c: apsw.Connection) -> dict[str, Limit]:
    """Every limit, by queue."""
    return {row[0]: Limit(*row) for row in sql.rows(c, "limit_rows")}


def queues(c: apsw.Connection) -> frozenset[str]:
    """Queues with a limit: their tasks are never handed on."""
    return frozenset(row[0] for row in sql.rows(c, "limited_queues"))


def allowed(c: apsw.Connection, limit: Limit, wanted: Wanted, now: float) -> tuple[list[Row], float | None]:
    """Ready tasks of a limited queue that may be begun now, in claim order; seconds until its rate allows more."""
    room, hold = wanted.limit, None
    keys = Counter({key: held for key, held in sql.rows(c, "held_keys", (limit.queue,))})
    if limit.concurrency is not None:
        room = min(room, limit.concurrency - keys.total())
    if limit.rate is not None:
        begun, first = _lately(c, limit, now)
        if limit.rate - begun < room:
            room = limit.rate - begun
            hold = (now if first is None else first) + limit.rate_seconds - now
    found: list[Row] = []
    if room <= 0:
        return found, hold
    most = room if limit.per_key is None else -1
    for row in c.execute(sql.Q["ready_tasks"], (limit.queue, most, wanted.graphs, wanted.node_types)):
        key = row[KEY]
        if limit.per_key is not None and key is not None:
            if keys[key] >= limit.per_key:
                continue
            keys[key] += 1
        found.append(row)
        if len(found) == room:
            break
    return found, hold


def _lately(c: apsw.Connection, limit: Limit, now: float) -> tuple[int, float | None]:
    """How many tasks count against the rate, and when the first of them was begun."""
    begun, first = sql.row(c, "begun", (limit.queue, now - limit.rate_seconds))
    return begun or 0, first


def begin(c: apsw.Connection, limits: dict[str, Limit], queues: Iterable[str], now: float) -> None:
    """Count tasks that are begun now against the rates of their queues."""
    for queue, tasks in Counter(queues).items():
        limit = limits.get(queue)
        if limit is not None and limit.rate is not None:
            sql.run(c, "forget_starts", (queue, now - limit.rate_seconds))
            sql.run(c, "add_start", (queue, now, tasks))


def put(c: apsw.Connection, limit: Limit) -> None:
    sql.run(c, "put_limit", (limit.queue, limit.concurrency, limit.per_key, limit.rate, limit.rate_seconds))


def remove(c: apsw.Connection, queue: str) -> None:
    sql.run(c, "delete_limit", (queue,))
    if not c.changes():
        raise no_limit(queue)
    sql.run(c, "forget_starts", (queue, float("inf")))


def rows(c: apsw.Connection, now: float) -> list[LimitRow]:
    told = []
    for limit in known(c).values():
        held = sum(count for _, count in sql.rows(c, "held_keys", (limit.queue,)))
        told.append(LimitRow(limit, held, _lately(c, limit, now)[0] if limit.rate is not None else 0))
    return told
