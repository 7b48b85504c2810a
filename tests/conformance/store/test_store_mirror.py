"""The mirror on a real store: it ends with the store's state, and so does who listens to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lpmos.store.api import KV, Delete, Put
from lpmos.store.mirror import Mirror
from tests.support.following import following
from tests.support.stores import Backend

TIMEOUT_S = 20.0
ROUNDS = 300


class Replica:
    """What a subscriber knows who only ever heard of changes."""

    def __init__(self) -> None:
        self.kvs: dict[str, KV] = {}
        self.revisions: list[int] = []

    def hear(self, key: str, before: KV | None, after: KV | None) -> None:
        assert self.kvs.get(key) == before
        if after is None:
            del self.kvs[key]
        else:
            self.kvs[key] = after
            self.revisions.append(after.mod_revision)


@asynccontextmanager
async def _mirrored(backend: Backend, prefix: str) -> AsyncIterator[tuple[Mirror, Replica]]:
    mirror, replica = Mirror(backend.store, prefix), Replica()
    mirror.subscribe(replica.hear)
    async with following(mirror):
        yield mirror, replica


async def _write(backend: Backend, writer: int) -> int:
    """Puts and deletes of keys that the writers share; the last revision."""
    store, prefix, revision = backend.store, backend.prefix, 0
    for number in range(ROUNDS):
        key = f"{prefix}in/{(number * 7 + writer) % 40}"
        other = f"{prefix}in/{writer}-{number % 5}"
        second = Delete(other) if number % 3 else Put(other, b"%d" % number)
        result = await store.txn([], [Put(key, b"%d" % number), second])
        revision = result.revision
    return revision


async def test_mirror_under_writes_and_compaction_ends_with_the_stores_state(
    backend: Backend,
) -> None:
    prefix = backend.prefix + "in/"
    await backend.store.put(backend.prefix + "in", b"outside")
    await backend.store.put(prefix + "before", b"")
    async with _mirrored(backend, prefix) as (mirror, replica):
        async with asyncio.TaskGroup() as group:
            writing = [group.create_task(_write(backend, writer)) for writer in range(4)]
        await backend.store.compact((await backend.store.status()).revision)
        last = await backend.store.put(prefix + "last", b"")
        async with asyncio.timeout(TIMEOUT_S):
            await mirror.wait_for(last)
        assert mirror.revision >= max(task.result() for task in writing)
        expected = (await backend.store.range(prefix)).kvs
        assert tuple(mirror.items(prefix)) == expected
        assert mirror.connected
    assert tuple(replica.kvs[key] for key in sorted(replica.kvs)) == expected
    assert replica.revisions == sorted(replica.revisions)


async def test_mirror_after_wait_for_has_the_callers_write(backend: Backend) -> None:
    async with _mirrored(backend, backend.prefix) as (mirror, _):
        for number in range(50):
            key = f"{backend.prefix}{number % 3}"
            revision = await backend.store.put(key, b"%d" % number)
            async with asyncio.timeout(TIMEOUT_S):
                await mirror.wait_for(revision)
            kv = mirror.get(key)
            assert kv is not None
            assert kv.value == b"%d" % number


async def test_mirror_of_nothing_is_ready_and_follows(backend: Backend) -> None:
    async with _mirrored(backend, backend.prefix) as (mirror, _):
        assert list(mirror.items(backend.prefix)) == []
        revision = await backend.store.put(backend.prefix + "a", b"")
        async with asyncio.timeout(TIMEOUT_S):
            await mirror.wait_for(revision)
        assert [kv.key for kv in mirror.items(backend.prefix)] == [backend.prefix + "a"]
