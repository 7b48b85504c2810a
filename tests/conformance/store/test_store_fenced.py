"""The fenced store: the fence is in every write, and a deposed one changes nothing."""

import asyncio
import inspect
import uuid

import pytest

from lpmos.store.api import (
    CasConflict,
    Compare,
    Delete,
    Get,
    InvalidRequest,
    Leadership,
    Put,
    Store,
)
from lpmos.store.fenced import FencedStore, NotActive
from tests.support.stores import Backend

TTL_S = 10
WRITES = {"txn", "put", "delete", "cas", "compact"}
READS = {"get", "range", "list", "watch", "grant", "elect", "snapshot", "status", "close"}


class Deposed:
    """A leadership of one that was stopped, and knows nothing of its end."""

    deadline = float("inf")

    def __init__(self, leadership: Leadership) -> None:
        self.fence = leadership.fence
        self.lost = asyncio.Event()

    async def resign(self) -> None:
        """Nobody calls it."""
        raise AssertionError


def test_fenced_store_knows_of_every_call_whether_it_writes() -> None:
    calls = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if name[0] != "_"}
    assert calls == WRITES | READS


async def test_fenced_writes_pass_while_leading(backend: Backend) -> None:
    fenced = FencedStore(backend.store)
    fenced.leadership = await backend.store.elect(f"test-{uuid.uuid4().hex}", "a", TTL_S)
    key = backend.prefix + "a"
    revision = await fenced.put(key, b"1")
    assert await fenced.cas(key, revision, b"2") > revision
    with pytest.raises(CasConflict):
        await fenced.cas(key, revision, b"3")
    missing = Compare(key, "create", "=", 0)
    refused = await fenced.txn([missing], [Put(key, b"4")], [Get(key)])
    assert not refused.succeeded
    ((kv,),) = refused.results  # type: ignore[misc]
    assert kv.value == b"2"
    with pytest.raises(InvalidRequest):
        await fenced.txn([missing], [], [Delete(key)])
    assert await fenced.delete(key) == 1
    await fenced.leadership.resign()


async def test_fenced_write_of_a_deposed_one_changes_nothing(backend: Backend) -> None:
    fenced = FencedStore(backend.store)
    leadership = await backend.store.elect(f"test-{uuid.uuid4().hex}", "a", TTL_S)
    fenced.leadership = Deposed(leadership)
    key = backend.prefix + "a"
    revision = await fenced.put(key, b"1")
    await leadership.resign()
    for write in (
        fenced.put(key, b"2"),
        fenced.delete(key),
        fenced.cas(key, revision, b"2"),
        fenced.txn([], [Put(key, b"2")], [Get(key)]),
    ):
        with pytest.raises(NotActive):
            await write
    kv = await fenced.get(key)
    assert kv is not None and kv.value == b"1"


async def test_fenced_write_without_leadership_is_not_sent(backend: Backend) -> None:
    fenced = FencedStore(backend.store)
    with pytest.raises(NotActive):
        await fenced.put(backend.prefix + "a", b"1")
    with pytest.raises(NotActive):
        await fenced.compact(1)
    assert await fenced.get(backend.prefix + "a") is None
