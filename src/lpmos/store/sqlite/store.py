"""`SqliteStore`: the embedded store put together from its writer, readers, watches and leases.

One process opens the file, and holds a lock on it for as long as it does. Writes go through one
thread with group commit; reads use connections of their own and never wait for a commit.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Self

from lpmos.store.api import (
    KV,
    CasConflict,
    Compare,
    Delete,
    InvalidRequest,
    NoSpace,
    Operation,
    Page,
    Put,
    StoreStatus,
    TxnResult,
    WatchBatch,
)
from lpmos.store.election import LeaseLeadership, elect
from lpmos.store.sqlite import read
from lpmos.store.sqlite.files import FileLock, copy_database, create_private, size_bytes
from lpmos.store.sqlite.leases import Clock, HeldLease, LeaseKeeper
from lpmos.store.sqlite.ledger import Ledger
from lpmos.store.sqlite.readers import Readers
from lpmos.store.sqlite.requests import key_bytes, transaction
from lpmos.store.sqlite.schema import connect, prepare, store_error
from lpmos.store.sqlite.watches import Watches
from lpmos.store.sqlite.writer import Writer

MAX_TTL_S = 9_000_000_000


class SqliteStore:
    """The store of one process in one file; see `lpmos.store.api.Store` for the methods."""

    def __init__(
        self, path: Path, ledger: Ledger, readers: Readers, files: ExitStack, clock: Clock
    ) -> None:
        """Used by `open`; `files` lets go of all files when it is closed."""
        self._path = path
        self._readers = readers
        self._files = files
        self._clock = clock
        self._watches = Watches(ledger.revision, self._read_changes)
        self._keeper = LeaseKeeper(ledger.leases, clock, self._end_lease)
        self._writer = Writer(ledger, self._watches.publish)
        self._keeping = asyncio.create_task(self._keeper.run(), name="store-leases")

    @classmethod
    async def open(cls, path: Path, *, clock: Clock = time.monotonic) -> Self:
        """Open the store in `path`, which is made where it does not exist.

        `clock` gives the seconds by which leases end.

        Raises:
            StoreLocked: another process serves it.
            Damaged: the file is broken or is not a store.
            Unavailable, NoSpace: the file or its directory cannot be used.
        """
        with ExitStack() as files:
            files.callback(FileLock(path).release)
            ledger = await asyncio.to_thread(_open_ledger, path)
            files.callback(ledger.close)
            readers = await asyncio.to_thread(Readers, path)
            files.callback(readers.close)
            return cls(path, ledger, readers, files.pop_all(), clock)

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """The key now or at a revision."""
        if revision:
            return await self._readers.run(read.key_at, key_bytes(key), revision)
        return await self._readers.run(read.live_key, key_bytes(key))

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """The keys under a prefix, at one revision; `count` is their number without the limit."""
        query = read.Query(key_bytes(prefix), revision, limit, keys_only)
        return await self._readers.run(read.page, query)

    async def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """The keys under a prefix in pages, all at the revision of the first."""
        query = read.Query(key_bytes(prefix), limit=page)
        while True:
            found = await self._readers.run(read.page, query)
            yield found
            if not found.more:
                return
            query = query.after(found)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write one key; the revision."""
        return (await self.txn((), (Put(key, value, lease),))).revision

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """Delete a key or all under a prefix; how many there were."""
        count = (await self.txn((), (Delete(key, prefix=prefix),))).results[0]
        assert isinstance(count, int)  # noqa: S101 - what a Delete gives
        return count

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """Do one of two branches atomically."""
        request = transaction(compare, success, failure)
        return await self._writer.submit(lambda ledger: ledger.transact(request))

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        """Write the key where it is at `mod_revision`; the new revision."""
        compare = Compare(key, "mod", "=", mod_revision)
        result = await self.txn((compare,), (Put(key, value, lease),))
        if not result.succeeded:
            raise CasConflict(f"{key} is not at revision {mod_revision}; read it again")
        return result.revision

    async def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        """Every change under a prefix from a revision on, until the store is closed."""
        key_bytes(prefix)
        if from_revision < 0:
            raise InvalidRequest(f"there is no revision {from_revision}")
        watch = self._watches.watch(prefix, from_revision)
        async with aclosing(watch):
            async for batch in watch:
                yield batch

    async def grant(self, ttl_s: int) -> HeldLease:
        """A new lease, kept alive until it is revoked or lost."""
        if not 0 < ttl_s <= MAX_TTL_S:
            raise InvalidRequest(f"a lease of {ttl_s} s cannot be")
        asked_at = self._clock()
        id_ = await self._writer.submit(lambda ledger: ledger.grant(ttl_s))
        return self._keeper.hold(id_, ttl_s, asked_at)

    async def elect(self, name: str, identity: str, ttl_s: int) -> LeaseLeadership:
        """Wait until this candidate leads `name`; cancel to stop waiting."""
        return await elect(self, name, identity, ttl_s)

    async def compact(self, revision: int) -> None:
        """Forget the history before `revision`; space is freed in the background.

        Raises:
            Compacted: that was done already.
            FutureRevision: the revision has not happened.
        """
        await self._writer.submit(lambda ledger: ledger.compact(revision))

    async def snapshot(self, path: Path) -> None:
        """Copy the whole store into a new file, which `open` opens.

        Raises:
            InvalidRequest: the file exists or cannot be written.
            NoSpace: there is no room for it.
        """
        await self._readers.run(copy_database, path)

    async def status(self) -> StoreStatus:
        """How the store is; `alarms` has what the last commit failed of."""
        standing = await self._readers.run(read.standing)
        error = self._writer.last_error
        alarms = ("NOSPACE",) if isinstance(error, NoSpace) else (str(error),) if error else ()
        return StoreStatus(
            backend="sqlite",
            version=sqlite3.sqlite_version,
            revision=standing.revision,
            size_bytes=size_bytes(self._path),
            healthy=error is None,
            alarms=alarms,
            in_use_bytes=await self._readers.run(read.in_use_bytes),
        )

    async def close(self) -> None:
        """Finish what was asked for, end all watches, let go of leases and of the file."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        self._watches.end()
        await self._writer.close()
        await asyncio.to_thread(self._files.close)

    async def _read_changes(
        self, prefix: str, since: int, before: int, limit: int
    ) -> tuple[WatchBatch | None, int]:
        return await self._readers.run(read.changes, key_bytes(prefix), since, before, limit)

    async def _end_lease(self, id_: int) -> int:
        return await self._writer.submit(lambda ledger: ledger.revoke(id_))


def _open_ledger(path: Path) -> Ledger:
    create_private(path)
    try:
        connection = connect(path)
        try:
            prepare(connection)
            return Ledger(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error) from error
