"""A part of the store kept in memory: read from here, so that no request ever scans the store.

`run` lists the prefix at one revision and watches from the next. Where history was lost on the way
(compaction, a watch cut off, a store restored from an older snapshot) it lists again and tells only
the difference. All changes are made in `run`, without an await between a change and the news of
it: so what a subscriber sees in the mirror is what it is told.

Large values (inventories) are kept packed: thousands of them would fill the memory. Those of one
kind are much alike, so each is deflated by what it has in common with the first of its kind.
"""

import asyncio
import contextlib
import heapq
import math
import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Protocol

from lpmos.store import keys
from lpmos.store.api import KV, Compacted, Page, Unavailable, WatchBatch, WatchLagged

SILENCE_S = 5.0
FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
PROBE_TIMEOUT_S = 5.0
LIST_PAGE = 500
PACK_OVER_BYTES = 1024
SAMPLE_BYTES = 16_384
"""How much of the first value of a kind is compared with: to look through more costs more."""
FRESH_KEYS = 2000
"""How many of the large values that changed last stay as they came: they change again soonest."""
FRESH_BYTES = 64 * 2**20
"""What all that are so may have: packing waits for a calmer time than that of the change."""
LISTED_BYTES = FRESH_BYTES // 2
"""What of a listing stays as it came; the other half is for what changes right after it."""
COOL_S = 0.1
COOLED_SHARE = 200
"""One in so many of those beyond `FRESH_KEYS` is packed each `COOL_S`: so changes that go on do not
keep them, and it takes no more than 3 ms, where `FRESH_BYTES` are reached."""

Subscriber = Callable[[str, KV | None, KV | None], None]


class _PackedKV(KV, frozen=True):
    """A key whose value is deflated (RFC 1951), with `sample` as the preset dictionary."""

    sample: bytes = b""


class Followed(Protocol):
    """What a mirror needs of a store; see `lpmos.store.api.Store`."""

    async def range(self, prefix: str, *, limit: int = 0, keys_only: bool = False) -> Page: ...
    def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]: ...
    def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]: ...


