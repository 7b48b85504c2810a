"""The mirror on a store in memory: what it has, what it tells, and what it survives."""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.store.api import (
    KV,
    Compacted,
    PermissionDenied,
    StoreError,
    Unavailable,
    WatchLagged,
)
from lpmos.store.mirror import (
    COOLED_SHARE,
    FRESH_BYTES,
    FRESH_KEYS,
    LISTED_BYTES,
    Mirror,
    deflated,
    opened,
)
from tests.support.followed_store import FollowedStore

TIMEOUT_S = 30.0
Ready = Callable[[], Awaitable[None]]
Told = list[tuple[str, bytes | None, bytes | None]]


@pytest.fixture
def store() -> FollowedStore:
    return FollowedStore()


@pytest.fixture
async def mirror(store: FollowedStore) -> Mirror:
    """A mirror of `/os/` that does not run yet."""
    return Mirror(store, "/os/", silence_s=0.005, retry_s=0.001)


@pytest.fixture
async def run(mirror: Mirror) -> AsyncIterator[Callable[[], None]]:
    """Starts the mirror."""
    running: list[asyncio.Task[None]] = []
    yield lambda: running.append(asyncio.create_task(mirror.run()))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
async def ready(mirror: Mirror, run: Callable[[], None]) -> Ready:
    """Starts the mirror and waits for its first listing."""

    async def start() -> None:
        run()
        async with asyncio.timeout(TIMEOUT_S):
            await mirror.wait_ready()

    return start


@pytest.fixture
def told(mirror: Mirror) -> Told:
    """What a subscriber is told."""
    found: Told = []

    def tell(key: str, before: KV | None, after: KV | None) -> None:
        was = before and opened(before)
        found.append((key, was.value if was else None, after.value if after else None))
        assert mirror.get(key) == after

    mirror.subscribe(tell)
    return found


