"""Watches: every change once, in order, whole revisions only, from any point of history."""

import asyncio
from itertools import pairwise

import pytest

from lpmos.store.api import Compacted, Delete, Operation, Put, WatchBatch, WatchLagged
from tests.support.stores import Backend
from tests.support.watching import brief, next_batch, take_events

QUIET_S = 0.3


async def test_watch_from_the_past_gives_every_change_in_order(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    first = await store.put(prefix + "a", b"1")
    await store.put(prefix + "b", b"2")
    await store.put(prefix + "a", b"3")
    await store.delete(prefix + "b")
    events = await take_events(store.watch(prefix, from_revision=first), 4)
    assert brief(events) == [
        ("put", prefix + "a", b"1", first),
        ("put", prefix + "b", b"2", first + 1),
        ("put", prefix + "a", b"3", first + 2),
        ("delete", prefix + "b", b"", first + 3),
    ]


async def test_watch_event_of_a_put_has_the_key_as_get_gives_it(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    await store.put(key, b"1")
    lease = await store.grant(60)
    revision = await store.put(key, b"2", lease=lease.id)
    (event,) = await take_events(store.watch(key, from_revision=revision), 1)
    assert event.kv == await store.get(key)
    await lease.revoke()


async def test_watch_live_gives_changes_as_they_happen(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = await store.put(prefix + "a", b"0")
    watch = store.watch(prefix, from_revision=start + 1)
    for number in range(5):
        coming = asyncio.create_task(next_batch(watch))
        revision = await store.put(prefix + "a", str(number).encode())
        batch = await coming
        assert brief(list(batch.events)) == [("put", prefix + "a", str(number).encode(), revision)]
        assert batch.revision == revision


async def test_watch_from_zero_begins_now(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    await store.put(prefix + "a", b"old")
    watch = store.watch(prefix, from_revision=0)
    coming = asyncio.create_task(next_batch(watch))
    writing = asyncio.create_task(_write_until(backend, coming))
    batch = await coming
    await writing
    assert all(event.kv.value == b"new" for event in batch.events)


async def _write_until(backend: Backend, seen: "asyncio.Task[WatchBatch]") -> None:
    while not seen.done():
        await backend.store.put(backend.prefix + "a", b"new")


async def test_watch_from_the_future_leaves_out_what_comes_before(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = await store.put(prefix + "a", b"0")
    watch = store.watch(prefix, from_revision=start + 3)
    coming = asyncio.create_task(take_events(watch, 2))
    await asyncio.sleep(0)
    for number in range(1, 5):
        await store.put(prefix + "a", str(number).encode())
    assert [event.kv.value for event in await coming] == [b"3", b"4"]


async def test_watch_begun_in_the_past_goes_on_live_without_a_gap(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    first = await store.put(prefix + "a", b"")
    for _ in range(99):
        await store.put(prefix + "a", b"")

    async def write_more() -> None:
        for _ in range(200):
            await store.put(prefix + "a", b"")

    async with asyncio.TaskGroup() as group:
        group.create_task(write_more())
        taking = group.create_task(take_events(store.watch(prefix, from_revision=first), 300))
    assert [event.kv.mod_revision for event in taking.result()] == [*range(first, first + 300)]


async def test_watch_gives_all_writes_of_a_txn_in_one_batch(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = await store.put(prefix + "gone", b"")
    keys = [f"{prefix}{number:03}" for number in range(120)]
    operations: list[Operation] = [Delete(prefix + "gone"), *(Put(key, b"x") for key in keys)]
    live = store.watch(prefix, from_revision=start + 1)
    coming = asyncio.create_task(next_batch(live))
    result = await store.txn([], operations)
    for batch in (await coming, await next_batch(store.watch(prefix, from_revision=start + 1))):
        assert batch.revision == result.revision
        assert [event.kv.key for event in batch.events] == [prefix + "gone", *keys]
        assert {event.kv.mod_revision for event in batch.events} == {result.revision}


async def test_watch_never_splits_a_revision_over_batches(backend: Backend) -> None:
    """Many large transactions, read from history and live at once."""
    store, prefix = backend.store, backend.prefix
    start = (await store.status()).revision

    async def write() -> None:
        for number in range(30):
            await store.txn(
                [], [Put(f"{prefix}{key:03}", b"%d" % number * 500) for key in range(100)]
            )

    await write()
    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        watch = store.watch(prefix, from_revision=start + 1)
        batches: list[WatchBatch] = []
        while sum(len(batch.events) for batch in batches) < 6000:
            batches.append(await next_batch(watch))
    revisions = [{event.kv.mod_revision for event in batch.events} for batch in batches]
    assert all(max(one) < min(other) for one, other in pairwise(revisions))
    assert [max(one) for one in revisions] == [batch.revision for batch in batches]


async def test_watch_leaves_out_other_prefixes(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = (await store.status()).revision
    watch = store.watch(prefix + "in/", from_revision=start + 1)
    await store.txn([], [Put(prefix + "out", b""), Put(prefix + "in/1", b"")])
    await store.put(prefix + "in", b"")
    await store.put(prefix + "in0", b"")
    await store.put(prefix + "in/2", b"")
    events = await take_events(watch, 2)
    assert [event.kv.key for event in events] == [prefix + "in/1", prefix + "in/2"]


async def test_watch_from_a_compacted_revision_names_the_oldest(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    first = await store.put(prefix + "a", b"1")
    await store.put(prefix + "a", b"2")
    last = await store.put(prefix + "a", b"3")
    await store.compact(last)
    with pytest.raises(Compacted) as caught:
        await next_batch(store.watch(prefix, from_revision=first))
    assert caught.value.compact_revision == last


async def test_watch_from_the_compact_revision_itself_is_complete(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    await store.put(prefix + "a", b"1")
    second = await store.put(prefix + "a", b"2")
    third = await store.put(prefix + "b", b"3")
    await store.compact(second)
    events = await take_events(store.watch(prefix, from_revision=second), 2)
    assert [event.kv.mod_revision for event in events] == [second, third]


async def test_watch_that_is_up_to_date_survives_compaction(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = await store.put(prefix + "a", b"0")
    watch = store.watch(prefix, from_revision=start + 1)
    coming = asyncio.create_task(next_batch(watch))
    revision = await store.put(prefix + "a", b"1")
    await coming
    await store.compact(revision)
    coming = asyncio.create_task(next_batch(watch))
    await store.put(prefix + "a", b"2")
    assert [event.kv.value for event in (await coming).events] == [b"2"]


async def test_watches_side_by_side_see_the_same(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = (await store.status()).revision
    other = await backend.another()
    watches = [client.watch(prefix, from_revision=start + 1) for client in (store, store, other)]
    taking = [asyncio.create_task(take_events(watch, 50)) for watch in watches]
    for number in range(50):
        await store.put(f"{prefix}{number % 7}", b"")
    seen = [brief(events) for events in await asyncio.gather(*taking)]
    assert seen[0] == seen[1] == seen[2]
    assert [revision for *_, revision in seen[0]] == [*range(start + 1, start + 51)]


async def test_watch_too_slow_is_complete_or_cut_off(backend: Backend) -> None:
    """25,600 events while the watcher sleeps: it gets all of them, or a clear end."""
    store, prefix = backend.store, backend.prefix
    start = await store.put(prefix + "a", b"")
    watch = store.watch(prefix, from_revision=start)
    assert (await next_batch(watch)).revision == start
    for _ in range(200):
        await store.txn([], [Put(f"{prefix}{key:03}", b"x") for key in range(128)])
    last = await store.put(prefix + "a", b"")
    seen: list[int] = []
    try:
        while not seen or seen[-1] < last:
            batch = await next_batch(watch)
            seen += [event.kv.mod_revision for event in batch.events]
    except WatchLagged:
        assert last not in seen
    expected = [revision for revision in range(start + 1, last) for _ in range(128)]
    assert seen == [*expected, last][: len(seen)]


async def test_watch_cancelled_leaves_the_store_in_order(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    start = await store.put(prefix + "a", b"")
    coming = asyncio.create_task(next_batch(store.watch(prefix, from_revision=start + 1)))
    await asyncio.wait((coming,), timeout=QUIET_S)
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    assert await store.put(prefix + "a", b"") == start + 1
