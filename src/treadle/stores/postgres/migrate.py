"""Migrations: numbered SQL files, applied in order under an advisory lock, each once."""

from __future__ import annotations

import re
import zlib
from importlib.resources import files

from treadle.errors import StoreUnavailable
from treadle.stores.postgres.connection import Connection, Target

LOCK_SECONDS = 120


def migrations() -> list[tuple[int, int, str]]:
    """(number, oldest schema a program may know and still work with this one, SQL), in order."""
    folder = files("treadle.stores.postgres").joinpath("migrations")
    found = []
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".sql"):
            text = entry.read_text()
            oldest = re.match(r"-- oldest: (\d+)\n", text)
            assert oldest is not None, f"{entry.name} does not say how old a program may be"
            found.append((int(entry.name.split("_", 1)[0]), int(oldest[1]), text))
    return found


NEWEST = migrations()[-1][0]
"""The newest migration that this program knows."""


async def migrate(connection: Connection, where: Target) -> None:
    """Bring the schema up to date, if it is not; safe to call from many processes at once.

    A newer schema is accepted as long as it says that programs of this age still work with it, so that workers can be
    replaced one by one.

    Raises:
        StoreUnavailable: The schema is too new for this program, or the database cannot keep its text.
    """
    known = migrations()
    at, oldest = await _schema(connection, where)
    if at < known[-1][0]:
        async with connection.transaction():  # of one transaction: it all takes place, or nothing does
            lock = zlib.crc32(f"treadle {where.schema}".encode())
            await connection.execute("SELECT pg_advisory_xact_lock($1)", lock, timeout=LOCK_SECONDS)
            at, oldest = await _schema(connection, where)
            await _check_encoding(connection, where)
            for number, oldest_then, text in known:
                if number > at:
                    if not at and number == known[0][0]:
                        await _create(connection, where)
                    await connection.execute(where.sql(text), timeout=LOCK_SECONDS)
                    await connection.execute(
                        f"INSERT INTO {where.schema}.migrations (number, oldest) VALUES ($1, $2)", number, oldest_then
                    )
    if oldest > known[-1][0]:
        raise StoreUnavailable(
            f"{where.shown} has schema {at}, for programs that know {oldest} or newer; this one knows {known[-1][0]}. "
            "Nothing was recorded.",
            hint="Upgrade Treadle.",
        )


async def _schema(connection: Connection, where: Target) -> tuple[int, int]:
    """(newest migration applied, oldest program that may use it); zeros for an empty database."""
    # read, not to_regclass: that trusts a cache which may not know yet what another process has just made
    known = await connection.fetchval(
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = 'migrations'",
        where.schema,
    )
    if not known:
        return 0, 0
    row = await connection.fetchrow(f"SELECT max(number), max(oldest) FROM {where.schema}.migrations")
    return row[0] or 0, row[1] or 0


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
