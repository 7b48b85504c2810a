"""A store that passes every call on to another: the base of those that change some of the calls."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from lpmos.store.api import (
    KV,
    Compare,
    Leadership,
    Lease,
    Operation,
    Page,
    Store,
    StoreStatus,
    TxnResult,
    WatchBatch,
)


class Delegate(ABC):
    """Each call goes to `inner`, which may raise `Unavailable` for all of them."""

    @property
    @abstractmethod
    def inner(self) -> Store:
        """The store behind."""

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """See `Store.get`."""
        return await self.inner.get(key, revision=revision)

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """See `Store.range`."""
        return await self.inner.range(prefix, limit=limit, revision=revision, keys_only=keys_only)

    def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """See `Store.list`."""
        return self.inner.list(prefix, page=page)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`."""
        return await self.inner.put(key, value, lease=lease)

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """See `Store.delete`."""
        return await self.inner.delete(key, prefix=prefix)

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """See `Store.txn`."""
        return await self.inner.txn(compare, success, failure)

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        """See `Store.cas`."""
        return await self.inner.cas(key, mod_revision, value, lease=lease)

    def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        """See `Store.watch`."""
        return self.inner.watch(prefix, from_revision=from_revision)

    async def grant(self, ttl_s: int) -> Lease:
        """See `Store.grant`."""
        return await self.inner.grant(ttl_s)

    async def elect(self, name: str, identity: str, ttl_s: int) -> Leadership:
        """See `Store.elect`."""
        return await self.inner.elect(name, identity, ttl_s)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`."""
        await self.inner.compact(revision)

    async def snapshot(self, path: Path) -> None:
        """See `Store.snapshot`."""
        await self.inner.snapshot(path)

    async def status(self) -> StoreStatus:
        """See `Store.status`."""
        return await self.inner.status()

    async def close(self) -> None:
        """See `Store.close`."""
        await self.inner.close()