class Mirror:
    """The keys under `prefix`, as of `revision`."""

    def __init__(
        self,
        store: Followed,
        prefix: str,
        *,
        silence_s: float = SILENCE_S,
        retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """Check on a watch that is silent for `silence_s`; first retry after `retry_s`."""
        self._store = store
        self._prefix = prefix
        self._silence_s = silence_s
        self._retry_s = retry_s
        self._kvs: dict[str, KV] = {}
        self._samples: dict[str, bytes] = {}
        self._order: list[str] = []
        self._added: set[str] = set()
        self._fresh: OrderedDict[str, int] = OrderedDict()
        self._fresh_bytes = 0
        self._cool_at_s = 0.0
        self._revision = 0
        self._change_revision = 0
        self._connected = False
        self._ready = asyncio.Event()
        self._subscribers: list[Subscriber] = []
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waits = 0

    @property
    def revision(self) -> int:
        """Every change up to this revision is in the mirror; 0 before the first listing."""
        return self._revision

    @property
    def change_revision(self) -> int:
        """The revision of the change that subscribers are being told of; 0 for a listing's.

        What a listing tells is a difference: changes that were undone or overtaken are not in it.
        """
        return self._change_revision

    @property
    def connected(self) -> bool:
        """Whether the store answered last; what the mirror has may be old where not."""
        return self._connected

    def get(self, key: str) -> KV | None:
        """The key, or None where it does not exist."""
        kv = self._kvs.get(key)
        return kv and opened(kv)

    def kept(self, key: str) -> KV | None:
        """The key as it is kept here, for `deflated` and `opened`: its value may be packed."""
        return self._kvs.get(key)

    def items(self, prefix: str) -> Iterator[KV]:
        """The keys that begin with `prefix`, in order, as they are at this moment."""
        order = self._sorted()
        first = bisect_left(order, prefix)
        last = bisect_right(order, prefix, first, key=lambda key: key[: len(prefix)])
        return map(opened, [self._kvs[key] for key in order[first:last]])

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber(key, before, after)` called for every change from now on.

        `before` is as it was kept: who looks at its value opens it (`opened`), which costs.
        It is called in order of revision, may not wait and should not raise: an error of it ends
        `run`. Who subscribes before the first listing is told of each key in it.
        """
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Call it no more; no error where it is not subscribed."""
        with contextlib.suppress(ValueError):
            self._subscribers.remove(subscriber)

    def restore(self, kvs: Iterable[KV], revision: int) -> None:
        """Begin with what was known at `revision`; call it before `run`, which lists all anew."""
        for kv in kvs:
            self._set(kv.key, self._packed(kv))
        self._reach(revision)

    async def wait_ready(self) -> None:
        """Wait for the first listing."""
        await self._ready.wait()

    async def wait_for(self, revision: int) -> None:
        """Wait until the mirror has `revision`, which changed a key under its prefix."""
        if self._revision >= revision:
            return
        reached = asyncio.get_running_loop().create_future()
        self._waits += 1
        heapq.heappush(self._waiting, (revision, self._waits, reached))
        await reached

    async def run(self) -> None:
        """Follow the store for ever.

        Raises:
            PermissionDenied, AuthFailed: the store's user may not read the prefix.
        """
        retry_s = self._retry_s
        listed = False
        try:
            while True:
                try:
                    if not listed:
                        await self._list()
                        listed = True
                    await self._follow()
                except (Compacted, WatchLagged, _WentBack):
                    listed = False
                except Unavailable:
                    if self._connected:
                        retry_s = self._retry_s
                    self._connected = False
                    await asyncio.sleep(retry_s)
                    retry_s = min(2 * retry_s, LONGEST_RETRY_S)
        finally:
            self._connected = False

    async def _list(self) -> None:
        """List all anew: as it comes, and what is more than `LISTED_BYTES` packed."""
        found: dict[str, KV] = {}
        revision = large_bytes = 0
        async for page in self._store.list(self._prefix, page=LIST_PAGE):
            for kv in page.kvs:
                large_bytes += len(kv.value) if _packs(kv) else 0
                found[kv.key] = kv if large_bytes <= LISTED_BYTES else self._packed(kv)
            revision = page.revision
        self._connected = True
        self._change_revision = 0
        self._replace(found)
        self._reach(revision)
        self._ready.set()

    async def _follow(self) -> None:
        """Take in what the watch gives; returns where the watch ends with the store."""
        watch = self._store.watch(self._prefix, from_revision=self._revision + 1)
        coming = asyncio.ensure_future(_next(watch))
        try:
            while True:
                done, _ = await asyncio.wait((coming,), timeout=self._silence_s)
                self._cool()
                if not done:
                    await self._probe()
                    continue
                batch = coming.result()
                if batch is None:
                    raise Unavailable("the watch ended")
                self._take(batch)
                coming = asyncio.ensure_future(_next(watch))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _probe(self) -> None:
        """Learn whether the store is there, and whether it is still the one that was listed."""
        expected = self._revision
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                page = await self._store.range(self._prefix, limit=1, keys_only=True)
        except (Unavailable, TimeoutError):
            self._connected = False
            return
        self._connected = True
        if page.revision < expected:
            raise _WentBack

    def _take(self, batch: WatchBatch) -> None:
        self._connected = True
        for event in batch.events:
            self._change_revision = event.kv.mod_revision
            self._set(event.kv.key, event.kv if event.type == "put" else None)
        self._reach(batch.revision)

    def _replace(self, found: dict[str, KV]) -> None:
        """Go over to a new listing by its difference: first what is gone."""
        for key in [key for key in self._sorted() if key not in found]:
            self._set(key, None)
        changed = [kv for kv in found.values() if self._differs(kv)]
        for kv in sorted(changed, key=lambda kv: kv.mod_revision):
            self._set(kv.key, kv)

    def _differs(self, listed: KV) -> bool:
        known = self._kvs.get(listed.key)
        return known is None or opened(known) != opened(listed)

    def _set(self, key: str, after: KV | None) -> None:
        before = self._kvs.get(key)
        if after is not None:
            if before is None:
                self._added.add(key)
            self._kvs[key] = after
            self._refresh(after)
        elif before is not None:
            del self._kvs[key]
            self._fresh_bytes -= self._fresh.pop(key, 0)
            order = self._sorted()
            del order[bisect_left(order, key)]
        else:
            return
        now = after and opened(after)
        for subscriber in tuple(self._subscribers):
            subscriber(key, before, now)

    def _refresh(self, kv: KV) -> None:
        """Note that a value came as it is; where that is too much, the oldest are packed."""
        self._fresh_bytes -= self._fresh.pop(kv.key, 0)
        if _packs(kv):
            self._fresh[kv.key] = len(kv.value)
            self._fresh_bytes += len(kv.value)
        while self._fresh_bytes > FRESH_BYTES:
            self._pack_oldest()

    def _cool(self) -> None:
        """Pack some of those that changed longest ago, not more often than each `COOL_S`."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._cool_at_s:
            return
        self._cool_at_s = now_s + COOL_S
        for _ in range(math.ceil((len(self._fresh) - FRESH_KEYS) / COOLED_SHARE)):
            self._pack_oldest()

    def _pack_oldest(self) -> None:
        oldest, size_bytes = self._fresh.popitem(last=False)
        self._fresh_bytes -= size_bytes
        self._kvs[oldest] = self._packed(self._kvs[oldest])

    def _packed(self, kv: KV) -> KV:
        """The key with its value packed, if that is large."""
        if not _packs(kv):
            return kv
        sample = self._samples.setdefault(keys.kind_of(kv.key), kv.value[:SAMPLE_BYTES])
        deflating = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS, zdict=sample)
        value = deflating.compress(kv.value) + deflating.flush()
        return _PackedKV(
            kv.key, value, kv.create_revision, kv.mod_revision, kv.version, kv.lease, sample
        )

    def _sorted(self) -> list[str]:
        """All keys in order; what was added since the last call is sorted in now."""
        if self._added:
            self._order.extend(self._added)
            self._order.sort()
            self._added.clear()
        return self._order

    def _reach(self, revision: int) -> None:
        self._revision = revision
        while self._waiting and self._waiting[0][0] <= revision:
            _, _, reached = heapq.heappop(self._waiting)
            if not reached.done():
                reached.set_result(None)


class _WentBack(Exception):
    """The store is at an older revision than the mirror: it was restored from a snapshot."""


def deflated(kept: KV) -> bytes:
    """The value of what `Mirror.kept` gave, deflated by zlib without any dictionary."""
    return zlib.compress(opened(kept).value, level=1)


def opened(kept: KV) -> KV:
    """The key as the store has it, of what `Mirror.kept` gave or a subscriber was told."""
    if not isinstance(kept, _PackedKV):
        return kept
    value = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=kept.sample).decompress(kept.value)
    return KV(kept.key, value, kept.create_revision, kept.mod_revision, kept.version, kept.lease)


def _packs(kv: KV) -> bool:
    return len(kv.value) > PACK_OVER_BYTES and not isinstance(kv, _PackedKV)


async def _next(watch: AsyncIterator[WatchBatch]) -> WatchBatch | None:
    return await anext(watch, None)
