"""The audit chain over an embedded store: nothing is lost, nothing twice, whoever leads."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from lpmos.core import journal
from lpmos.core.audit import chain as audit
from lpmos.core.audit.chain import AuditChain, Sink
from lpmos.core.audit.reader import AuditReader
from lpmos.model.audit import DAMAGED, TRIMMED, AuditEntry, AuditEvent, Head
from lpmos.model.auditcheck import Break, ChainPage, SavedStream, verify
from lpmos.store import keys, records
from lpmos.store.api import Delete, Leadership, Operation, Put, Store
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.audit import make_event
from tests.support.builders import NOW
from tests.support.faulty_store import FaultyStore
from tests.support.polling import until

TIMEOUT_S = 20.0
RETRY_S = 0.01
NOTED = "/os/noted/"


class Noting:
    """A sink that writes one key for each event; a second time would be a second version."""

    def operations(self, event: AuditEvent) -> Sequence[Operation]:
        return [Put(f"{NOTED}{event.event_id}", b"")]


class Failing:
    """A sink that is broken."""

    def operations(self, event: AuditEvent) -> Sequence[Operation]:
        raise ValueError(event.event_id)


class Wanting:
    """A sink that wants more than a transaction may have."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations

    def operations(self, event: AuditEvent) -> Sequence[Operation]:
        return self._operations


class Log:
    """A store with the events and the log, and control planes that come and go over it."""

    def __init__(self, store: Store) -> None:
        self.embedded = store
        self.store = FaultyStore(store)
        self.reader = AuditReader(self.store)
        self.now = NOW
        self.written = 0
        self._running: list[asyncio.Task[None]] = []
        self._terms: dict[asyncio.Task[None], Leadership] = {}

    async def event(self, **fields: object) -> AuditEvent:
        """Store one more event."""
        self.written += 1
        event = make_event(event_id=f"{self.written:06d}", at=self.now, **fields)
        put = journal.put(event)
        await self.store.put(put.key, put.value)
        return event

    async def events(self, count: int) -> None:
        for _ in range(count):
            await self.event()

    async def events_at_once(self, count: int) -> None:
        """Store many more events; they share the disk's time."""
        await asyncio.gather(*(self.event() for _ in range(count)))

    async def chain(self, *sinks: Sink, kept: timedelta = audit.KEPT) -> AuditChain:
        """A control plane's chain that knows what is in the store now."""
        mirror = Mirror(self.store, keys.ROOT, retry_s=RETRY_S)
        chain = AuditChain(
            self.store, mirror, lambda: self.now, sinks=sinks, kept=kept, retry_s=RETRY_S
        )
        self._running.append(asyncio.create_task(mirror.run()))
        async with asyncio.timeout(TIMEOUT_S):
            await mirror.wait_ready()
        return chain

    async def leadership(self) -> Leadership:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.store.elect("control-plane", "test", 10)

    async def lead(self, chain: AuditChain) -> asyncio.Task[None]:
        """The chain's task, as the elected one."""
        leadership = await self.leadership()
        leading = asyncio.create_task(chain.lead(leadership))
        self._running.append(leading)
        self._terms[leading] = leadership
        return leading

    async def chained(self, count: int) -> list[AuditEntry]:
        """All entries, once the log has `count`."""

        async def enough() -> bool:
            kv = await self.store.get(keys.AUDIT_HEAD)
            return kv is not None and records.decode(kv, Head).seq >= count

        await until(enough, TIMEOUT_S)
        return await self.reader.between(1, count)

    async def breaks(self, saved: SavedStream | None = None) -> list[Break]:
        """What is wrong with the whole log."""
        pages: list[ChainPage] = []
        start: int | None = 1
        while start is not None:
            pages.append(await self.reader.chain(from_seq=start, limit=70))
            start = pages[-1].next
        return list(verify(pages, saved))

    async def end(self, *tasks: asyncio.Task[None]) -> None:
        """End these tasks, or all; who leads lets the next one lead."""
        for task in tasks or self._running:
            task.cancel()
        await asyncio.gather(*(tasks or self._running), return_exceptions=True)
        for task in tasks:
            if term := self._terms.pop(task, None):
                await term.resign()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    store = await SqliteStore.open(tmp_path / "store.db")
    log = Log(store)
    yield log
    await log.end()
    await store.close()


def told(lines: Sequence[object]) -> list[int]:
    """The numbers of the entries in captured log lines."""
    return [
        line["entry"]["seq"]  # type: ignore[index]
        for line in lines
        if line.get("logger") == "audit"  # type: ignore[attr-defined]
    ]


