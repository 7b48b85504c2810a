"""The database file: its tables, how a connection to it is opened, and what its errors mean.

`history` has one row for every change, and its row id is the change's place in time: the revision
in the high bits, the place within the revision in the low ones. So a revision is a range of row
ids, a watch is a walk over them, and the state at a revision is the last row of each key before
its end. `live` has the keys that exist now and is only ever written together with `history`.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from lpmos.store.api import Ambiguous, Damaged, NoSpace, StoreError, Unavailable

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C504D53  # "LPMS", so that `file` and we can tell what the file is
PLACE_BITS = 24
FIRST_REVISION = 1
BUSY_TIMEOUT_S = 5.0

_TABLES = f"""
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX history_by_key ON history (key, id);
CREATE TABLE live (
    key BLOB PRIMARY KEY,
    id INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX live_by_lease ON live (lease) WHERE lease != 0;
CREATE TABLE lease (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_s INTEGER NOT NULL);
CREATE TABLE standing (
    revision INTEGER NOT NULL,
    compact_revision INTEGER NOT NULL,
    swept_id INTEGER NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Standing(NamedTuple):
    """Where the store stands: its revision, the oldest readable one, the last row swept."""

    revision: int
    compact_revision: int
    swept_id: int


def row_id(revision: int, place: int = 0) -> int:
    """The row id of the change at `place` within `revision`."""
    return revision << PLACE_BITS | place


def revision_of(row: int) -> int:
    """The revision that a row belongs to."""
    return row >> PLACE_BITS


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, which is not empty.

    UTF-8 has no byte 0xFF, so the last byte always has a successor.
    """
    return prefix[:-1] + bytes([prefix[-1] + 1])


def connect(path: Path) -> sqlite3.Connection:
    """A connection on which every commit is on the disk before it returns."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in a new file; in an old one check that it is ours and of this version.

    Raises:
        Damaged: the file is no database, not ours, or of a newer LPMOS.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application_id == 0 and version == 0 and not _has_tables(connection):
        _create(connection)
    elif application_id != APPLICATION_ID:
        raise Damaged("the file is a database of another program; choose another path")
    elif version != SCHEMA_VERSION:
        raise Damaged(f"the file has format {version}, this LPMOS reads {SCHEMA_VERSION}")
    read_standing(connection)


def read_standing(connection: sqlite3.Connection) -> Standing:
    """Where the store stands in this connection's transaction."""
    row = connection.execute("SELECT revision, compact_revision, swept_id FROM standing").fetchone()
    if row is None:
        raise Damaged("the file has lost its revision; restore a snapshot")
    return Standing(*row)


def store_error(error: sqlite3.Error) -> StoreError:
    """What an error of SQLite means to the caller, in the store's own terms."""
    code = getattr(error, "sqlite_errorcode", 0)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return NoSpace("the disk of the store is full; make space and it goes on")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Damaged(f"the store's file is damaged ({error}); restore a snapshot")
        case sqlite3.SQLITE_IOERR if code in _IO_ERRORS_AFTER_WRITE:
            return Ambiguous(f"the disk failed while the change was made durable ({error})")
        case _:
            return Unavailable(f"the store's file cannot be used now ({error})")


_IO_ERRORS_AFTER_WRITE = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}")
    connection.execute("INSERT INTO standing VALUES (?, 0, 0)", (FIRST_REVISION,))
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
