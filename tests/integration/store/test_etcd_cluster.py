"""Three members: any one may go, and without two nothing is promised."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from lpmos.store.api import Ambiguous, StoreStatus, Unavailable
from lpmos.store.etcd import EtcdStore
from tests.support.etcd import EtcdCluster, EtcdServer
from tests.support.polling import until
from tests.support.watch_recorder import WatchRecorder

FAILOVER_S = 15.0


@pytest.fixture
async def cluster() -> AsyncIterator[EtcdCluster]:
    async with EtcdCluster() as started:
        yield started


@pytest.fixture
async def store(cluster: EtcdCluster) -> AsyncIterator[EtcdStore]:
    connected = await EtcdStore.connect(cluster.endpoints)
    yield connected
    await connected.close()


async def _put_until_done(store: EtcdStore, key: str) -> None:
    """Write a key as the callers of a store do: read after Ambiguous, again after Unavailable."""

    async def done() -> bool:
        try:
            await store.put(key, b"")
        except Unavailable:
            return False
        except Ambiguous:
            return await _is_there(store, key)
        return True

    await until(done, FAILOVER_S)


async def _is_there(store: EtcdStore, key: str) -> bool:
    try:
        return await store.get(key) is not None
    except Unavailable:
        return False


async def test_member_in_use_killed_is_gone_round(cluster: EtcdCluster, store: EtcdStore) -> None:
    held = await store.grant(6)
    async with WatchRecorder(store, "/a/") as seen:
        for number, member in enumerate(cluster.members):
            await _put_until_done(store, f"/a/{number}")
            await member.kill()
            await _put_until_done(store, f"/a/{number}-without-{number}")
            await seen.until_key(f"/a/{number}-without-{number}", FAILOVER_S)
            assert not held.lost.is_set()
            await member.start()
        seen.assert_ordered_and_whole()
        assert set(seen.key_counts().values()) == {1}


async def test_leader_killed_loses_no_write_and_no_event(
    cluster: EtcdCluster, store: EtcdStore
) -> None:
    async with WatchRecorder(store, "/a/") as seen:
        for number in range(2):
            await _put_until_done(store, f"/a/{number}")
            leader = await cluster.leader()
            await leader.kill()
            await _put_until_done(store, f"/a/{number}-next")
            await seen.until_key(f"/a/{number}-next", FAILOVER_S)
            await leader.start()
        seen.assert_ordered_and_whole()
        assert set(seen.key_counts().values()) == {1}
        assert len((await store.range("/a/")).kvs) == 4


async def test_member_paused_is_gone_round(cluster: EtcdCluster, store: EtcdStore) -> None:
    await store.put("/a", b"")
    member = cluster.members[0]
    member.pause()
    try:
        async with asyncio.timeout(FAILOVER_S):
            assert await store.get("/a") is not None
        await _put_until_done(store, "/b")
    finally:
        member.resume()


async def test_quorum_lost_is_unavailable_and_comes_back(
    cluster: EtcdCluster, store: EtcdStore
) -> None:
    async with WatchRecorder(store, "/a/") as seen:
        await store.put("/a/before", b"")
        await seen.until_key("/a/before")
        lost = cluster.members[1:]
        await asyncio.gather(*(member.kill() for member in lost))
        await until(lambda: _is_refused(store), FAILOVER_S)
        with pytest.raises(Unavailable):
            await store.get("/a/before")
        with pytest.raises(Unavailable):
            await store.status()
        await _start_together(lost)
        await _put_until_done(store, "/a/after")
        await seen.until_key("/a/after", FAILOVER_S)
        seen.assert_ordered_and_whole()
    assert (await _status(store)).healthy
    assert await store.get("/a/refused") is None


async def _is_refused(store: EtcdStore) -> bool:
    """Whether a write is refused; one that is sent before the loss is noticed is Ambiguous."""
    try:
        await store.put("/a/lost", b"")
        await store.put("/a/refused", b"")
    except Ambiguous:
        return False
    except Unavailable:
        return True
    return False


async def _start_together(members: tuple[EtcdServer, ...]) -> None:
    for member in members:
        member.launch()
    await asyncio.gather(*(member.wait_healthy() for member in members))


async def _status(store: EtcdStore) -> StoreStatus:
    return await store.status()


async def test_endpoint_that_is_down_at_the_start_is_passed_over(cluster: EtcdCluster) -> None:
    await cluster.members[0].kill()
    store = await EtcdStore.connect(cluster.endpoints)
    await _put_until_done(store, "/a")
    await store.close()
