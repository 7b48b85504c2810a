"""Elections: one leader at a time, and nothing written by one that was."""

import asyncio
import uuid

from lpmos.store.api import Leadership, Put, Store
from lpmos.store.election import ELECTIONS
from tests.support.polling import until
from tests.support.stores import Backend

TTL_S = 10
SHORT_TTL_S = 2
TURN_TIMEOUT_S = 20.0
QUIET_S = 0.3


def _name() -> str:
    return f"test-{uuid.uuid4().hex}"


async def _elect(store: Store, name: str, identity: str, ttl_s: int = TTL_S) -> Leadership:
    async with asyncio.timeout(TURN_TIMEOUT_S):
        return await store.elect(name, identity, ttl_s)


async def _candidates(store: Store, name: str, count: int) -> None:
    """Wait until so many stand for election, the leader among them."""

    async def stand() -> bool:
        return len((await store.range(f"{ELECTIONS}{name}/")).kvs) == count

    await until(stand)


async def test_elect_alone_leads_at_once(backend: Backend) -> None:
    leader = await _elect(backend.store, _name(), "a")
    assert not leader.lost.is_set()
    result = await backend.store.txn(leader.fence, [Put(backend.prefix + "a", b"")])
    assert result.succeeded
    await leader.resign()


async def test_elect_second_waits_until_the_first_resigns(backend: Backend) -> None:
    name = _name()
    first = await _elect(backend.store, name, "a")
    second = asyncio.create_task(_elect(await backend.another(), name, "b"))
    await asyncio.wait((second,), timeout=QUIET_S)
    assert not second.done()
    await first.resign()
    leader = await second
    assert first.lost.is_set()
    assert not (await backend.store.txn(first.fence, [Put(backend.prefix + "a", b"")])).succeeded
    assert (await backend.store.txn(leader.fence, [Put(backend.prefix + "a", b"")])).succeeded
    await leader.resign()


async def test_elect_of_different_names_do_not_wait_for_each_other(backend: Backend) -> None:
    name = _name()
    leaders = [await _elect(backend.store, one, "a") for one in (name, name + "x", _name())]
    for leader in leaders:
        await leader.resign()


async def test_elect_gives_turns_in_the_order_of_candidacy(backend: Backend) -> None:
    store, name = backend.store, _name()
    leader = await _elect(store, name, "0")
    waiting = []
    for number in range(1, 4):
        waiting.append(asyncio.create_task(_elect(store, name, str(number))))
        await _candidates(store, name, 1 + number)
    for candidate in waiting:
        assert not candidate.done()
        await leader.resign()
        leader = await candidate
    await leader.resign()


async def test_elect_cancelled_leaves_the_queue(backend: Backend) -> None:
    store, name = backend.store, _name()
    first = await _elect(store, name, "a")
    second = asyncio.create_task(_elect(store, name, "b"))
    third = asyncio.create_task(_elect(store, name, "c"))
    await asyncio.wait((second, third), timeout=QUIET_S)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await first.resign()
    await (await third).resign()


async def test_elect_by_many_never_lets_two_write_fenced_at_once(backend: Backend) -> None:
    """Each leader counts up without comparing the counter: only the fence keeps it right."""
    name, counter, rounds = _name(), backend.prefix + "counter", 4
    clients = [backend.store, await backend.another(), await backend.another()]
    written = 0

    async def candidate(store: Store, identity: str) -> None:
        nonlocal written
        for _ in range(rounds):
            leader = await _elect(store, name, identity)
            for _ in range(5):
                kv = await store.get(counter)
                count = int(kv.value) if kv else 0
                await asyncio.sleep(0)
                result = await store.txn(leader.fence, [Put(counter, b"%d" % (count + 1))])
                assert result.succeeded
                written += 1
            await leader.resign()

    await backend.store.put(counter, b"0")
    async with asyncio.TaskGroup() as group:
        for number, store in enumerate(clients):
            group.create_task(candidate(store, str(number)))
    kv = await backend.store.get(counter)
    assert kv is not None
    assert int(kv.value) == written == rounds * len(clients) * 5


async def test_elect_leader_whose_lease_ended_cannot_write_fenced(backend: Backend) -> None:
    """The leader is gone without a word: the next one leads and the old fence fails for ever."""
    store, name = backend.store, _name()
    old = await _elect(store, name, "old", SHORT_TTL_S)
    fence = old.fence
    await store.delete(fence[0].key)
    new = await _elect(store, name, "new")
    assert not (await store.txn(fence, [Put(backend.prefix + "a", b"old")])).succeeded
    assert (await store.txn(new.fence, [Put(backend.prefix + "a", b"new")])).succeeded
    await new.resign()
    await old.resign()
