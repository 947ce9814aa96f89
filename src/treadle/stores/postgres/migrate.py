"""Migrations of a PostgreSQL schema, applied under an advisory lock, each once; `stores.migrations` has the rule."""

from __future__ import annotations

import asyncio
import zlib

import asyncpg

from treadle.errors import StoreUnavailable
from treadle.ports.store import WORKER_SEEN_SECONDS, SchemaStatus
from treadle.stores import migrations as rule
from treadle.stores.postgres.connection import Connection, Target

LOCK_SECONDS = 120
TABLE_LOCK = "2s"
"""How long a migration may wait for a table: whoever writes to it queues behind it meanwhile."""
TRIES = 30
MIGRATIONS = rule.read("treadle.stores.postgres")
NEWEST = rule.newest(MIGRATIONS)


async def migrate(connection: Connection, where: Target, *, post: bool = False) -> list[str]:
    """Apply what is due and return the names; safe to call from many processes at once. All takes place, or nothing.

    A newer schema is accepted as long as it says that programs of this age still work with it, so that workers can be
    replaced one by one.

    Raises:
        StoreUnavailable: The schema is too new for this program, or the database cannot keep its text.
        Conflict: A worker that is alive is too old for a post migration.
    """
    applied, oldest = await _schema(connection, where)
    if not rule.due(MIGRATIONS, applied, post=post):
        rule.refuse_too_old(MIGRATIONS, oldest, max(applied), where.shown)
        return []
    for left in range(TRIES - 1, -1, -1):
        try:
            async with connection.transaction():
                return await _apply(connection, where, post)
        except asyncpg.LockNotAvailableError:
            if not left:
                raise
            await asyncio.sleep(0.5)
    raise AssertionError("unreachable")


async def _apply(connection: Connection, where: Target, post: bool) -> list[str]:
    lock = zlib.crc32(f"treadle {where.schema}".encode())
    await connection.execute("SELECT pg_advisory_xact_lock($1)", lock, timeout=LOCK_SECONDS)
    await connection.execute(f"SET LOCAL lock_timeout = '{TABLE_LOCK}'")
    applied, oldest = await _schema(connection, where)
    rule.refuse_too_old(MIGRATIONS, oldest, max(applied, default=0), where.shown)
    await _check_encoding(connection, where)
    todo = rule.due(MIGRATIONS, applied, post=post)
    if not applied:
        await _create(connection, where)
    elif any(item.phase == "post" for item in todo):
        sql = where.sql("SELECT worker, knows FROM treadle.workers WHERE seen_at > treadle.clock_v1() - $1::float8")
        alive = dict(await connection.fetch(sql, WORKER_SEEN_SECONDS))
        rule.refuse_while_old_work((item for item in todo if item.phase == "post"), alive)
    for item in todo:
        await connection.execute(where.sql(item.sql), timeout=LOCK_SECONDS)
        insert = f"INSERT INTO {where.schema}.migrations (number, oldest) VALUES ($1, $2)"
        await connection.execute(insert, item.number, item.oldest)
    return [f"{item.number} {item.name}" for item in todo]


async def status(connection: Connection, where: Target) -> SchemaStatus:
    return rule.status(MIGRATIONS, (await _schema(connection, where))[0])


async def _schema(connection: Connection, where: Target) -> tuple[set[int], int]:
    """Migrations applied, and the oldest program that may use the schema; nothing and 0 for an empty database."""
    # read, not to_regclass: that trusts a cache which may not know yet what another process has just made
    known = await connection.fetchval(
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = 'migrations'",
        where.schema,
    )
    if not known:
        return set(), 0
    found = await connection.fetch(f"SELECT number, oldest FROM {where.schema}.migrations")
    return {row[0] for row in found}, max((row[1] for row in found), default=0)


async def _create(connection: Connection, where: Target) -> None:
    known = await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", where.schema)
    if not known:  # not IF NOT EXISTS: a user who may not create schemas may be given one
        await connection.execute(f"CREATE SCHEMA {where.schema}")
    await connection.execute(
        f"CREATE TABLE {where.schema}.migrations (number integer PRIMARY KEY, oldest integer NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())"
    )


async def _check_encoding(connection: Connection, where: Target) -> None:
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"The database {where.shown} is encoded as {encoding}; nothing was recorded.",
            hint="Create it with ENCODING 'UTF8' TEMPLATE template0.",
        )
