"""Connections to one SQLite file: pragmas, named queries, and how SQLite's errors read as ours."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw

from treadle.errors import StoreUnavailable, TreadleError

BUSY_MS = 30_000
"""How long a transaction waits for another process to finish its own, which is short."""


def _load_queries() -> dict[str, str]:
    text = files("treadle.stores.sqlite").joinpath("queries.sql").read_text()
    parts = re.split(r"^-- (\w+) --$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip().rstrip(";") for part in parts[2::2]), strict=True))


Q = _load_queries()
"""Name -> SQL; the names are those of the port's operations or their steps."""


def rows(connection: apsw.Connection, name: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows of a named query."""
    return connection.execute(Q[name], values).fetchall()


def row(connection: apsw.Connection, name: str, values: Sequence[Any] = ()) -> Any:
    """The first row of a named query, or None."""
    return connection.execute(Q[name], values).fetchone()


def run(connection: apsw.Connection, name: str, values: Sequence[Any] = ()) -> None:
    """Execute a named statement."""
    connection.execute(Q[name], values)


def connect(path: Path, *, synchronous: str = "FULL", readonly: bool = False) -> apsw.Connection:
    """Open a connection. Raises StoreUnavailable."""
    with mapped_errors(path):
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(path), flags=flags, statementcachesize=200)
        connection.set_busy_timeout(BUSY_MS)
        # Without it, SQLite prepares most of our statements anew whenever they are given other values.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        if not readonly:
            _write_ahead(connection)
            connection.execute(f"PRAGMA synchronous = {synchronous}")
        return connection


def _write_ahead(connection: apsw.Connection) -> None:
    """Set WAL mode. SQLite does not wait by itself when several processes do so to a new file at once."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.005)


@contextmanager
def mapped_errors(path: Path, consequence: str = "Nothing was recorded.") -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except apsw.Error as error:
        raise as_ours(error, path, consequence) from error


def as_ours(error: apsw.Error, path: Path, consequence: str = "Nothing was recorded.") -> TreadleError:
    hints = {
        apsw.FullError: "The disk is full; free some space. Nothing that was recorded is lost.",
        apsw.NotADBError: "This file is not a Treadle database; move it away or name another with --store.",
        apsw.CorruptError: "The database is damaged; restore it from a copy, or move it away.",
        apsw.ReadOnlyError: "The file or its folder is not writable by this user.",
        apsw.CantOpenError: "The folder does not exist or cannot be written.",
        apsw.BusyError: "Another process has held the database for 30 s; see `treadle workers list`.",
    }
    hint = next((text for cls, text in hints.items() if isinstance(error, cls)), "See the message of SQLite above.")
    return StoreUnavailable(f"The store {path} failed: {error}. {consequence}", hint=hint)