async def test_events_become_entries_in_order_and_are_gone(log: Log) -> None:
    await log.events(150)
    await log.lead(await log.chain())
    entries = await log.chained(150)
    await log.events(10)
    entries = await log.chained(160)

    assert [entry.event.event_id for entry in entries] == [f"{n:06d}" for n in range(1, 161)]
    assert not (await log.store.range(keys.EVENTS)).kvs
    assert await log.breaks() == []


async def test_batch_of_large_events_stays_below_the_stores_limits(log: Log) -> None:
    for _ in range(80):
        await log.event(after={"text": "x" * 30_000})
    await log.lead(await log.chain())
    assert len(await log.chained(80)) == 80
    assert log.store.txns >= 3


async def test_every_entry_is_told_in_the_log_stream(log: Log) -> None:
    with capture_logs() as lines:
        await log.events(3)
        leading = await log.lead(await log.chain())
        entries = await log.chained(3)
        await log.end(leading)
    saved = SavedStream()
    for line in lines:
        if line.get("logger") == "audit":
            assert line["entry"] == msgspec.to_builtins(entries[line["entry"]["seq"] - 1])
            saved.add(msgspec.json.encode(line).decode())
    assert saved.count == 3
    assert await log.breaks(saved) == []


async def test_leader_that_ended_before_telling_is_made_up_for_by_the_next(log: Log) -> None:
    await log.events(2)
    first = await log.lead(await log.chain())
    await log.chained(2)
    await log.end(first)
    with capture_logs() as lines:
        second = await log.lead(await log.chain())
        await log.event()
        await log.chained(3)
        await log.end(second)
    assert told(lines) == [1, 2, 3]


@pytest.mark.parametrize("lost", [1, 2, 5])
async def test_lost_answers_chain_nothing_twice_and_leave_nothing_untold(
    log: Log, lost: int
) -> None:
    with capture_logs() as lines:
        await log.events(100)
        chain = await log.chain(Noting())
        log.store.lose_answers = lost
        leading = await log.lead(chain)
        entries = await log.chained(100)
        await log.events(1)
        entries = await log.chained(101)
        await log.end(leading)

    ids = [entry.event.event_id for entry in entries]
    assert ids == [f"{n:06d}" for n in range(1, 102)]
    assert told(lines) == list(range(1, 102))
    assert {kv.version for kv in (await log.store.range(NOTED)).kvs} == {1}
    assert await log.breaks() == []


async def test_store_away_for_a_while_is_waited_for(log: Log) -> None:
    await log.lead(await log.chain())
    await log.event()
    await log.chained(1)
    log.store.away = True
    put = journal.put(make_event(event_id="000002"))
    await log.embedded.put(put.key, put.value)
    await asyncio.sleep(0)
    log.store.away = False
    assert len(await log.chained(2)) == 2


async def test_leaders_killed_at_any_moment_lose_nothing_and_repeat_nothing(log: Log) -> None:
    dice = random.Random(7)  # noqa: S311 - the same moments each time
    saved = SavedStream()
    with capture_logs() as lines:
        for _ in range(12):
            chain = await log.chain(Noting())
            log.store.lose_answers = 0
            leading = await log.lead(chain)
            log.store.lose_answers = dice.choice([0, 0, 1, 3])
            for _ in range(dice.randrange(1, 4)):
                await log.events(dice.randrange(1, 40))
                await asyncio.sleep(0)
            await log.end(leading)
        log.store.lose_answers = 0
        last = await log.lead(await log.chain(Noting()))
        entries = await log.chained(log.written)
        await log.end(last)

    ids = [entry.event.event_id for entry in entries]
    assert ids == [f"{n:06d}" for n in range(1, log.written + 1)]
    assert {kv.version for kv in (await log.store.range(NOTED)).kvs} == {1}
    assert len((await log.store.range(NOTED)).kvs) == log.written
    for line in lines:
        saved.add(msgspec.json.encode(line, enc_hook=str).decode())
    assert saved.count == log.written
    assert await log.breaks(saved) == []


async def test_deposed_leader_changes_nothing(log: Log) -> None:
    chain = await log.chain()
    leadership = await log.leadership()
    leading = asyncio.create_task(chain.lead(leadership))
    await log.event()
    await log.chained(1)

    class Stopped:
        """As the deposed one sees it: it was stopped, and knows nothing of its end."""

        fence = leadership.fence
        lost = asyncio.Event()
        deadline = float("inf")

        async def resign(self) -> None:
            raise AssertionError

    await log.end(leading)
    await leadership.resign()
    again = asyncio.create_task(chain.lead(Stopped()))
    await log.event()
    async with asyncio.timeout(TIMEOUT_S):
        await again
    assert [kv.key for kv in (await log.store.range(keys.EVENTS)).kvs] == [keys.event("000002")]
    assert (await log.reader.chain(from_seq=1, limit=9)).head.seq == 1


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"\xff\xfe", b"[" * 5000, b"null", b'{"event_id": 1}', b"x" * 200_000]
)
async def test_damaged_event_is_set_aside_and_noted(log: Log, value: bytes) -> None:
    await log.event()
    await log.store.put(keys.event("000001-damaged"), value)
    await log.event()
    await log.lead(await log.chain(Noting()))
    entries = await log.chained(3)

    assert [entry.event.action for entry in entries] == ["user.changed", DAMAGED, "user.changed"]
    assert entries[1].event.target == "event/000001-damaged"
    kept = await log.store.get(keys.audit_damaged(2))
    assert kept is not None
    assert value.startswith(kept.value)
    assert not (await log.store.range(keys.EVENTS)).kvs
    assert await log.breaks() == []


