"""One question answers all who ask meanwhile, and no answer is older than its question."""

import asyncio

import pytest

from lpmos.core.freshness import Freshness
from lpmos.store.api import Ambiguous, Unavailable
from tests.support.faulty_store import FaultyStore

TIMEOUT_S = 30


class Gate:
    """Holds one transaction up until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        async with asyncio.timeout(TIMEOUT_S):
            await self.open.wait()


async def test_revision_that_the_store_has_holds_and_an_older_one_does_not(
    store: FaultyStore,
) -> None:
    freshness = Freshness(store)
    first = await store.put("/a", b"1")
    assert await freshness.holds("/a", first)
    second = await store.put("/a", b"2")
    assert not await freshness.holds("/a", first)
    assert await freshness.holds("/a", second)
    await store.delete("/a")
    assert not await freshness.holds("/a", second)


async def test_many_who_ask_while_one_waits_share_one_question(store: FaultyStore) -> None:
    freshness = Freshness(store)
    revisions = {f"/{number}": await store.put(f"/{number}", b"") for number in range(40)}
    gate = Gate()
    store.before_txn.append(gate)
    before = store.txns
    asked = [asyncio.create_task(freshness.holds(*each)) for each in revisions.items()]
    async with asyncio.timeout(TIMEOUT_S):
        await gate.reached.wait()
        later = [asyncio.create_task(freshness.holds(*each)) for each in revisions.items()]
        await asyncio.sleep(0)
        gate.open.set()
        assert await asyncio.gather(*asked, *later) == [True] * 80
    assert store.txns - before <= 3


async def test_who_asks_after_a_write_is_not_answered_by_an_earlier_question(
    store: FaultyStore,
) -> None:
    freshness = Freshness(store)
    old = await store.put("/a", b"1")
    gate = Gate()
    store.before_txn.append(gate)
    early = asyncio.create_task(freshness.holds("/a", old))
    async with asyncio.timeout(TIMEOUT_S):
        await gate.reached.wait()
        await store.put("/a", b"2")
        late = asyncio.create_task(freshness.holds("/a", old))
        await asyncio.sleep(0)
        gate.open.set()
        assert not await late
        await early


async def test_more_keys_than_a_transaction_takes_are_asked_in_several(store: FaultyStore) -> None:
    freshness = Freshness(store)
    revisions = {f"/{number}": await store.put(f"/{number}", b"") for number in range(300)}
    before = store.txns
    asked = (freshness.holds(*each) for each in revisions.items())
    async with asyncio.timeout(TIMEOUT_S):
        assert await asyncio.gather(*asked) == [True] * 300
    assert store.txns - before == 4  # the first asks alone, the others in rounds of 128


async def test_store_that_is_away_answers_nobody_and_is_asked_again(store: FaultyStore) -> None:
    freshness = Freshness(store)
    revision = await store.put("/a", b"1")
    store.away = True
    asked = [asyncio.create_task(freshness.holds("/a", revision)) for _ in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 3
    store.away = False
    assert await freshness.holds("/a", revision)


async def test_asker_that_is_cancelled_leaves_nobody_waiting(store: FaultyStore) -> None:
    freshness = Freshness(store)
    revision = await store.put("/a", b"1")
    gate = Gate()
    store.before_txn.append(gate)
    first = asyncio.create_task(freshness.holds("/a", revision))
    async with asyncio.timeout(TIMEOUT_S):
        await gate.reached.wait()
        leader = asyncio.create_task(freshness.holds("/a", revision))
        follower = asyncio.create_task(freshness.holds("/a", revision))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        gate.open.set()
        assert await follower
        assert await first
        assert await freshness.holds("/a", revision)


async def test_asker_that_is_cancelled_makes_nobody_take_the_old_for_the_present(
    store: FaultyStore,
) -> None:
    freshness = Freshness(store)
    old = await store.put("/a", b"1")
    await store.put("/a", b"2")
    gate = Gate()
    store.before_txn.append(gate)
    leader = asyncio.create_task(freshness.holds("/a", old))
    follower = asyncio.create_task(freshness.holds("/a", old))
    async with asyncio.timeout(TIMEOUT_S):
        await gate.reached.wait()
        late = asyncio.create_task(freshness.holds("/a", old))
        leader.cancel()
        assert not await follower
        assert not await late


async def test_answer_that_is_lost_is_asked_for_again_by_those_who_shared_the_question(
    store: FaultyStore,
) -> None:
    freshness = Freshness(store)
    old = await store.put("/a", b"1")
    await store.put("/a", b"2")
    store.lose_answers = 1
    leader = asyncio.create_task(freshness.holds("/a", old))
    followers = [asyncio.create_task(freshness.holds("/a", old)) for _ in range(3)]
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(Ambiguous):
            await leader
        assert await asyncio.gather(*followers) == [False] * 3
