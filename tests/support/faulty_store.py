"""A real store whose next calls fail in a chosen way: the seam for lost answers and races."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from lpmos.store.api import (
    KV,
    Ambiguous,
    Compare,
    Leadership,
    Lease,
    NoSpace,
    Operation,
    Page,
    Put,
    Store,
    StoreStatus,
    TxnResult,
    Unavailable,
    WatchBatch,
)


class FaultyStore:
    """Passes every call on, but for the faults that are set."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False
        self.full = False
        """Whether it answers what is asked, and takes nothing."""
        self.lose_answers = 0
        self.before_txn: list[Callable[[], Awaitable[object]]] = []
        self.after_lost_answer: list[Callable[[], Awaitable[object]]] = []
        self.txns = 0

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        self._check()
        if any(isinstance(each, Put) for each in success):
            self._check_room()
        if self.before_txn:
            await self.before_txn.pop(0)()
        result = await self._store.txn(compare, success, failure)
        self.txns += 1
        if self.lose_answers:
            self.lose_answers -= 1
            if self.after_lost_answer:
                await self.after_lost_answer.pop(0)()
            raise Ambiguous("the answer was lost")
        return result

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        self._check()
        return await self._store.get(key, revision=revision)

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        self._check()
        return await self._store.range(prefix, limit=limit, revision=revision, keys_only=keys_only)

    def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        self._check()
        return self._store.list(prefix, page=page)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        self._check()
        self._check_room()
        return await self._store.put(key, value, lease=lease)

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        self._check()
        return await self._store.delete(key, prefix=prefix)

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        self._check()
        self._check_room()
        return await self._store.cas(key, mod_revision, value, lease=lease)

    def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        return self._store.watch(prefix, from_revision=from_revision)

    async def grant(self, ttl_s: int) -> Lease:
        self._check()
        self._check_room()
        return await self._store.grant(ttl_s)

    async def elect(self, name: str, identity: str, ttl_s: int) -> Leadership:
        self._check()
        self._check_room()
        return await self._store.elect(name, identity, ttl_s)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def snapshot(self, path: Path) -> None:
        await self._store.snapshot(path)

    async def status(self) -> StoreStatus:
        self._check()
        return await self._store.status()

    async def close(self) -> None:
        await self._store.close()

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the store is away")

    def _check_room(self) -> None:
        if self.full:
            raise NoSpace("the store is full")
