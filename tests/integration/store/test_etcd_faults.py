"""One etcd, and everything that can happen to it, and to the processes that use it."""

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from lpmos.store.api import Ambiguous, InvalidRequest, NoSpace, Put, StoreError, Unavailable
from lpmos.store.etcd import EtcdStore
from lpmos.store.etcd.client import Client
from lpmos.store.etcd.endpoint import Endpoint, Tls
from tests.support.etcd import EtcdServer
from tests.support.etcd_faults import DEAD_PEER_S, SOON_S, until_gone, until_writable
from tests.support.polling import until
from tests.support.tcp_proxy import TcpProxy
from tests.support.watch_recorder import WatchRecorder

LOAD_END_S = 30.0
_DICE = random.SystemRandom()


class Load:
    """Writers of keys that are each written once; what was acknowledged, refused and unknown."""

    def __init__(self, store: EtcdStore, writers: int = 6) -> None:
        self._store = store
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(writers)]
        self.acknowledged: dict[str, int] = {}
        self.unavailable: set[str] = set()
        self.ambiguous: set[str] = set()

    async def _write(self, writer: int) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            key = f"/load/{writer}/{number:06}"
            try:
                self.acknowledged[key] = await self._store.put(key, key.encode())
            except Unavailable:
                self.unavailable.add(key)
            except Ambiguous:
                self.ambiguous.add(key)

    async def until_writing(self) -> None:
        """Wait until writes are acknowledged again."""
        enough = len(self.acknowledged) + 50

        async def acknowledged() -> bool:
            return len(self.acknowledged) >= enough

        await until(acknowledged)

    async def end(self) -> None:
        """Let every writer finish the write it is at."""
        self._stop.set()
        async with asyncio.timeout(LOAD_END_S):
            await asyncio.gather(*self._tasks)


async def _all_keys(store: EtcdStore, prefix: str) -> dict[str, int]:
    return {kv.key: kv.mod_revision async for page in store.list(prefix) for kv in page.kvs}


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_server_that_ends_under_load_loses_no_write_and_no_event(
    server: EtcdServer, store: EtcdStore, how: str
) -> None:
    load = Load(store)
    async with WatchRecorder(store, "/load/") as seen:
        for _ in range(5 if how == "kill" else 3):
            await load.until_writing()
            await asyncio.sleep(_DICE.random() * 0.3)  # at any moment of the load
            await (server.kill() if how == "kill" else server.stop())
            await server.start()
        await load.until_writing()
        await load.end()
        stored = await _all_keys(store, "/load/")
        await seen.until(lambda: len(seen.revisions()) >= len(stored))
        seen.assert_ordered_and_whole()
    assert load.acknowledged.items() <= stored.items()
    assert not load.unavailable & stored.keys()
    assert stored.keys() <= load.acknowledged.keys() | load.ambiguous
    assert seen.error is None
    assert seen.key_counts() == dict.fromkeys(stored, 1)


@pytest.mark.slow
async def test_outage_over_25_s_is_survived_by_watch_and_lease(
    server: EtcdServer, store: EtcdStore
) -> None:
    held = await store.grant(90)
    await store.put("/a/leased", b"", lease=held.id)
    async with WatchRecorder(store, "/a/") as seen:
        await seen.until_key("/a/leased")
        await server.kill()
        with pytest.raises((Unavailable, Ambiguous)):  # the cut may be noticed under way
            await store.put("/a/during", b"")
        await asyncio.sleep(26)
        with pytest.raises(Unavailable):
            await store.get("/a/leased")
        await server.start()
        await until_writable(store, "/a/after")
        await seen.until_key("/a/after")
        seen.assert_ordered_and_whole()
        assert set(seen.key_counts()) == {"/a/leased", "/a/after"}
    assert not held.lost.is_set()
    await held.revoke()
    assert await store.get("/a/leased") is None


