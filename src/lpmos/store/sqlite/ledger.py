"""The rules of the store on the writer's connection: compares, changes, leases, revisions.

A ledger is used by one thread, and inside its `transaction` only. Every change goes through
`_Change`, which writes `history` and `live` together; a transaction that fails leaves the ledger
as it was, in the database and here.
"""

import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from lpmos.store.api import (
    KV,
    Compacted,
    Compare,
    Delete,
    FutureRevision,
    Get,
    LeaseNotFound,
    Operation,
    Put,
    TxnResult,
    WatchBatch,
    WatchEvent,
)
from lpmos.store.sqlite import read
from lpmos.store.sqlite.requests import Transaction
from lpmos.store.sqlite.schema import prefix_end, read_standing, revision_of, row_id

SWEEP_ROWS = 1000

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_INSERT_HISTORY = "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)"
_PUT_LIVE = "INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?, ?)"
_READ_LIVE = "SELECT id, create_revision, version FROM live WHERE key = ?"


class Ledger:
    """The store's state as the writer sees it, with what it has changed but not committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.revision = self.committed_revision = self.compact_revision = 0
        self.leases: dict[int, int] = {}
        self._settled = False
        self._settle()

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, durably, or undo all of it and raise.

        Raises:
            sqlite3.Error: the database could not do it.
        """
        self._settle()
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._settled = False
        try:
            yield
            if self.revision != self.committed_revision:
                execute("UPDATE standing SET revision = ?", (self.revision,))
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # tried again before the next transaction
                self._roll_back()
            raise
        self.committed_revision = self.revision
        self._settled = True

    def _settle(self) -> None:
        """After a transaction that failed: be what the database says."""
        if self._settled:
            return
        self._roll_back()
        standing = read_standing(self._connection)
        self.committed_revision = self.revision = standing.revision
        self.compact_revision = standing.compact_revision
        self._swept_id = standing.swept_id
        self.leases = dict(self._connection.execute("SELECT id, ttl_s FROM lease").fetchall())
        self._batches: list[WatchBatch] = []
        self._settled = True

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def take_batches(self) -> Sequence[WatchBatch]:
        """The changes committed since the last call."""
        batches, self._batches = self._batches, []
        return batches

    def transact(self, request: Transaction) -> TxnResult:
        """Do one transaction; where it raises, nothing was changed.

        Raises:
            LeaseNotFound: a put names a lease that has ended.
        """
        holds = all(self._holds(compare) for compare in request.compare)
        branch = request.success if holds else request.failure
        for operation in branch:
            if isinstance(operation, Put) and operation.lease:
                self._require_lease(operation.lease)
        change = _Change(self._connection, self.revision + 1)
        results = tuple(self._perform(operation, change) for operation in branch)
        self._keep(change)
        return TxnResult(succeeded=holds, revision=self.revision, results=results)

    def grant(self, ttl_s: int) -> int:
        """The id of a new lease; ids are never used again."""
        cursor = self._connection.execute("INSERT INTO lease (ttl_s) VALUES (?)", (ttl_s,))
        lease = cursor.lastrowid
        assert lease is not None  # noqa: S101 - an insert always has one
        self.leases[lease] = ttl_s
        return lease

    def revoke(self, lease: int) -> int:
        """End a lease and delete all its keys as one revision; the revision.

        Raises:
            LeaseNotFound: it has ended already.
        """
        self._require_lease(lease)
        keys = self._connection.execute(
            "SELECT key FROM live WHERE lease = ? ORDER BY key", (lease,)
        ).fetchall()
        change = _Change(self._connection, self.revision + 1)
        change.delete(key for (key,) in keys)
        self._connection.execute("DELETE FROM lease WHERE id = ?", (lease,))
        del self.leases[lease]
        self._keep(change)
        return self.revision

    def compact(self, revision: int) -> None:
        """Make everything before `revision` unreadable; `sweep` then frees the space.

        Raises:
            Compacted: that was done already.
            FutureRevision: the revision has not happened.
        """
        if revision <= self.compact_revision:
            raise Compacted(self.compact_revision)
        if revision > self.revision:
            raise FutureRevision(f"revision {revision} is beyond {self.revision}")
        self._connection.execute("UPDATE standing SET compact_revision = ?", (revision,))
        self.compact_revision = revision

    @property
    def unswept(self) -> bool:
        """Whether compacted rows still take space."""
        return self._swept_id < row_id(self.compact_revision)

    def sweep(self) -> None:
        """Delete some compacted rows: what the next rows of history replaced, and tombstones.

        A tombstone of the compact revision itself stays, as a watch may begin there.
        """
        end = row_id(self.compact_revision)
        count, last = self._connection.execute(
            "SELECT count(*), max(id) FROM"
            " (SELECT id FROM history WHERE id >= ? AND id < ? LIMIT ?)",
            (self._swept_id, row_id(self.compact_revision + 1), SWEEP_ROWS),
        ).fetchone()
        self._connection.execute(
            "DELETE FROM history WHERE id IN (SELECT old.id FROM history new JOIN history old"
            " ON old.key = new.key AND old.id < new.id WHERE new.id BETWEEN ? AND ?)",
            (self._swept_id, last),
        )
        self._connection.execute(
            "DELETE FROM history WHERE id BETWEEN ? AND ? AND id < ? AND version = 0",
            (self._swept_id, last, end),
        )
        self._swept_id = end if count < SWEEP_ROWS else min(last + 1, end)
        self._connection.execute("UPDATE standing SET swept_id = ?", (self._swept_id,))

    def _keep(self, change: "_Change") -> None:
        if change.events:
            self.revision = change.revision
            self._batches.append(WatchBatch(change.revision, tuple(change.events)))

    def _require_lease(self, lease: int) -> None:
        if lease not in self.leases:
            raise LeaseNotFound(f"lease {lease} has ended")

    def _holds(self, compare: Compare) -> bool:
        """A missing key has revisions and version 0; it has no value, so none compares."""
        key = compare.key.encode()
        row = self._connection.execute(_READ_LIVE, (key,)).fetchone()
        actual: int | bytes
        match compare.target:
            case "mod":
                actual = revision_of(row[0]) if row else 0
            case "create":
                actual = row[1] if row else 0
            case "version":
                actual = row[2] if row else 0
            case "value":
                if row is None:
                    return False
                actual = self._connection.execute(
                    "SELECT value FROM history WHERE id = ?", (row[0],)
                ).fetchone()[0]
        return _OPERATORS[compare.operator](actual, compare.operand)

    def _perform(self, operation: Operation, change: "_Change") -> int | tuple[KV, ...] | None:
        key = operation.key.encode()
        match operation:
            case Put():
                change.put(key, operation.value, operation.lease)
                return None
            case Delete(prefix=True):
                keys = self._connection.execute(
                    "SELECT key FROM live WHERE key >= ? AND key < ? ORDER BY key",
                    (key, prefix_end(key)),
                ).fetchall()
                return change.delete(found for (found,) in keys)
            case Delete():
                return change.delete([key])
            case Get(prefix=True):
                return tuple(read.live_range(self._connection, key, prefix_end(key)))
            case Get():
                kv = read.live_key(self._connection, key)
                return (kv,) if kv else ()


