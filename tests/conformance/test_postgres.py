"""PostgreSQL keeps the contract of the store port: the newest from the wheel, and 15 from Debian."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from treadle.ports.store import Store
from treadle.testing.clock import FakeClock
from treadle.testing.postgres import Server, server_or_skip, system_binaries, wheel_binaries
from treadle.testing.store_suite import StoreFactory, StoreSuite

asyncpg = pytest.importorskip("asyncpg")

from treadle.stores.postgres import PostgresStore  # noqa: E402

schemas = (f"t{number}" for number in itertools.count())


class Admin:
    """A connection that code without an event loop can use: it has a thread and a loop of its own."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection = self._run(asyncpg.connect(dsn))

    def _run(self, work: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(30)

    def execute(self, sql: str, *values: Any) -> None:
        self._run(self._connection.execute(sql, *values))

    def close(self) -> None:
        self._run(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class DatabaseClock(FakeClock):
    """A fake clock that the functions in the database look at."""

    def __init__(self, admin: Admin, schema: str) -> None:
        super().__init__()
        self._admin = admin
        self._table = f"clock_of_{schema}"
        admin.execute(f"CREATE TABLE {self._table} (now float8)")
        admin.execute(f"INSERT INTO {self._table} VALUES ($1)", self.now())
        self.install = (
            f"CREATE OR REPLACE FUNCTION {schema}.clock_v1() RETURNS float8 LANGUAGE sql VOLATILE "
            f"AS 'SELECT now FROM public.{self._table}'"
        )

    def advance(self, seconds: float) -> float:
        now = super().advance(seconds)
        self._admin.execute(f"UPDATE {self._table} SET now = $1", now)
        return now

    def remove(self) -> None:
        self._admin.execute(f"DROP TABLE {self._table}")


@pytest.fixture(scope="module")
def admin_of() -> Iterator[Callable[[Server], Admin]]:
    admins: dict[str, Admin] = {}

    def connect(server: Server) -> Admin:
        if server.dsn() not in admins:
            admins[server.dsn()] = Admin(server.dsn())
        return admins[server.dsn()]

    yield connect
    for admin in admins.values():
        admin.close()


class PostgresSuite(StoreSuite):
    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def admin(self, server: Server, admin_of: Callable[[Server], Admin]) -> Admin:
        return admin_of(server)

    @pytest.fixture
    def schema(self) -> str:
        return next(schemas)

    @pytest.fixture
    def clock(self, admin: Admin, schema: str) -> Iterator[FakeClock]:
        clock = DatabaseClock(admin, schema)
        yield clock
        admin.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        clock.remove()

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def factory(self, server: Server, admin: Admin, schema: str, options: dict[str, Any]) -> StoreFactory:
        async def make(clock: FakeClock) -> Store:
            assert isinstance(clock, DatabaseClock)
            store = PostgresStore(server.dsn(), schema=schema, **options)
            await store.open()
            admin.execute(clock.install)
            return store

        return make


class TestPostgresFromTheWheel(PostgresSuite):
    @pytest.fixture
    def server(self) -> Server:
        return server_or_skip(wheel_binaries)


class TestPostgres15(PostgresSuite):
    @pytest.fixture
    def server(self) -> Server:
        return server_or_skip(lambda: system_binaries(15))


class TestPostgresAsBehindAPooler(TestPostgresFromTheWheel):
    """Without prepared statements and without LISTEN: in transaction mode a pooler has neither."""

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"statement_cache_size": 0, "pool_size": 2}
