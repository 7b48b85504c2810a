"""The audit log is searched from both ends, in pages, with a bounded number of reads a call."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lpmos.core.audit.reader import AuditPage, AuditQuery, AuditReader
from lpmos.model.audit import Anchor, AuditEntry, Head
from lpmos.model.errors import NotFound
from lpmos.store import keys, records
from lpmos.store.api import Page, Put, Store
from lpmos.store.sqlite import SqliteStore
from tests.support.audit import make_chain, make_event
from tests.support.builders import NOW, actor
from tests.support.faulty_store import FaultyStore

COUNT = 730
TOGETHER = 40
STEP = timedelta(minutes=10)
OFF = timedelta(minutes=29)


class CountingStore(FaultyStore):
    """Counts the reads of entries."""

    reads = 0

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        self.reads += 1
        return await super().range(prefix, limit=limit, revision=revision, keys_only=keys_only)


async def store_chain(store: Store, entries: list[AuditEntry], anchor: Anchor) -> None:
    puts = [Put(keys.audit_entry(entry.seq), records.encode(entry)) for entry in entries]
    for at in range(0, len(puts), TOGETHER):
        await store.txn([], puts[at : at + TOGETHER])
    head = Head(seq=entries[-1].seq, digest=entries[-1].digest)
    await store.put(keys.AUDIT_HEAD, records.encode(head))
    await store.put(keys.AUDIT_ANCHOR, records.encode(anchor))


def make_entries(count: int = COUNT, anchor: Anchor | None = None) -> list[AuditEntry]:
    """One every ten minutes: every third is acme's, every seventh was refused to boss."""
    return make_chain(
        [
            make_event(
                event_id=f"{number:06d}",
                at=NOW + number * STEP,
                action=("task.created", "task.approved", "user.changed")[number % 3],
                actor=actor("boss" if number % 7 == 0 else "admin"),
                outcome="refused" if number % 7 == 0 else "done",
                target=f"task/{number}",
                tenant="acme" if number % 3 == 0 else None,
                idc=f"dc{number % 2}",
                sn=f"SN-{number % 5}",
            )
            for number in range(count)
        ],
        anchor,
    )


@pytest.fixture(scope="module")
def entries() -> list[AuditEntry]:
    return make_entries()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    store = await SqliteStore.open(tmp_path / "store.db")
    yield CountingStore(store)
    await store.close()


@pytest.fixture
async def reader(store: CountingStore, entries: list[AuditEntry]) -> AuditReader:
    await store_chain(store, entries, Anchor())
    store.reads = 0
    return AuditReader(store)


async def all_pages(
    reader: AuditReader, query: AuditQuery, *, newest: bool, limit: int
) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    start: int | None = None
    while True:
        if newest:
            page = await reader.newest_first(query, from_seq=start, limit=limit)
        else:
            page = await reader.oldest_first(query, from_seq=start or 1, limit=limit)
        assert len(page.entries) <= limit
        found += page.entries
        if page.next is None:
            return found
        start = page.next


QUERIES: list[tuple[AuditQuery, Callable[[int], bool]]] = [
    (AuditQuery(), lambda n: True),
    (AuditQuery(actor="boss"), lambda n: n % 7 == 0),
    (AuditQuery(action="task."), lambda n: n % 3 != 2),
    (AuditQuery(action="task.approved"), lambda n: n % 3 == 1),
    (AuditQuery(target="task/77"), lambda n: n == 77),
    (AuditQuery(tenant="acme", idc="dc1"), lambda n: n % 3 == 0 and n % 2 == 1),
    (AuditQuery(sn="SN-3"), lambda n: n % 5 == 3),
    (AuditQuery(outcome="refused"), lambda n: n % 7 == 0),
    (AuditQuery(since=NOW + 500 * STEP), lambda n: n >= 500),
    (AuditQuery(until=NOW + 123 * STEP), lambda n: n < 123),
    (AuditQuery(since=NOW + 333 * STEP, until=NOW + 444 * STEP), lambda n: 333 <= n < 444),
    (AuditQuery(since=NOW + 5000 * STEP), lambda n: False),
    (AuditQuery(until=NOW - STEP), lambda n: False),
]


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("limit", [7, 500])
@pytest.mark.parametrize(("query", "wanted"), QUERIES)
async def test_pages_have_every_entry_that_matches_once_and_in_order(
    reader: AuditReader,
    entries: list[AuditEntry],
    query: AuditQuery,
    wanted: Callable[[int], bool],
    newest: bool,
    limit: int,
) -> None:
    expected = [entry for number, entry in enumerate(entries) if wanted(number)]
    found = await all_pages(reader, query, newest=newest, limit=limit)
    assert found == (expected[::-1] if newest else expected)


