"""The store on one SQLite file, for several processes of one host at once."""

from treadle.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
