"""Feeds: from memory while the watcher keeps up, from history where it does not."""

import asyncio

import pytest

from lpmos.store.api import KV, WatchBatch, WatchEvent
from lpmos.store.sqlite import watches
from lpmos.store.sqlite.watches import Watches

PREFIX = "/os/"
TIMEOUT_S = 30.0


def _batch(revision: int, count: int = 1, value: bytes = b"", prefix: str = PREFIX) -> WatchBatch:
    kvs = [KV(f"{prefix}{number}", value, revision, revision, 1) for number in range(count)]
    return WatchBatch(revision, tuple(WatchEvent("put", kv) for kv in kvs))


class History:
    """All batches there ever were, and which were read again."""

    def __init__(self) -> None:
        self.batches: list[WatchBatch] = []
        self.reads: list[tuple[int, int]] = []
        self.watches = Watches(1, self.read)

    def commit(self, *batches: WatchBatch) -> None:
        """One group commit."""
        self.batches += batches
        self.watches.publish(batches[-1].revision, batches)

    async def read(
        self, prefix: str, since: int, before: int, limit: int
    ) -> tuple[WatchBatch | None, int]:
        self.reads.append((since, before))
        found = [one for one in self.batches if since <= one.revision < before]
        if not found:
            return None, before
        return found[0], found[0].revision + 1


@pytest.fixture
async def history() -> History:
    return History()


async def _collect(history: History, from_revision: int, until: int) -> list[int]:
    """The revisions of all events from a watch, up to `until`."""
    seen: list[int] = []
    async with asyncio.timeout(TIMEOUT_S):
        async for batch in history.watches.watch(PREFIX, from_revision):
            seen += [event.kv.mod_revision for event in batch.events]
            if batch.revision >= until:
                break
    return seen


async def test_watch_live_reads_no_history(history: History) -> None:
    collecting = asyncio.create_task(_collect(history, 2, 4))
    await asyncio.sleep(0)
    history.commit(_batch(2), _batch(3))
    history.commit(_batch(4))
    assert await collecting == [2, 3, 4]
    assert history.reads == []


async def test_watch_of_the_past_reads_history_up_to_where_it_began(history: History) -> None:
    history.commit(_batch(2), _batch(3))
    collecting = asyncio.create_task(_collect(history, 2, 5))
    await asyncio.sleep(0)
    history.commit(_batch(4), _batch(5))
    assert await collecting == [2, 3, 4, 5]
    assert all(before == 4 for _, before in history.reads)


async def test_watch_of_the_future_begins_there_within_a_group(history: History) -> None:
    collecting = asyncio.create_task(_collect(history, 4, 5))
    await asyncio.sleep(0)
    history.commit(_batch(2))
    history.commit(_batch(3), _batch(4))
    history.commit(_batch(5))
    assert await collecting == [4, 5]


@pytest.mark.parametrize(
    "big",
    [
        {"count": watches.MAX_EVENTS + 1},
        {"count": 20, "value": bytes(watches.MAX_BYTES // 20 + 1)},
    ],
    ids=["events", "bytes"],
)
async def test_watch_overrun_reads_what_it_lost_from_history(
    history: History, big: dict[str, int]
) -> None:
    watch = history.watches.watch(PREFIX, 2)
    history.commit(_batch(2))
    first = await anext(watch)
    history.commit(_batch(3))
    history.commit(_batch(4, **big))  # type: ignore[arg-type]
    history.commit(_batch(5))
    rest = [await anext(watch) for _ in range(3)]
    assert [one.revision for one in (first, *rest)] == [2, 3, 4, 5]
    assert (3, 5) in history.reads
    assert (5, 6) not in history.reads
    await watch.aclose()


async def test_watch_hears_nothing_of_other_prefixes(history: History) -> None:
    collecting = asyncio.create_task(_collect(history, 2, 3))
    await asyncio.sleep(0)
    history.commit(_batch(2, prefix="/other/"))
    assert not collecting.done()
    history.commit(_batch(3))
    assert await collecting == [3]


async def test_watches_ended_end_for_those_who_wait_and_who_come(history: History) -> None:
    waiting = asyncio.create_task(_collect(history, 2, 1000))
    await asyncio.sleep(0)
    history.watches.end()
    assert await waiting == []
    assert await _collect(history, 2, 1000) == []
