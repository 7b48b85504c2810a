"""The audit log is written here, by the elected control plane alone.

What happened lies as events in the store, each put there by the transaction of its change. They are
taken in order of revision; one transaction puts a number of them into the chain, does what follows
from them (`Sink`) and deletes them. So each is chained exactly once, whoever leads and whatever
answer is lost: an event that is still there was not chained yet.

After the commit every entry goes to the log stream, too (logger `audit`). A leader that ends
between the two leaves it to the next, which tells the last transaction's entries again.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Protocol

import msgspec
import structlog

from lpmos.core.audit.reader import AuditReader
from lpmos.core.clock import Clock
from lpmos.model.audit import (
    DAMAGED,
    SYSTEM,
    Anchor,
    AuditEntry,
    AuditEvent,
    Head,
    chained,
    fitted,
    new_event_id,
    trimmed,
)
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    MAX_TXN_OPERATIONS,
    Ambiguous,
    Compare,
    Delete,
    Get,
    InvalidRequest,
    Leadership,
    Operation,
    Put,
    Store,
    TxnResult,
    Unavailable,
)
from lpmos.store.mirror import Mirror

log = structlog.get_logger()
stream = structlog.get_logger("audit")

RETRY_S = 0.2
TRIM_INTERVAL_S = 600.0
BATCH_BYTES = 1_000_000
SINK_OPERATIONS = 100
SINK_BYTES = 500_000
KEPT = timedelta(days=400)


class Sink(Protocol):
    """What follows from events: its operations go into the transaction that chains the event."""

    def operations(self, event: AuditEvent) -> Sequence[Operation]:
        """Puts and deletes of keys of the sink's own, from memory alone.

        All sinks together have `SINK_OPERATIONS` and `SINK_BYTES` for each event; what is beyond is
        left out, and the log says so. It may be called again for an event whose transaction did
        not come through; of all these only one is ever committed.
        """
        ...


class _Taken(msgspec.Struct, frozen=True):
    """One event on its way into the chain; `kv` is where it lies now, None: nowhere."""

    entry: AuditEntry
    operations: tuple[Operation, ...]
    kv: KV | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(each.value) for each in self.operations if isinstance(each, Put))


class _End(msgspec.Struct, frozen=True):
    """The chain's end as it was read or written last; `revision` is that of its key."""

    head: Head
    revision: int


class _Deposed(Exception):
    """A transaction failed for no other reason than that another leads."""