class _Change:
    """The writes of one revision, numbered in the order in which they are made."""

    def __init__(self, connection: sqlite3.Connection, revision: int) -> None:
        self._connection = connection
        self.revision = revision
        self.events: list[WatchEvent] = []

    def put(self, key: bytes, value: bytes, lease: int) -> None:
        execute = self._connection.execute
        row = execute(_READ_LIVE, (key,)).fetchone()
        create_revision, version = (row[1], row[2] + 1) if row else (self.revision, 1)
        place = row_id(self.revision, len(self.events))
        execute(_INSERT_HISTORY, (place, key, create_revision, version, lease, value))
        execute(_PUT_LIVE, (key, place, create_revision, version, lease))
        kv = KV(key.decode(), value, create_revision, self.revision, version, lease)
        self.events.append(WatchEvent("put", kv))

    def delete(self, keys: Iterable[bytes]) -> int:
        """Delete those of the keys that exist; how many did."""
        count = 0
        for key in keys:
            if self._connection.execute("DELETE FROM live WHERE key = ?", (key,)).rowcount:
                place = row_id(self.revision, len(self.events))
                self._connection.execute(_INSERT_HISTORY, (place, key, 0, 0, 0, b""))
                kv = KV(key.decode(), b"", 0, self.revision, 0)
                self.events.append(WatchEvent("delete", kv))
                count += 1
        return count
