"""Connections to one PostgreSQL database: the DSN, named queries, and how PostgreSQL's errors read as ours."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import msgspec

from treadle.errors import CodecError, ConfigError, Conflict, StoreUnavailable, TreadleError

Connection: TypeAlias = Any  # asyncpg.Connection; the package has no types
COMMAND_SECONDS = 30.0
"""A statement that takes longer is on a connection that is dead without saying so."""
CONNECT_SECONDS = 10.0
OLDEST_SERVER = 15
PARAMETERS = ("schema", "pool_size", "statement_cache_size", "listen_dsn")


class Target(msgspec.Struct, frozen=True):
    """Where the runs are kept, and how to get there."""

    dsn: str
    schema: str = "treadle"
    pool_size: int = 6
    statement_cache_size: int = 200
    """0 behind a pooler that knows no prepared statements (pgbouncer before 1.21 in transaction mode)."""
    listen_dsn: str | None = None
    """Where to LISTEN, past the pooler. None: at `dsn`, or not at all if the statement cache is off."""

    @property
    def shown(self) -> str:
        """The DSN without its password."""
        return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", self.dsn)

    @property
    def listens_at(self) -> str | None:
        return self.listen_dsn or (self.dsn if self.statement_cache_size else None)

    def sql(self, text: str) -> str:
        """The SQL of this package, for the schema of this target."""
        return text if self.schema == "treadle" else re.sub(r"\btreadle\.", f"{self.schema}.", text)


def target(dsn: str, **options: Any) -> Target:
    """Read a DSN; parameters of ours in its query are taken out of it. Options that are None are left alone.

    Raises:
        ConfigError: It is not a PostgreSQL DSN, or a parameter makes no sense.
    """
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"{parts.scheme or dsn!r} is not a PostgreSQL URL.", hint="Write postgresql://HOST/DATABASE.")
    query = parse_qsl(parts.query, keep_blank_values=True)
    named: dict[str, Any] = {name: value for name, value in query if name in PARAMETERS}
    named |= {name: value for name, value in options.items() if value is not None}
    rest = urlencode([(name, value) for name, value in query if name not in PARAMETERS])
    try:
        found = msgspec.convert({"dsn": urlunsplit(parts._replace(query=rest)), **named}, Target, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The store URL has a parameter that makes no sense: {error}.") from None
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", found.schema):
        raise ConfigError(f"{found.schema!r} cannot be a schema.", hint="Use small letters, digits and underscores.")
    if found.pool_size < 1:
        raise ConfigError(f"A pool of {found.pool_size} connections can do nothing.")
    return found


def _load_queries() -> dict[str, str]:
    text = files("treadle.stores.postgres").joinpath("queries.sql").read_text()
    parts = re.split(r"^-- (\w+) --$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip().rstrip(";") for part in parts[2::2]), strict=True))


_QUERIES = _load_queries()


def queries(where: Target) -> dict[str, str]:
    """Name -> SQL; the names are those of the port's operations or their steps."""
    return {name: where.sql(text) for name, text in _QUERIES.items()}


async def connect(where: Target, dsn: str | None = None, *, command_seconds: float = COMMAND_SECONDS) -> Connection:
    """Open a connection. Nothing is set on it, so that a pooler may lend it out.

    Raises:
        StoreUnavailable: The server is too old. Anything else is raised as asyncpg says it.
    """
    connection = await asyncpg.connect(
        dsn or where.dsn,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        statement_cache_size=where.statement_cache_size,
        max_cached_statement_lifetime=0,
    )
    version = connection.get_server_version()
    if version.major < OLDEST_SERVER:
        await connection.close()
        raise StoreUnavailable(
            f"{where.shown} is PostgreSQL {version.major}; nothing was recorded.",
            hint=f"Treadle needs PostgreSQL {OLDEST_SERVER} or newer.",
        )
    return connection


REPEATABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The server undid the statement and would do it now."""
ERRORS = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All that asyncpg may raise."""
LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # what a connection says that was told of the server's end while idle
)
"""The connection is gone, or none can be had yet."""

_HINTS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError), "Check user and password."),
    ((asyncpg.InvalidCatalogNameError,), "Create the database first: createdb NAME."),
    ((asyncpg.TooManyConnectionsError,), "Raise max_connections, lower pool_size, or put pgbouncer in front."),
    ((asyncpg.CannotConnectNowError,), "The server is starting or stopping; try again in a moment."),
    ((asyncpg.ReadOnlySQLTransactionError,), "This server is a replica; name the primary in the URL."),
    ((asyncpg.DiskFullError, asyncpg.OutOfMemoryError), "Free some space on the server. What was recorded is safe."),
    ((asyncpg.InsufficientPrivilegeError,), "Grant this user CREATE on the database, or USAGE on the schema."),
    ((asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError), "The schema is older than this Treadle: reopen."),
    ((asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError),
     "Behind a pooler in transaction mode, add ?statement_cache_size=0 to the URL."),
    ((TimeoutError,), "The server did not answer in time; look at its load and at the network between."),
    (LOST, "Is the server running, and does the URL name the right host and port?"),
)  # fmt: skip


def as_ours(error: BaseException, where: Target, consequence: str = "Nothing was recorded.") -> TreadleError:
    """The error of ours that says what this one means."""
    if isinstance(error, TreadleError):
        return error
    if isinstance(error, asyncpg.DataError | UnicodeError | ValueError):  # the server's, and asyncpg's own
        return CodecError(f"A value cannot be written to PostgreSQL: {error}. {consequence}")
    if isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name == "events_journal":
        return Conflict(f"An event of this type is recorded already under the same journal key. {consequence}")
    hint = next((text for kinds, text in _HINTS if isinstance(error, kinds)), "See the message of PostgreSQL above.")
    said = str(error).strip().rstrip(".") or type(error).__name__
    return StoreUnavailable(f"The store {where.shown} failed: {said}. {consequence}", hint=hint)