class AuditChain:
    """The duty that takes events into the audit log, and deletes what is too old."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        clock: Clock,
        *,
        sinks: Sequence[Sink] = (),
        kept: timedelta = KEPT,
        retry_s: float = RETRY_S,
    ) -> None:
        """`mirror` has the events; entries older than `kept` are deleted, by whole blocks.

        A store that is away is asked again after `retry_s`.
        """
        self._store = store
        self._reader = AuditReader(store)
        self._clock = clock
        self._sinks = sinks
        self._kept = kept
        self._retry_s = retry_s
        self._pending: dict[str, KV] = {}
        self._arrived = asyncio.Event()
        self._told_seq = 0
        self._bare_seq = 0
        self._trim_at_s = 0.0
        mirror.subscribe(self._hear)

    @property
    def pending(self) -> int:
        """How many events are not in the log yet."""
        return len(self._pending)

    async def lead(self, leadership: Leadership) -> None:
        """Chain what is there and what comes, until cancelled or another leads."""
        while not leadership.lost.is_set():
            try:
                await self._go_on(leadership, await self._end())
            except _Deposed:
                return
            except (Unavailable, Ambiguous) as error:
                log.info("the audit log waits for the store", reason=str(error))
                await asyncio.sleep(self._retry_s)

    async def _go_on(self, leadership: Leadership, end: _End) -> None:
        """Write batch after batch; returns when it must be looked again where the chain ends."""
        await self._tell_again(end.head)
        while True:
            if self._pending:
                after = await self._write(leadership, end, self._batch(end.head))
            elif self._trim_due():
                after = end
            else:
                await self._rest()
                continue
            if after is not None and self._trim_due():
                after = await self._trim(leadership, after)
            if after is None:
                return
            end = after

    def _hear(self, key: str, _: KV | None, after: KV | None) -> None:
        if not key.startswith(keys.EVENTS):
            return
        if after is None:
            self._pending.pop(key, None)
        else:
            self._pending[key] = after
            self._arrived.set()

    async def _rest(self) -> None:
        """Wait for an event, or until it is time to look for what is too old."""
        self._arrived.clear()
        wait_s = max(0.0, self._trim_at_s - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _end(self) -> _End:
        """Where the chain ends, from the store; from the entries where the head was lost."""
        kv = await self._store.get(keys.AUDIT_HEAD)
        revision = kv.mod_revision if kv else 0
        try:
            head = records.decode(kv, Head) if kv else None
        except records.DamagedRecord as error:
            log.warning("the audit log's head is damaged", reason=str(error))
            head = None
        if head is None or await self._store.get(keys.audit_entry(head.seq + 1)):
            head = await self._reader.last()
            if head.seq:
                log.error("the audit log goes on after its last entry", seq=head.seq)
        return _End(head, revision)

    # -- batches ---------------------------------------------------------------------------------

    def _batch(self, head: Head) -> list[_Taken]:
        """The first of the events that fit into one transaction, each after the one before."""
        batch: list[_Taken] = []
        left, left_bytes = MAX_TXN_OPERATIONS - 1, BATCH_BYTES
        written: set[str] = set()
        for taken in self._taken(head):
            left -= len(taken.operations)
            left_bytes -= taken.size_bytes
            names = {operation.key for operation in taken.operations}
            if batch and (left < 0 or left_bytes < 0 or written & names):
                break
            batch.append(taken)
            written |= names
        return batch

    def _taken(self, head: Head) -> Iterator[_Taken]:
        """Every event that is there, in order, as the entry that it becomes."""
        seq, previous = head.seq, head.digest
        for kv in tuple(self._pending.values()):
            seq += 1
            taken = self._take(kv, seq, previous)
            previous = taken.entry.digest
            yield taken

    def _take(self, kv: KV, seq: int, previous: str) -> _Taken:
        also: tuple[Operation, ...] = (Delete(kv.key),)
        try:
            event = fitted(records.decode(kv, AuditEvent))
            entry = chained(event, seq, previous)
            value = records.encode(entry)
        except (records.DamagedRecord, records.RecordTooLarge, RecursionError) as error:
            log.warning("an event is damaged", key=kv.key, reason=str(error))
            event = self._damaged(kv, error)
            entry = chained(event, seq, previous)
            value = records.encode(entry)
            also += (Put(keys.audit_damaged(seq), kv.value[: records.VALUE_LIMIT_BYTES - 1]),)
        put = Put(keys.audit_entry(seq), value)
        return _Taken(entry, (put, *also, *self._derived(entry)), kv)

    def _damaged(self, kv: KV, error: Exception) -> AuditEvent:
        now = self._clock()
        return AuditEvent(
            event_id=new_event_id(now),
            at=now,
            action=DAMAGED,
            actor=SYSTEM,
            target=f"event/{kv.key.removeprefix(keys.EVENTS)[:128]}",
            after={
                "bytes": len(kv.value),
                "sha256": hashlib.sha256(kv.value).hexdigest(),
                "revision": kv.mod_revision,
            },
            reason=str(error)[:1000],
        )

    def _derived(self, entry: AuditEntry) -> list[Operation]:
        """What the sinks make of an event, as far as one transaction can hold it."""
        derived: dict[str, Operation] = {}
        event = entry.event
        for sink in self._sinks if entry.seq > self._bare_seq else ():
            try:
                derived.update((each.key, each) for each in sink.operations(event))
            except Exception:  # nothing that follows from an event may keep it out of the log
                log.exception("nothing follows from an event", event_id=event.event_id)
        fitting: list[Operation] = []
        left_bytes = SINK_BYTES
        for operation in derived.values():
            left_bytes -= len(operation.value) if isinstance(operation, Put) else 0
            if len(fitting) == SINK_OPERATIONS or left_bytes < 0:
                log.error("too much follows from an event", event_id=event.event_id)
                break
            fitting.append(operation)
        return fitting

    # -- transactions ----------------------------------------------------------------------------

    async def _write(
        self,
        leadership: Leadership,
        end: _End,
        batch: Sequence[_Taken],
        also: Sequence[Operation] = (),
        compare: Sequence[Compare] = (),
    ) -> _End | None:
        """Commit a batch and tell it; None where the chain's end must be looked for again.

        Raises:
            _Deposed: all is as it was thought to be, but another leads.
        """
        last = batch[-1].entry
        head = Head(seq=last.seq, digest=last.digest, batch=end.head.seq + 1)
        events = [taken.kv for taken in batch if taken.kv is not None]
        conditions = [
            *leadership.fence,
            Compare(keys.AUDIT_HEAD, "mod", "=", end.revision),
            Compare(keys.audit_entry(head.batch), "mod", "=", 0),
            *(Compare(kv.key, "mod", "=", kv.mod_revision) for kv in events),
            *compare,
        ]
        operations = [operation for taken in batch for operation in taken.operations]
        operations += [Put(keys.AUDIT_HEAD, records.encode(head)), *also]
        looks = [Get(keys.AUDIT_HEAD), Get(keys.audit_entry(head.batch))]
        looks += [Get(kv.key) for kv in events]
        try:
            done = await self._store.txn(conditions, operations, looks)
        except InvalidRequest:
            if last.seq <= self._bare_seq:
                raise
            log.exception("the store refuses what follows from events", seq=last.seq)
            self._bare_seq = last.seq
            return None
        if not done.succeeded:
            self._learn(done, end, events)
            return None
        for kv in events:
            self._forget(kv)
        self._tell([taken.entry for taken in batch])
        return _End(head, done.revision)

    def _learn(self, done: TxnResult, end: _End, events: Sequence[KV]) -> None:
        """Find out why a transaction failed, from what it saw.

        Raises:
            _Deposed: for no reason but the fence.
        """
        head, entry, *present = [
            found[0] if isinstance(found, tuple) and found else None for found in done.results
        ]
        moved = (head.mod_revision if head else 0) != end.revision or entry is not None
        gone = [kv for kv, now in zip(events, present, strict=True) if now != kv]
        for kv in gone:
            self._forget(kv)
        if not moved and not gone:
            raise _Deposed

    def _forget(self, kv: KV) -> None:
        """An event is gone from the store, before the mirror says so."""
        if self._pending.get(kv.key) == kv:
            del self._pending[kv.key]

    # -- the log stream --------------------------------------------------------------------------

    async def _tell_again(self, head: Head) -> None:
        """Tell what was written last and maybe not told."""
        first = max(self._told_seq + 1, head.batch)
        self._tell(await self._reader.between(first, head.seq))

    def _tell(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            stream.info("audited", logger="audit", entry=msgspec.to_builtins(entry))
            self._told_seq = entry.seq

    # -- what is too old -------------------------------------------------------------------------

    def _trim_due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._trim_at_s

    async def _trim(self, leadership: Leadership, end: _End) -> _End | None:
        """Delete the oldest block where all of it is too old, and chain the word of it."""
        self._trim_at_s = asyncio.get_running_loop().time() + TRIM_INTERVAL_S
        try:
            kv = await self._store.get(keys.AUDIT_ANCHOR)
            anchor = records.decode(kv, Anchor) if kv else Anchor()
            block = anchor.first_seq // keys.AUDIT_BLOCK
            first = await self._reader.entry((block + 1) * keys.AUDIT_BLOCK)
        except records.DamagedRecord as error:
            log.warning("old entries of the audit log are kept: one is damaged", reason=str(error))
            return end
        now = self._clock()
        if first is None or first.event.at > now - self._kept:
            return end
        self._trim_at_s = 0.0  # there may be more
        new = Anchor(first_seq=first.seq, previous=first.previous)
        event = trimmed(new, new.first_seq - anchor.first_seq, now)
        entry = chained(event, end.head.seq + 1, end.head.digest)
        put = Put(keys.audit_entry(entry.seq), records.encode(entry))
        also = (
            Delete(keys.audit_block(block), prefix=True),
            Delete(keys.audit_damaged(block * keys.AUDIT_BLOCK)[:-3], prefix=True),
            Put(keys.AUDIT_ANCHOR, records.encode(new)),
        )
        unmoved = Compare(keys.AUDIT_ANCHOR, "mod", "=", kv.mod_revision if kv else 0)
        taken = _Taken(entry, (put, *self._derived(entry)))
        return await self._write(leadership, end, [taken], also, [unmoved])