async def _reached(mirror: Mirror, revision: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await mirror.wait_for(revision)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - the mirror has no event for this
            await asyncio.sleep(0)


async def test_mirror_before_its_first_listing_has_nothing(store: FollowedStore) -> None:
    store.put("/os/a")
    mirror = Mirror(store, "/os/")
    assert (mirror.get("/os/a"), mirror.revision, mirror.connected) == (None, 0, False)
    assert list(mirror.items("/os/")) == []


async def test_mirror_ready_has_all_pages_of_the_listing(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    for name in "edcba":
        store.put(f"/os/{name}", value=name.encode())
    store.put("/other/x")
    await ready()
    assert [kv.key for kv in mirror.items("/os/")] == [f"/os/{name}" for name in "abcde"]
    assert mirror.revision == store.revision
    assert mirror.connected
    assert told == [(f"/os/{name}", None, name.encode()) for name in "edcba"]


async def test_mirror_follows_puts_and_deletes_and_tells_of_them(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    await ready()
    store.put("/os/a", value=b"1")
    store.put("/os/a", "/os/b", value=b"2")
    store.put("/other/x")
    await _reached(mirror, store.delete("/os/a"))
    assert told == [
        ("/os/a", None, b"1"),
        ("/os/a", b"1", b"2"),
        ("/os/b", None, b"2"),
        ("/os/a", b"2", None),
    ]
    assert [kv.key for kv in mirror.items("/os/")] == ["/os/b"]


async def test_mirror_items_of_a_prefix_are_in_order_and_leave_out_neighbours(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    store.put("/os/b/2", "/os/b/1", "/os/a", "/os/b", "/os/b0", "/os/b/\U0010ffff")
    await ready()
    assert [kv.key for kv in mirror.items("/os/b/")] == ["/os/b/1", "/os/b/2", "/os/b/\U0010ffff"]
    await _reached(mirror, store.put("/os/b/11"))
    assert [kv.key for kv in mirror.items("/os/b/1")] == ["/os/b/1", "/os/b/11"]
    assert list(mirror.items("/os/c")) == []


async def test_mirror_items_taken_stay_as_they_were(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    store.put("/os/a", "/os/b")
    await ready()
    items = mirror.items("/os/")
    await _reached(mirror, store.delete("/os/b"))
    assert [kv.key for kv in items] == ["/os/a", "/os/b"]


async def test_mirror_wait_for_returns_once_the_write_is_seen(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    await ready()
    waits = [asyncio.create_task(mirror.wait_for(store.revision + ahead)) for ahead in (2, 1)]
    waits[0].cancel()
    store.put("/os/a")
    store.put("/os/b")
    await _reached(mirror, store.revision)
    assert mirror.get("/os/b") is not None
    await waits[1]


async def test_mirror_wait_for_is_bounded_by_the_callers_timeout(mirror: Mirror) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await mirror.wait_for(1000)


async def test_mirror_unsubscribed_is_told_no_more(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    keys: list[str] = []

    def tell(key: str, before: KV | None, after: KV | None) -> None:
        keys.append(key)

    mirror.subscribe(tell)
    await ready()
    await _reached(mirror, store.put("/os/a"))
    mirror.unsubscribe(tell)
    mirror.unsubscribe(tell)
    await _reached(mirror, store.put("/os/b"))
    assert keys == ["/os/a"]


@pytest.mark.parametrize("error", [WatchLagged("slow"), Compacted(7)])
async def test_mirror_cut_off_lists_again_and_tells_only_the_difference(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told, error: StoreError
) -> None:
    store.put("/os/same", "/os/changed", "/os/deleted", "/os/recreated", value=b"old")
    await ready()
    told.clear()
    store.break_watches(error)
    store.delete("/os/recreated")
    store.put("/os/recreated", value=b"old")
    store.put("/os/added", value=b"new")
    store.put("/os/changed", value=b"new")
    store.delete("/os/deleted")
    store.forget_history()
    await _reached(mirror, store.revision)
    assert told == [
        ("/os/deleted", b"old", None),
        ("/os/recreated", b"old", b"old"),
        ("/os/added", None, b"new"),
        ("/os/changed", b"old", b"new"),
    ]
    assert store.listings == 2


async def test_mirror_cut_off_goes_on_watching_after_listing_again(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    await ready()
    store.break_watches(WatchLagged("slow"))
    await _reached(mirror, store.put("/os/a"))
    await _reached(mirror, store.put("/os/b"))
    assert [kv.key for kv in mirror.items("/os/")] == ["/os/a", "/os/b"]


async def test_mirror_with_the_store_away_keeps_what_it_has_and_comes_back(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    store.put("/os/a", value=b"1")
    await ready()
    store.away = True
    store.break_watches(Unavailable("gone"))
    await _until(lambda: not mirror.connected)
    assert mirror.get("/os/a") is not None
    store.put("/os/b", value=b"2")
    store.away = False
    await _reached(mirror, store.revision)
    assert mirror.connected
    assert told == [("/os/a", None, b"1"), ("/os/b", None, b"2")]
    assert store.listings == 1


async def test_mirror_started_with_the_store_away_lists_when_it_is_there(
    store: FollowedStore, mirror: Mirror, run: Callable[[], None]
) -> None:
    store.put("/os/a")
    store.away = True
    run()
    await _until(lambda: store.listings > 2)
    store.away = False
    async with asyncio.timeout(TIMEOUT_S):
        await mirror.wait_ready()
    assert mirror.get("/os/a") is not None


async def test_mirror_listing_overtaken_by_compaction_starts_again(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    store.put("/os/a")
    store.list_errors.append(Compacted(5))
    await ready()
    assert (store.listings, mirror.get("/os/a") is not None) == (2, True)


async def test_mirror_of_a_silent_store_learns_that_it_is_away_and_back(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    await ready()
    store.away = True
    await _until(lambda: not mirror.connected)
    store.away = False
    await _until(lambda: mirror.connected)
    assert store.listings == 1


async def test_mirror_of_a_store_restored_from_a_snapshot_lists_again(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    store.put("/os/lost", value=b"1")
    await ready()
    store.go_back(1)
    await _until(lambda: store.listings == 2 and mirror.revision == 1)
    assert told[1:] == [("/os/lost", b"1", None)]
    await _reached(mirror, store.put("/os/a"))


async def test_mirror_without_the_right_to_read_ends_with_the_error(store: FollowedStore) -> None:
    store.list_errors.append(PermissionDenied("no"))
    mirror = Mirror(store, "/os/")
    with pytest.raises(PermissionDenied):
        await mirror.run()
    assert not mirror.connected


async def test_mirror_gives_large_values_as_they_came_and_tells_only_of_changed_ones(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    large = b"inventory " * 1000
    revision = store.put("/os/a", value=large)
    await ready()
    assert mirror.get("/os/a") == KV("/os/a", large, revision, revision, 1)
    assert [kv.value for kv in mirror.items("/os/")] == [large]
    store.break_watches(WatchLagged("slow"))
    await _reached(mirror, store.put("/os/b"))
    await _reached(mirror, store.delete("/os/a"))
    assert told == [("/os/a", None, large), ("/os/b", None, b""), ("/os/a", large, None)]


@pytest.mark.parametrize("changed", [FRESH_KEYS + 1, 2 * FRESH_KEYS])
async def test_mirror_packs_the_large_values_that_changed_longest_ago(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told, changed: int
) -> None:
    large = b"inventory " * 300
    await ready()
    store.put(*(f"/os/{number}" for number in range(changed)), value=large)
    await _reached(mirror, store.revision)

    def is_packed(number: int) -> bool:
        kept = mirror.kept(f"/os/{number}")
        return kept is not None and len(kept.value) < len(large)

    await _until(lambda: is_packed(0))
    assert is_packed(max(1, (changed - FRESH_KEYS) // COOLED_SHARE) - 1)
    first, last = mirror.kept("/os/0"), mirror.kept(f"/os/{changed - 1}")
    assert first is not None and last is not None and not is_packed(changed - 1)
    assert zlib.decompress(deflated(first)) == zlib.decompress(deflated(last)) == large
    assert opened(first) == mirror.get("/os/0")
    await _reached(mirror, store.put("/os/0", value=b"small"))
    assert told[-1] == ("/os/0", large, b"small")


async def test_mirror_packs_at_once_what_is_more_bytes_than_may_be_unpacked(
    store: FollowedStore, mirror: Mirror, ready: Ready
) -> None:
    large = b"inventory " * 100_000
    most = FRESH_BYTES // len(large)
    keys = [f"/os/{number}" for number in range(most + 2)]

    def packed() -> list[str]:
        found = [kv for kv in map(mirror.kept, keys) if kv is not None]
        return [kv.key for kv in found if len(kv.value) < len(large)]

    await ready()
    for _ in range(2):  # what is there already counts once
        store.put(*keys[:most], value=large)
    store.delete(keys[1])
    await _reached(mirror, store.put(keys[most], value=large))
    assert packed() == []
    await _reached(mirror, store.put(keys[most + 1], value=large))
    assert packed() == [keys[0]]


async def test_mirror_packs_of_a_listing_what_leaves_no_room_for_changes(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    large = b"inventory " * 100_000
    most = LISTED_BYTES // len(large)
    keys = [f"/os/{number:03}" for number in range(most + 2)]
    for key in keys:
        store.put(key, value=large)
    await ready()
    kept = [mirror.kept(key) for key in keys]
    assert [kv is not None and kv.value == large for kv in kept] == [True] * most + [False] * 2
    assert told == [(key, None, large) for key in keys]


async def test_mirror_listing_again_tells_nothing_of_what_is_only_packed_otherwise(
    store: FollowedStore, mirror: Mirror, ready: Ready, told: Told
) -> None:
    large = b"inventory " * 300
    store.put(*(f"/os/{number:05}" for number in range(FRESH_KEYS + 1)), value=large)
    await ready()
    await _until(lambda: (kv := mirror.kept("/os/00000")) is not None and kv.value != large)
    told.clear()
    store.break_watches(WatchLagged("slow"))
    await _reached(mirror, store.put("/os/b", value=b"new"))
    assert told == [("/os/b", None, b"new")]


def test_mirror_packs_a_value_by_what_the_first_of_its_kind_has_too() -> None:
    machines = [f"/os/dc1/machines/SN-{number}/meta" for number in range(2)]
    tasks = [f"/os/dc1/machines/SN-{number}/task" for number in range(2)]
    inventory, plan = random.Random(0).randbytes(5000), random.Random(1).randbytes(5000)  # noqa: S311
    mirror = Mirror(FollowedStore(), "/os/")
    values = dict.fromkeys(machines, inventory) | dict.fromkeys(tasks, plan)
    mirror.restore((KV(key, value, 1, 1, 1) for key, value in values.items()), 1)
    for key, value in values.items():
        kept = mirror.kept(key)
        assert kept is not None and len(kept.value) < len(value) // 50
        assert mirror.get(key) == KV(key, value, 1, 1, 1)
        assert zlib.decompress(deflated(kept)) == value


@given(st.lists(st.binary(max_size=40).map(lambda part: part * 1000), min_size=1, max_size=4))
def test_mirror_gives_any_value_as_it_came(values: list[bytes]) -> None:
    mirror = Mirror(FollowedStore(), "/os/")
    mirror.restore((KV(f"/os/{n}", value, 1, 1, 1) for n, value in enumerate(values)), 1)
    assert [kv.value for kv in mirror.items("/os/")] == values
