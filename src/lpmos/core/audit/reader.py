"""The audit log as it is read: from the store, some hundred entries at a time, never all of it.

A search reads a bounded number of chunks for each call and says where to go on. Entries stand in
the order of the changes; the clocks of those who made them may differ, so a search by time looks
`CLOCK_SLACK` further than asked, and passes over what does not match.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeVar

import msgspec
import structlog

from lpmos.model.audit import Anchor, AuditEntry, AuditEvent, Head
from lpmos.model.auditcheck import ChainPage
from lpmos.model.errors import NotFound
from lpmos.store import keys, records
from lpmos.store.api import KV, Get, Store

log = structlog.get_logger()

T = TypeVar("T")

CHUNKS_PER_CALL = 50
PAGE_BYTES = 4_000_000
"""A page is not gone on with after so many bytes of entries, whatever its limit."""
CLOCK_SLACK = timedelta(hours=1)


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted; None matches everything, `action` every one that begins so."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    tenant: str | None = None
    idc: str | None = None
    sn: str | None = None
    outcome: Literal["done", "refused"] | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, event: AuditEvent) -> bool:
        """Whether the event is wanted; one at `since` is, one at `until` is not."""
        return (
            self.actor in (None, event.actor.name)
            and (self.action is None or event.action.startswith(self.action))
            and self.target in (None, event.target)
            and self.tenant in (None, event.tenant)
            and self.idc in (None, event.idc)
            and self.sn in (None, event.sn)
            and self.outcome in (None, event.outcome)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )


class AuditPage(msgspec.Struct, frozen=True):
    """Entries that match; `next` is the number to go on from, None where there are no more.

    A page may have fewer entries than asked for, even none, and a `next`.
    """

    entries: tuple[AuditEntry, ...]
    next: int | None


class _Way(NamedTuple):
    """From where, in which direction (1 or -1), and between which entries is read."""

    start: int
    step: int
    first: int
    last: int

    def holds(self, seq: int) -> bool:
        return self.first <= seq <= self.last

    def beyond_chunk(self, seq: int) -> int:
        """The number next to the chunk that has `seq`."""
        number = seq // keys.AUDIT_CHUNK
        return (number + 1) * keys.AUDIT_CHUNK if self.step > 0 else number * keys.AUDIT_CHUNK - 1


class _Chunk(NamedTuple):
    """The entries of a chunk that can be read."""

    entries: list[AuditEntry]
    size_bytes: int


class AuditReader:
    """Reads entries of the audit log."""

    def __init__(self, store: Store, *, chunks_per_call: int = CHUNKS_PER_CALL) -> None:
        """A search reads at most `chunks_per_call` times `AUDIT_CHUNK` entries in one call."""
        self._store = store
        self._chunks_per_call = chunks_per_call

    async def entry(self, seq: int) -> AuditEntry | None:
        """One entry; None where it does not exist.

        Raises:
            DamagedRecord: it cannot be read.
        """
        kv = await self._store.get(keys.audit_entry(seq))
        return records.decode(kv, AuditEntry) if kv else None

    async def find(self, seq: int, tenant: str | None) -> AuditEntry:
        """One entry that users of `tenant` may see.

        Raises:
            NotFound: there is none (yet, or any more), or it is another tenant's.
        """
        entry = await self.entry(seq)
        if entry is None or not AuditQuery(tenant=tenant).matches(entry.event):
            raise NotFound(f"there is no entry {seq} in the audit log")
        return entry

    async def between(self, first: int, last: int) -> list[AuditEntry]:
        """The entries from `first` to `last`, as far as they are there and can be read."""
        found: list[AuditEntry] = []
        for number in range(first // keys.AUDIT_CHUNK, last // keys.AUDIT_CHUNK + 1):
            if first <= last:
                found += (await self._chunk(number)).entries
        return [entry for entry in found if first <= entry.seq <= last]

    async def newest_first(
        self, query: AuditQuery, *, from_seq: int | None, limit: int
    ) -> AuditPage:
        """At most `limit` entries that match, down from `from_seq` (None: the newest)."""
        anchor, head, _ = await self._ends()
        start = head.seq if from_seq is None else min(from_seq, head.seq)
        if query.until is not None and from_seq is None:
            _, beyond = await self._around(query.until + CLOCK_SLACK, anchor, head)
            start = min(start, beyond * keys.AUDIT_CHUNK)
        earliest = query.since and query.since - CLOCK_SLACK
        way = _Way(start, -1, anchor.first_seq, head.seq)
        return await self._page(query, way, limit, lambda at: bool(earliest and at < earliest))

    async def oldest_first(self, query: AuditQuery, *, from_seq: int, limit: int) -> AuditPage:
        """At most `limit` entries that match, up from `from_seq`."""
        anchor, head, _ = await self._ends()
        start = max(from_seq, anchor.first_seq)
        if query.since is not None and start == anchor.first_seq:
            at, _ = await self._around(query.since - CLOCK_SLACK, anchor, head)
            start = max(start, at * keys.AUDIT_CHUNK)
        latest = query.until and query.until + CLOCK_SLACK
        way = _Way(start, 1, anchor.first_seq, head.seq)
        return await self._page(query, way, limit, lambda at: bool(latest and at >= latest))

    async def _page(
        self, query: AuditQuery, way: _Way, limit: int, is_past: Callable[[datetime], bool]
    ) -> AuditPage:
        """What is found on the way, until `limit`, until it `is_past`, or until enough was read."""
        found: list[AuditEntry] = []
        at, size_bytes = way.start, 0
        for _ in range(self._chunks_per_call):
            if not way.holds(at):
                break
            chunk = await self._chunk(at // keys.AUDIT_CHUNK)
            for entry in chunk.entries[:: way.step]:
                if (entry.seq - at) * way.step < 0:
                    continue
                if is_past(entry.event.at):
                    return AuditPage(tuple(found), None)
                if query.matches(entry.event):
                    found.append(entry)
                    if len(found) == limit:
                        after = entry.seq + way.step
                        return AuditPage(tuple(found), after if way.holds(after) else None)
            at = way.beyond_chunk(at)
            size_bytes += chunk.size_bytes if found else 0
            if size_bytes >= PAGE_BYTES:
                break
        return AuditPage(tuple(found), at if way.holds(at) else None)

    async def chain(self, *, from_seq: int, limit: int) -> ChainPage:
        """The chain itself, upwards: every entry, and its two ends at the same revision."""
        anchor, head, revision = await self._ends()
        start = max(from_seq, anchor.first_seq)
        last = min(start + limit - 1, head.seq)
        found: list[AuditEntry] = []
        size_bytes = 0
        for number in range(start // keys.AUDIT_CHUNK, last // keys.AUDIT_CHUNK + 1):
            chunk = await self._chunk(number, revision)
            found += chunk.entries
            size_bytes += chunk.size_bytes
            if size_bytes >= PAGE_BYTES:
                last = min(last, (number + 1) * keys.AUDIT_CHUNK - 1)
                break
        entries = tuple(entry for entry in found if start <= entry.seq <= last)
        after = last + 1 if last < head.seq else None
        return ChainPage(anchor=anchor, head=head, entries=entries, next=after)

    async def last(self) -> Head:
        """The end of the chain by its entries, for where its head was lost.

        Blocks are full from the first to the last one; so the last is found by halving.
        """
        anchor, _, _ = await self._ends()
        low = anchor.first_seq // keys.AUDIT_BLOCK
        if not await self._has_block(low):
            return Head(seq=anchor.first_seq - 1, digest=anchor.previous, batch=anchor.first_seq)
        step = 1
        while await self._has_block(low + step):
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._has_block(middle) else (low, middle)
        page = await self._store.range(keys.audit_block(low), keys_only=True)
        kv = await self._store.get(page.kvs[-1].key)
        entry = next(_decoded([kv] if kv else []), None)
        seq = int(page.kvs[-1].key.rpartition("/")[2])
        return Head(seq=seq, digest=entry.digest if entry else Head().digest, batch=seq)

    async def _ends(self) -> tuple[Anchor, Head, int]:
        """The chain's two ends, and the revision at which they were read."""
        looks = [Get(keys.AUDIT_ANCHOR), Get(keys.AUDIT_HEAD)]
        done = await self._store.txn([], looks)
        anchor, head = done.results
        return _or_default(anchor, Anchor()), _or_default(head, Head()), done.revision

    async def _has_block(self, number: int) -> bool:
        page = await self._store.range(keys.audit_block(number), limit=1, keys_only=True)
        return bool(page.kvs)

    async def _chunk(self, number: int, revision: int = 0) -> _Chunk:
        page = await self._store.range(keys.audit_chunk(number), revision=revision)
        return _Chunk(list(_decoded(page.kvs)), sum(len(kv.value) for kv in page.kvs))

    async def _around(self, moment: datetime, anchor: Anchor, head: Head) -> tuple[int, int]:
        """Two chunks' numbers: all before the first is earlier, all from the second on is later.

        They are next to each other, but where a chunk between them cannot be read.
        """
        first = anchor.first_seq // keys.AUDIT_CHUNK
        low, high = first, head.seq // keys.AUDIT_CHUNK + 1
        while low < high:
            middle = (low + high) // 2
            page = await self._store.range(keys.audit_chunk(middle), limit=1)
            entry = next(_decoded(page.kvs), None)
            if entry is None:
                break
            low, high = (low, middle) if entry.event.at > moment else (middle + 1, high)
        return max(first, low - 1), high


def _decoded(kvs: Iterable[KV]) -> Iterator[AuditEntry]:
    for kv in kvs:
        try:
            yield records.decode(kv, AuditEntry)
        except records.DamagedRecord as error:
            log.warning("an entry of the audit log is damaged", reason=str(error))


def _or_default(found: int | tuple[KV, ...] | None, default: T) -> T:
    """The document that a transaction's Get found; the default where none can be read."""
    if not isinstance(found, tuple) or not found:
        return default
    try:
        return records.decode(found[0], type(default))
    except records.DamagedRecord as error:
        log.warning("an end of the audit log is damaged", reason=str(error))
        return default
