"""A store whose every write carries the fence of a leadership; reading needs none.

The rule: a write reaches the store only in a transaction with the fence, so one that was begun
before the process was stopped, and arrives after another was elected, changes nothing.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from lpmos.store.api import (
    KV,
    CasConflict,
    Compare,
    Delete,
    Get,
    InvalidRequest,
    Leadership,
    Lease,
    Operation,
    Page,
    Put,
    Store,
    StoreStatus,
    TxnResult,
    Unavailable,
    WatchBatch,
)


class NotActive(Unavailable):
    """This client does not lead now: nothing was written; the one that leads can."""


class FencedStore:
    """The store of one who may write only while it leads.

    `leadership` is set by who stands for election. Without one, writes raise `Unavailable` where
    `alone` (the leadership was lost, and nobody can have taken over), else `NotActive`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.leadership: Leadership | None = None
        self.alone = False

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """See `Store.txn`; what is done where a compare fails may only read.

        Raises:
            NotActive: the leadership has ended.
            InvalidRequest: `failure` has a write: it would be done without the fence.
        """
        if not any(isinstance(each, Put | Delete) for each in (*success, *failure)):
            return await self._store.txn(compare, success, failure)
        if any(isinstance(each, Put | Delete) for each in failure):
            raise InvalidRequest("what is done where a compare fails may only read here")
        fence = self._fence()
        asked = [Get(each.key) for each in fence]
        result = await self._store.txn([*fence, *compare], success, [*failure, *asked])
        if result.succeeded:
            return result
        held = result.results[len(failure) :]
        if not all(map(_holds, fence, held)):
            raise NotActive("another regional client was elected; nothing was written")
        return TxnResult(False, result.revision, result.results[: len(failure)])

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`; raises `NotActive` as well."""
        return (await self.txn([], [Put(key, value, lease)])).revision

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """See `Store.delete`; raises `NotActive` as well."""
        (deleted,) = (await self.txn([], [Delete(key, prefix)])).results
        return deleted if isinstance(deleted, int) else 0

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        """See `Store.cas`; raises `NotActive` as well."""
        at = Compare(key, "mod", "=", mod_revision)
        result = await self.txn([at], [Put(key, value, lease)])
        if not result.succeeded:
            raise CasConflict(f"{key} is not at revision {mod_revision}")
        return result.revision

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """See `Store.get`."""
        return await self._store.get(key, revision=revision)

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """See `Store.range`."""
        return await self._store.range(prefix, limit=limit, revision=revision, keys_only=keys_only)

    def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """See `Store.list`."""
        return self._store.list(prefix, page=page)

    def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        """See `Store.watch`."""
        return self._store.watch(prefix, from_revision=from_revision)

    async def grant(self, ttl_s: int) -> Lease:
        """See `Store.grant`: a lease alone changes no key."""
        return await self._store.grant(ttl_s)

    async def elect(self, name: str, identity: str, ttl_s: int) -> Leadership:
        """See `Store.elect`."""
        return await self._store.elect(name, identity, ttl_s)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`; raises `NotActive` as well."""
        self._fence()
        await self._store.compact(revision)

    async def snapshot(self, path: Path) -> None:
        """See `Store.snapshot`."""
        await self._store.snapshot(path)

    async def status(self) -> StoreStatus:
        """See `Store.status`."""
        return await self._store.status()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    def _fence(self) -> tuple[Compare, ...]:
        leadership = self.leadership
        if leadership is not None and not leadership.lost.is_set():
            return leadership.fence
        if self.alone:
            raise Unavailable("the store was away and this client was not elected again yet")
        raise NotActive("this regional client stands by; ask the active one")


def _holds(fence: Compare, found: object) -> bool:
    """Whether a fence's key is still the one that was won; a fence compares create revisions."""
    return isinstance(found, tuple) and bool(found) and found[0].create_revision == fence.operand