async def test_search_reads_a_bounded_number_of_chunks_and_goes_on_there(
    reader: AuditReader, store: CountingStore
) -> None:
    reader = AuditReader(store, chunks_per_call=3)
    query = AuditQuery(actor="nobody")
    assert await reader.newest_first(query, from_seq=None, limit=5) == AuditPage((), 499)
    assert store.reads == 3
    assert await reader.oldest_first(query, from_seq=1, limit=5) == AuditPage((), 300)
    assert store.reads == 6
    found = await all_pages(reader, AuditQuery(target="task/4"), newest=True, limit=5)
    assert [entry.seq for entry in found] == [5]


async def test_page_of_large_entries_ends_early_and_nothing_is_missed(
    store: CountingStore,
) -> None:
    events = [make_event(target=f"{n}", after={"text": "x" * 30_000}) for n in range(350)]
    entries = make_chain(events)
    await store_chain(store, entries, Anchor())
    reader = AuditReader(store)
    page = await reader.newest_first(AuditQuery(), from_seq=None, limit=500)
    assert 0 < len(page.entries) < 350
    for newest in (True, False):
        found = await all_pages(reader, AuditQuery(), newest=newest, limit=500)
        assert found == (entries[::-1] if newest else entries)
    at = 1
    chain: list[AuditEntry] = []
    while at:
        part = await reader.chain(from_seq=at, limit=1000)
        assert len(part.entries) < 350
        chain += part.entries
        at = part.next or 0
    assert chain == entries


async def test_search_by_time_does_not_read_what_is_far_from_it(
    reader: AuditReader, store: CountingStore
) -> None:
    query = AuditQuery(since=NOW + 110 * STEP, until=NOW + 111 * STEP)
    for newest in (True, False):
        store.reads = 0
        assert len(await all_pages(reader, query, newest=newest, limit=5)) == 1
        assert store.reads <= 6


async def test_clocks_that_differ_by_less_than_an_hour_hide_nothing(store: CountingStore) -> None:
    events = [
        make_event(at=NOW + number * STEP + (-OFF, OFF)[number % 2], target=f"{number}")
        for number in range(600)
    ]
    await store_chain(store, make_chain(events), Anchor())
    query = AuditQuery(since=NOW + 200 * STEP, until=NOW + 400 * STEP)
    for newest in (True, False):
        found = await all_pages(AuditReader(store), query, newest=newest, limit=50)
        expected = {event.target for event in events if query.matches(event)}
        assert {entry.event.target for entry in found} == expected
        assert len(found) == len(expected)


@pytest.mark.parametrize("newest", [True, False])
async def test_trimmed_log_is_read_from_its_anchor(store: CountingStore, newest: bool) -> None:
    anchor = Anchor(first_seq=2000, previous="1" * 64)
    entries = make_entries(150, anchor)
    await store_chain(store, entries, anchor)
    found = await all_pages(AuditReader(store), AuditQuery(), newest=newest, limit=40)
    assert sorted(found, key=lambda entry: entry.seq) == entries
    early = AuditQuery(since=NOW - timedelta(days=9))
    assert await all_pages(AuditReader(store), early, newest=newest, limit=500) == found


@pytest.mark.parametrize("newest", [True, False])
async def test_empty_log_has_an_empty_page(store: CountingStore, newest: bool) -> None:
    assert await all_pages(AuditReader(store), AuditQuery(), newest=newest, limit=5) == []
    page = await AuditReader(store).chain(from_seq=1, limit=5)
    assert (page.entries, page.next, page.head) == ((), None, Head())


async def test_damaged_entry_is_left_out_and_missed_by_the_chain(
    reader: AuditReader, store: CountingStore, entries: list[AuditEntry]
) -> None:
    await store.put(keys.audit_entry(500), b"rubbish")
    for newest in (True, False):
        for query in (AuditQuery(), AuditQuery(since=NOW, until=NOW + COUNT * STEP)):
            found = await all_pages(reader, query, newest=newest, limit=100)
            assert len(found) == COUNT - 1
    page = await reader.chain(from_seq=499, limit=3)
    assert [entry.seq for entry in page.entries] == [499, 501]


async def test_entry_of_another_tenant_is_not_there(reader: AuditReader) -> None:
    assert (await reader.find(1, "acme")).seq == 1
    assert (await reader.find(2, None)).seq == 2
    for seq, tenant in ((2, "acme"), (1, "other"), (COUNT + 1, None)):
        with pytest.raises(NotFound):
            await reader.find(seq, tenant)


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 5400])
async def test_last_entry_is_found_without_a_head(store: CountingStore, count: int) -> None:
    entries = make_chain([make_event()] * count)
    for seq in {1, *range(1000, count, 1000), count}:
        await store.put(keys.audit_entry(seq), records.encode(entries[seq - 1]))
    last = await AuditReader(store).last()
    assert (last.seq, last.digest) == (count, entries[-1].digest)
    assert store.reads < 12
