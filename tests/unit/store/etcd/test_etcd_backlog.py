"""The queue of a watch: bounded, in order, and nothing skipped."""

import asyncio

import pytest

from lpmos.store.api import KV, Unavailable, WatchBatch, WatchEvent, WatchLagged
from lpmos.store.etcd.backlog import Backlog


def _batch(revision: int, events: int = 1) -> WatchBatch:
    event = WatchEvent("put", KV("/k", b"", revision, revision, 1))
    return WatchBatch(revision, (event,) * events)


async def test_backlog_gives_batches_in_order_and_then_how_it_ended() -> None:
    backlog = Backlog()
    for revision in (1, 2, 3):
        backlog.add_live(_batch(revision))
    backlog.end(Unavailable("closed"))
    assert [(await backlog.take()).revision for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Unavailable):
        await backlog.take()


async def test_backlog_without_room_refuses_a_live_change() -> None:
    backlog = Backlog(limit=2)
    backlog.add_live(_batch(1, events=2))
    with pytest.raises(WatchLagged):
        backlog.add_live(_batch(2))


async def test_backlog_that_is_empty_takes_a_batch_above_its_limit() -> None:
    backlog = Backlog(limit=2)
    backlog.add_live(_batch(1, events=5))
    assert len((await backlog.take()).events) == 5


async def test_backlog_without_room_lets_history_wait() -> None:
    backlog = Backlog(limit=2)
    await backlog.add_history(_batch(1, events=2))
    waiting = asyncio.create_task(backlog.add_history(_batch(2)))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (await backlog.take()).revision == 1
    await waiting
    assert (await backlog.take()).revision == 2


async def test_backlog_remembers_its_first_end() -> None:
    backlog = Backlog()
    backlog.end(WatchLagged("first"))
    backlog.end(Unavailable("second"))
    with pytest.raises(WatchLagged):
        await backlog.take()
