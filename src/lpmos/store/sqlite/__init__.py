"""The embedded store: SQLite inside the process that serves it, for a single machine."""

from lpmos.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