_LEASE_HOLDER = """
import asyncio, sys
from lpmos.store.etcd import EtcdStore
from lpmos.store.etcd.client import Client
from lpmos.store.etcd.endpoint import Endpoint, Tls

async def main():
    store = await EtcdStore.connect([sys.argv[1]])
    lease = await store.grant(2)
    await store.put("/held", b"", lease=lease.id)
    print("held", flush=True)
    while not sys.stdin.read(1):
        pass
    print("lost" if lease.lost.is_set() else "alive", flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_process_stopped_beyond_its_ttl_finds_its_lease_lost_at_once(
    server: EtcdServer, store: EtcdStore
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _LEASE_HOLDER,
        server.endpoint,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"held\n"
            os.kill(process.pid, signal.SIGSTOP)
            await until_gone(store, "/held")
            # What it does first, before its timers can run, is to look at the lease.
            process.stdin.write(b"x")
            await process.stdin.drain()
            os.kill(process.pid, signal.SIGCONT)
            assert await process.stdout.readline() == b"lost\n"
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_candidate_that_is_cancelled_leaves_no_key(store: EtcdStore) -> None:
    leader = await store.elect("region", "leader", 5)
    waiting = asyncio.create_task(store.elect("region", "waiting", 5))
    async with WatchRecorder(store, "/os-election/") as seen:
        await seen.until(lambda: len(seen.revisions()) == 2)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert [kv.value for kv in (await store.range("/os-election/region/")).kvs] == [b"leader"]
    await leader.resign()


async def test_full_quota_is_no_space_until_space_is_made() -> None:
    quota_bytes = 4 * 2**20
    async with EtcdServer(flags=[f"--quota-backend-bytes={quota_bytes}"]) as server:
        store = await EtcdStore.connect([server.endpoint])
        with pytest.raises(NoSpace, match="compact"):
            for _ in range(200):
                await store.put("/a", bytes(2**16))
        assert await store.get("/a") is not None
        with pytest.raises(NoSpace):
            await store.elect("region", "one", 5)
        status = await store.status()
        assert not status.healthy
        assert any("NOSPACE" in alarm for alarm in status.alarms)
        await store.compact(status.revision)
        await server.etcdctl("defrag")
        await server.etcdctl("alarm", "disarm")
        await store.put("/a", b"")
        assert (await store.status()).healthy
        await store.close()


async def test_snapshot_taken_under_load_is_restored_by_etcdctl(
    store: EtcdStore, tmp_path: Path
) -> None:
    load = Load(store)
    await load.until_writing()
    before = dict(load.acknowledged)
    await store.snapshot(tmp_path / "store.db")
    await load.until_writing()
    await load.end()
    assert (tmp_path / "store.db").stat().st_mode & 0o077 == 0  # it has every secret of the store
    restored = EtcdServer()
    try:
        await restored.restore(tmp_path / "store.db")
        await restored.start()
        copy = await EtcdStore.connect([restored.endpoint])
        copied = await _all_keys(copy, "/load/")
        assert before.items() <= copied.items()
        assert copied.items() <= (await _all_keys(store, "/load/")).items()
        await copy.put("/load/new", b"")
        await copy.close()
    finally:
        await restored.close()


async def test_snapshot_does_not_overwrite_a_file(store: EtcdStore, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"precious")
    with pytest.raises(InvalidRequest, match="name a new file"):
        await store.snapshot(tmp_path / "store.db")
    assert (tmp_path / "store.db").read_bytes() == b"precious"


async def test_watch_of_a_long_history_in_fragments_never_splits_a_revision(
    store: EtcdStore,
) -> None:
    # Each revision is near the server's limit, so that catching up needs fragments.
    for revision in range(6):
        await store.txn([], [Put(f"/a/{revision}-{n}", bytes(11_000)) for n in range(120)])
    async with WatchRecorder(store, "/a/") as seen:
        await seen.until(lambda: len(seen.revisions()) == 6 * 120)
        seen.assert_ordered_and_whole()
    assert seen.error is None


async def test_server_silent_at_start_is_unavailable() -> None:
    async with EtcdServer() as server, TcpProxy(server.port) as proxy:
        proxy.black_hole()
        async with asyncio.timeout(DEAD_PEER_S):
            with pytest.raises(Unavailable):
                await EtcdStore.connect([proxy.endpoint])


async def test_server_paused_makes_calls_fail_in_time_and_come_back(
    server: EtcdServer, store: EtcdStore
) -> None:
    await store.put("/a", b"")
    server.pause()
    try:
        async with asyncio.timeout(DEAD_PEER_S):
            with pytest.raises(Ambiguous):
                await store.put("/a", b"")
    finally:
        server.resume()
    await until_writable(store, "/b")


async def test_store_that_is_closed_refuses_every_call(server: EtcdServer) -> None:
    store = await EtcdStore.connect([server.endpoint])
    held = await store.grant(30)
    async with WatchRecorder(store, "/") as seen:
        await store.put("/a", b"")
        await seen.until_key("/a")
        await store.close()
        await seen.until(lambda: seen.error is not None)
    assert isinstance(seen.error, Unavailable)
    assert held.lost.is_set()
    with pytest.raises(StoreError):
        await store.get("/a")
    with pytest.raises(Unavailable):
        await store.grant(5)


async def test_store_closed_while_a_keep_alive_is_under_way_does_not_wait_for_it(
    proxy: TcpProxy, far_store: EtcdStore
) -> None:
    held = await far_store.grant(9)
    proxy.black_hole()
    await asyncio.sleep(held.deadline - time.monotonic() - 9 + 3.3)  # a third of the TTL, and more
    async with asyncio.timeout(4):  # less than the call has left of its own time
        await far_store.close()
    assert held.lost.is_set()


async def test_store_closed_while_it_connects_ends_the_call(proxy: TcpProxy) -> None:
    proxy.black_hole()
    store = EtcdStore(Client([Endpoint(proxy.endpoint, Tls())]))
    call = asyncio.create_task(store.put("/a", b""))

    async def connected() -> bool:
        return proxy.connections > 0

    await until(connected)
    async with asyncio.timeout(SOON_S):
        await store.close()
        with pytest.raises(Unavailable):
            await call
