"""Migrations of a SQLite file, applied under its write lock, each once; `stores.migrations` has the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from treadle.ports.store import WORKER_SEEN_SECONDS, SchemaStatus
from treadle.stores import migrations as rule
from treadle.stores.sqlite import connection as sql
from treadle.stores.sqlite.connection import mapped_errors

MIGRATIONS = rule.read("treadle.stores.sqlite")
NEWEST = rule.newest(MIGRATIONS)


def migrate(connection: apsw.Connection, path: Path, *, post: bool = False, now: float = 0.0) -> list[str]:
    """Apply what is due and return the names; safe to call from several processes. All of it takes place, or nothing.

    Raises:
        StoreUnavailable: The schema is too new for this program.
        Conflict: A worker that was alive at `now` is too old for a post migration.
    """
    with mapped_errors(path):
        applied, oldest = _schema(connection)
        if not rule.due(MIGRATIONS, applied, post=post):
            rule.refuse_too_old(MIGRATIONS, oldest, max(applied), str(path))
            return []
        connection.execute("BEGIN IMMEDIATE")
        try:
            names = _apply(connection, path, post, now)
            connection.execute("COMMIT")
            return names
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _apply(connection: apsw.Connection, path: Path, post: bool, now: float) -> list[str]:
    applied, oldest = _schema(connection)
    rule.refuse_too_old(MIGRATIONS, oldest, max(applied, default=0), str(path))
    todo = rule.due(MIGRATIONS, applied, post=post)
    if applied and any(item.phase == "post" for item in todo):
        alive = dict(sql.rows(connection, "knowing_workers", (now - WORKER_SEEN_SECONDS,)))
        rule.refuse_while_old_work((item for item in todo if item.phase == "post"), alive)
    if not applied:
        connection.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, oldest INTEGER NOT NULL) STRICT")
    for item in todo:
        connection.execute(item.sql)
        connection.execute("INSERT INTO migrations (number, oldest) VALUES (?, ?)", (item.number, item.oldest))
    return [f"{item.number} {item.name}" for item in todo]


def status(connection: apsw.Connection) -> SchemaStatus:
    return rule.status(MIGRATIONS, _schema(connection)[0])


def refuse_too_old(connection: apsw.Connection, path: Path) -> None:
    """Raise StoreUnavailable if the schema has moved on beyond this program since it was opened."""
    applied, oldest = _schema(connection)
    rule.refuse_too_old(MIGRATIONS, oldest, max(applied), str(path))


def _schema(connection: apsw.Connection) -> tuple[set[int], int]:
    """Migrations applied, and the oldest program that may use the file; nothing and 0 for an empty one."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone() is None:
        return set(), 0
    found: list[Any] = connection.execute("SELECT number, oldest FROM migrations").fetchall()
    return {row[0] for row in found}, max((row[1] for row in found), default=0)
