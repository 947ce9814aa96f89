"""The store on PostgreSQL 15 or newer, for any number of processes on any number of hosts."""

from treadle.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