async def test_broken_sink_keeps_no_event_out_of_the_log(log: Log) -> None:
    await log.events(3)
    await log.lead(await log.chain(Failing(), Noting()))
    assert len(await log.chained(3)) == 3
    assert len((await log.store.range(NOTED)).kvs) == 3


@pytest.mark.parametrize(
    ("operations", "there"),
    [
        ([Put(f"{NOTED}{n:04d}", b"") for n in range(300)], audit.SINK_OPERATIONS),
        ([Put(f"{NOTED}{n:04d}", b"x" * 60_000) for n in range(40)], 8),
        ([Put(f"{NOTED}a", b"1"), Put(f"{NOTED}a", b"2")], 1),
        ([Put("no key", b"")], 0),
        ([Put(f"{NOTED}a", b""), Delete(NOTED, prefix=True)], 0),
    ],
    ids=["many", "large", "same key twice", "no key", "contradiction"],
)
async def test_sink_that_wants_too_much_keeps_no_event_out_of_the_log(
    log: Log, operations: Sequence[Operation], there: int
) -> None:
    await log.events(3)
    await log.lead(await log.chain(Wanting(operations)))
    assert len(await log.chained(3)) == 3
    assert len((await log.store.range(NOTED)).kvs) == there


@pytest.mark.parametrize("head", [None, b"rubbish", msgspec.json.encode(Head(seq=3))])
async def test_lost_head_is_found_again_by_the_entries(log: Log, head: bytes | None) -> None:
    await log.events_at_once(1205)
    first = await log.lead(await log.chain())
    await log.chained(1205)
    await log.end(first)
    if head is None:
        await log.store.delete(keys.AUDIT_HEAD)
    else:
        await log.store.put(keys.AUDIT_HEAD, head)
    await log.event()
    await log.lead(await log.chain())
    await until_gone(log)
    assert len(await log.chained(1206)) == 1206
    assert await log.breaks() == []


async def until_gone(log: Log) -> None:
    async def none_is_left() -> bool:
        return not (await log.store.range(keys.EVENTS, limit=1)).kvs

    await until(none_is_left, TIMEOUT_S)


async def test_old_entries_go_by_whole_blocks_and_the_chain_still_holds(log: Log) -> None:
    await log.store.put(keys.event("000000"), b"damaged")
    await log.events_at_once(2 * keys.AUDIT_BLOCK + 19)
    first = await log.lead(await log.chain())
    await log.chained(2 * keys.AUDIT_BLOCK + 20)
    await log.end(first)
    log.now += timedelta(days=11)
    await log.lead(await log.chain(Noting(), kept=timedelta(days=10)))

    async def trimmed() -> bool:
        page = await log.reader.chain(from_seq=1, limit=1)
        return page.anchor.first_seq == 2 * keys.AUDIT_BLOCK

    await until(trimmed, TIMEOUT_S)
    page = await log.reader.chain(from_seq=1, limit=100)
    assert page.entries[0].seq == 2 * keys.AUDIT_BLOCK
    words = [entry.event for entry in page.entries if entry.event.action == TRIMMED]
    assert [word.after and word.after["entries"] for word in words] == [999, 1000]
    assert not (await log.store.range(keys.audit_block(0))).kvs
    assert not (await log.store.range(keys.audit_damaged(0)[:-12])).kvs
    assert len((await log.store.range(NOTED)).kvs) == 2
    assert await log.breaks() == []


async def test_entries_of_the_last_days_are_kept(log: Log) -> None:
    await log.events_at_once(keys.AUDIT_BLOCK)
    log.now += timedelta(days=9)
    await log.events(1)
    log.now += timedelta(days=9)
    await log.lead(await log.chain(kept=timedelta(days=10)))
    await log.chained(keys.AUDIT_BLOCK + 1)
    assert (await log.reader.chain(from_seq=1, limit=1)).anchor.first_seq == 1


async def test_damaged_anchor_keeps_everything(log: Log) -> None:
    await log.store.put(keys.AUDIT_ANCHOR, b"rubbish")
    await log.events(3)
    await log.lead(await log.chain())
    assert len(await log.chained(3)) == 3
