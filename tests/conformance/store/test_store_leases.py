"""Leases: kept alive while held, and what goes with them when they end."""

import asyncio
import time

import pytest

from lpmos.store.api import LeaseNotFound, Put
from tests.support.stores import Backend
from tests.support.watching import next_batch

SHORT_TTL_S = 2
HELD_TTL_S = 4
LOSS_TIMEOUT_S = 20.0


async def test_lease_granted_lives_for_its_ttl(backend: Backend) -> None:
    before = time.monotonic()
    lease = await backend.store.grant(60)
    assert not lease.lost.is_set()
    assert before + 55 < lease.deadline <= time.monotonic() + 60
    await lease.revoke()


async def test_lease_ids_differ(backend: Backend) -> None:
    leases = [await backend.store.grant(60) for _ in range(5)]
    assert len({lease.id for lease in leases}) == 5
    assert 0 not in {lease.id for lease in leases}
    for lease in leases:
        await lease.revoke()


async def test_key_tells_its_lease_until_it_is_put_without(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    lease = await store.grant(60)
    await store.put(key, b"1", lease=lease.id)
    leased = await store.get(key)
    await store.put(key, b"2")
    free = await store.get(key)
    assert leased is not None
    assert free is not None
    assert (leased.lease, free.lease) == (lease.id, 0)
    await lease.revoke()
    assert await store.get(key) == free


async def test_lease_revoked_takes_all_its_keys_in_one_revision(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    lease = await store.grant(60)
    for name in "cab":
        await store.put(prefix + name, b"", lease=lease.id)
    before = await store.put(prefix + "stays", b"")
    await lease.revoke()
    batch = await next_batch(store.watch(prefix, from_revision=before + 1))
    assert sorted(event.kv.key for event in batch.events) == [prefix + name for name in "abc"]
    assert {(event.type, event.kv.mod_revision) for event in batch.events} == {
        ("delete", before + 1)
    }
    page = await store.range(prefix)
    assert [kv.key for kv in page.kvs] == [prefix + "stays"]
    assert lease.lost.is_set()


async def test_lease_revoked_refuses_further_puts(backend: Backend) -> None:
    lease = await backend.store.grant(60)
    await lease.revoke()
    with pytest.raises(LeaseNotFound):
        await backend.store.put(backend.prefix + "a", b"", lease=lease.id)


async def test_lease_revoked_twice_is_no_error(backend: Backend) -> None:
    lease = await backend.store.grant(60)
    await lease.revoke()
    await lease.revoke()


async def test_key_moved_to_another_lease_stays_when_the_first_ends(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    first, second = await store.grant(60), await store.grant(60)
    await store.put(key, b"", lease=first.id)
    await store.put(key, b"", lease=second.id)
    await first.revoke()
    assert await store.get(key) is not None
    await second.revoke()
    assert await store.get(key) is None


async def test_key_deleted_and_recreated_is_free_of_its_lease(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    lease = await store.grant(60)
    await store.put(key, b"", lease=lease.id)
    await store.delete(key)
    await store.put(key, b"")
    await lease.revoke()
    assert await store.get(key) is not None


async def test_lease_held_outlives_its_ttl(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    lease = await store.grant(HELD_TTL_S)
    await store.put(key, b"", lease=lease.id)
    first_deadline = lease.deadline
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HELD_TTL_S * 1.25):
            await lease.lost.wait()
    assert lease.deadline > first_deadline
    assert await store.get(key) is not None
    await lease.revoke()


async def test_lease_with_no_holder_expires_with_all_its_keys_in_one_revision(
    backend: Backend,
) -> None:
    start = (await backend.store.status()).revision
    keys = [f"{backend.prefix}{name}" for name in "abcde"]
    await backend.orphan_lease(SHORT_TTL_S, keys)
    store = backend.store
    deletes = []
    async with asyncio.timeout(LOSS_TIMEOUT_S):
        async for batch in store.watch(backend.prefix, from_revision=start + 1):
            deletes += [event.kv for event in batch.events if event.type == "delete"]
            if deletes:
                break
    assert sorted(kv.key for kv in deletes) == keys
    assert len({kv.mod_revision for kv in deletes}) == 1
    assert (await store.range(backend.prefix)).kvs == ()


async def test_txn_with_a_lease_binds_every_key(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    lease = await store.grant(60)
    await store.txn([], [Put(prefix + name, b"", lease=lease.id) for name in "ab"])
    assert {kv.lease for kv in (await store.range(prefix)).kvs} == {lease.id}
    await lease.revoke()
    assert (await store.range(prefix)).kvs == ()
