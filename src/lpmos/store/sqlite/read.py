"""Reading keys out of the database: now, as they were at a revision, and as they changed.

Every function is one statement, or several inside one transaction of its own, so that what it
returns belongs to a single revision.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from lpmos.store.api import KV, Compacted, FutureRevision, Page, WatchBatch, WatchEvent
from lpmos.store.sqlite.schema import (
    Standing,
    prefix_end,
    read_standing,
    revision_of,
    row_id,
)

Row = tuple[int, bytes, int, int, int, bytes]
NO_LIMIT = -1

_LIVE = (
    "SELECT l.id, l.key, l.create_revision, l.version, l.lease, h.value"
    " FROM live l JOIN history h ON h.id = l.id"
)
_LIVE_KEYS_ONLY = "SELECT l.id, l.key, l.create_revision, l.version, l.lease, x'' FROM live l"
_AT = (
    "SELECT h.id, h.key, h.create_revision, h.version, h.lease, h.value FROM history h"
    " WHERE h.key >= ?1 AND h.key < ?2 AND h.id < ?3 AND NOT EXISTS ("
    "  SELECT 1 FROM history newer"
    "  WHERE newer.key = h.key AND newer.id > h.id AND newer.id < ?3)"
    " AND h.version > 0 ORDER BY h.key LIMIT ?4"
)


def live_key(connection: sqlite3.Connection, key: bytes) -> KV | None:
    """The key as it is now."""
    row = connection.execute(f"{_LIVE} WHERE l.key = ?", (key,)).fetchone()
    return _kv(row) if row else None


def live_range(
    connection: sqlite3.Connection,
    start: bytes,
    end: bytes,
    limit: int = NO_LIMIT,
    *,
    keys_only: bool = False,
) -> list[KV]:
    """The keys from `start` up to but not including `end` as they are now, in order."""
    columns = _LIVE_KEYS_ONLY if keys_only else _LIVE
    rows = connection.execute(
        f"{columns} WHERE l.key >= ? AND l.key < ? ORDER BY l.key LIMIT ?", (start, end, limit)
    )
    return [_kv(row) for row in rows.fetchall()]


def key_at(connection: sqlite3.Connection, key: bytes, revision: int) -> KV | None:
    """The key as it was at `revision`.

    Raises:
        Compacted: the revision is gone.
        FutureRevision: it has not happened.
    """
    with snapshot(connection) as now:
        require_readable(now, revision)
        row = connection.execute(
            "SELECT id, key, create_revision, version, lease, value FROM history"
            " WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1",
            (key, row_id(revision + 1)),
        ).fetchone()
        return _kv(row) if row and row[3] else None


class Query(NamedTuple):
    """Which keys to read: under `prefix`, at `revision` (0: now), at most `limit` (0: all).

    A query that goes on with a listing has the `start` to go on from and the `total` of all.
    """

    prefix: bytes
    revision: int = 0
    limit: int = 0
    keys_only: bool = False
    start: bytes = b""
    total: int | None = None

    def after(self, page: Page) -> "Query":
        """The query for what follows `page`, at its revision."""
        start = page.kvs[-1].key.encode() + b"\0"
        return self._replace(revision=page.revision, start=start, total=page.count)


def page(connection: sqlite3.Connection, query: Query) -> Page:
    """The keys of a query; raises as `key_at`. `count` is their number without the limit."""
    start, end = query.start or query.prefix, prefix_end(query.prefix)
    with snapshot(connection) as now:
        at = query.revision or now.revision
        require_readable(now, at)
        limit = query.limit + 1 if query.limit else NO_LIMIT
        if at == now.revision:
            kvs = live_range(connection, start, end, limit, keys_only=query.keys_only)
        else:
            kvs = _range_at(connection, start, end, limit, at)
        more = bool(query.limit) and len(kvs) > query.limit
        count = query.total
        if count is None:
            count = _count(connection, start, end, at) if more else len(kvs)
    if more:
        kvs.pop()
    if query.keys_only:
        kvs = [msgspec.structs.replace(kv, value=b"") if kv.value else kv for kv in kvs]
    return Page(tuple(kvs), at, more, count)


def changes(
    connection: sqlite3.Connection, prefix: bytes, since: int, before: int, limit: int
) -> tuple[WatchBatch | None, int]:
    """About `limit` changes under `prefix` from revision `since` on, and where to go on reading.

    Whole revisions only, all of them earlier than `before`.

    Raises:
        Compacted: `since` is gone.
    """
    with snapshot(connection) as now:
        if since < now.compact_revision:
            raise Compacted(now.compact_revision)
        rows = _history(connection, prefix, row_id(since), row_id(before), limit)
        if len(rows) < limit:
            resume = before
        else:
            resume = revision_of(rows[-1][0]) + 1
            rows += _history(connection, prefix, rows[-1][0] + 1, row_id(resume), NO_LIMIT)
    if not rows:
        return None, resume
    return WatchBatch(revision_of(rows[-1][0]), tuple(_event(row) for row in rows)), resume


def standing(connection: sqlite3.Connection) -> Standing:
    """Where the store stands now."""
    return read_standing(connection)


def in_use_bytes(connection: sqlite3.Connection) -> int:
    """What the file's pages that hold something take."""
    pages, free, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_bytes


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[Standing]:
    """A read transaction, and where the store stands in it."""
    connection.execute("BEGIN")
    try:
        yield read_standing(connection)
    finally:
        connection.execute("COMMIT")


def require_readable(now: Standing, revision: int) -> None:
    """Refuse a revision that is gone or has not happened."""
    if revision < now.compact_revision:
        raise Compacted(now.compact_revision)
    if revision > now.revision:
        raise FutureRevision(f"revision {revision} is beyond {now.revision}")


def _range_at(
    connection: sqlite3.Connection, start: bytes, end: bytes, limit: int, revision: int
) -> list[KV]:
    rows = connection.execute(_AT, (start, end, row_id(revision + 1), limit)).fetchall()
    return [_kv(row) for row in rows]


def _count(connection: sqlite3.Connection, start: bytes, end: bytes, revision: int) -> int:
    bound = row_id(revision + 1)
    return int(
        connection.execute(
            "SELECT count(*) FROM (SELECT version, max(id) FROM history"
            " WHERE key >= ? AND key < ? AND id < ? GROUP BY key) WHERE version > 0",
            (start, end, bound),
        ).fetchone()[0]
    )


def _history(
    connection: sqlite3.Connection, prefix: bytes, first: int, bound: int, limit: int
) -> list[Row]:
    rows: list[Row] = connection.execute(
        "SELECT id, key, create_revision, version, lease, value FROM history NOT INDEXED"
        " WHERE id >= ? AND id < ? AND key >= ? AND key < ? ORDER BY id LIMIT ?",
        (first, bound, prefix, prefix_end(prefix), limit),
    ).fetchall()
    return rows


def _kv(row: Row) -> KV:
    place, key, create_revision, version, lease, value = row
    return KV(key.decode(), value, create_revision, revision_of(place), version, lease)


def _event(row: Row) -> WatchEvent:
    return WatchEvent("put" if row[3] else "delete", _kv(row))
