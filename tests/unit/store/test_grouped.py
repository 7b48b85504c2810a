"""Transactions that come together are one transaction of the store, and mean the same as apart."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.tracecontext import TraceContext
from lpmos.store.api import (
    Ambiguous,
    Compare,
    Delete,
    Get,
    InvalidRequest,
    Operation,
    Put,
    Store,
    TxnResult,
    Unavailable,
)
from lpmos.store.delegate import Delegate
from lpmos.store.grouped import GROUP_OPERATIONS, GroupedStore
from lpmos.store.spans import Trail, following
from lpmos.store.sqlite import SqliteStore
from lpmos.store.traced import TracedStore
from tests.support.builders import NOW

KEYS = tuple(f"/os/{name}" for name in "abcd")


class Gate(Delegate):
    """A store that counts transactions, and holds or refuses them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sizes: list[int] = []
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    @property
    def inner(self) -> Store:
        return self._store

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        self.sizes.append(len(success))
        self.asked.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return await self._store.txn(compare, success, failure)


class Once(Delegate):
    """A store in memory that only knows which keys were written."""

    def __init__(self) -> None:
        self._written: set[str] = set()

    @property
    def inner(self) -> Store:
        raise AssertionError

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        await asyncio.sleep(0)
        if any(each.key in self._written for each in compare):
            return TxnResult(False, 1, ())
        self._written.update(each.key for each in success)
        return TxnResult(True, 1, (None,) * len(success))


@asynccontextmanager
async def grouping(store: Store) -> AsyncIterator[tuple[Gate, GroupedStore]]:
    gate = Gate(store)
    grouped = GroupedStore(gate)
    running = asyncio.create_task(grouped.run())
    await asyncio.sleep(0)
    try:
        yield gate, grouped
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    yield opened
    await opened.close()


def absent(key: str) -> Compare:
    return Compare(key, "mod", "=", 0)


async def test_writes_that_come_together_are_one_transaction(store: Store) -> None:
    async with grouping(store) as (gate, grouped):
        results = await asyncio.gather(
            *(grouped.txn([absent(key)], [Put(key, b"1"), Put(f"{key}/x", b"2")]) for key in KEYS)
        )
    assert gate.sizes == [2 * len(KEYS)]
    assert {result.revision for result in results} == {results[0].revision}
    assert all(result.succeeded and result.results == (None, None) for result in results)


async def test_what_comes_while_a_group_is_under_way_goes_with_the_next(store: Store) -> None:
    async with grouping(store) as (gate, grouped):
        gate.open.clear()
        first = asyncio.create_task(grouped.txn([], [Put(KEYS[0], b"1")]))
        await gate.asked.wait()
        others = [asyncio.create_task(grouped.txn([], [Put(key, b"1")])) for key in KEYS[1:]]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *others)
    assert gate.sizes == [1, len(KEYS) - 1]


async def test_one_that_does_not_hold_leaves_the_others_as_they_would_be_alone(
    store: Store,
) -> None:
    await store.put(KEYS[1], b"there")
    async with grouping(store) as (_, grouped):
        results = await asyncio.gather(
            *(grouped.txn([absent(key)], [Put(key, b"new")]) for key in KEYS)
        )
    assert [result.succeeded for result in results] == [True, False, True, True]
    found = await store.get(KEYS[1])
    assert found is not None and found.value == b"there"


async def test_invalid_one_is_refused_alone(store: Store) -> None:
    async with grouping(store) as (_, grouped):
        good, bad = await asyncio.gather(
            grouped.txn([], [Put(KEYS[0], b"1")]),
            grouped.txn([], [Put("no slash", b"1")]),
            return_exceptions=True,
        )
    assert isinstance(good, TxnResult) and good.succeeded
    assert isinstance(bad, InvalidRequest)


@pytest.mark.parametrize("error", [Ambiguous("lost"), Unavailable("away")])
async def test_answer_that_is_lost_is_lost_for_all_and_nothing_is_repeated(
    store: Store, error: Exception
) -> None:
    async with grouping(store) as (gate, grouped):
        gate.error = error
        found = await asyncio.gather(
            *(grouped.txn([], [Put(key, b"1")]) for key in KEYS), return_exceptions=True
        )
    assert [type(each) for each in found] == [type(error)] * len(KEYS)
    assert len(gate.sizes) == 1


async def test_many_go_in_groups_of_the_limit(store: Store) -> None:
    many = 2 * GROUP_OPERATIONS + 3
    async with grouping(store) as (gate, grouped):
        await asyncio.gather(*(grouped.txn([], [Put(f"/os/{n}", b"1")]) for n in range(many)))
    assert gate.sizes == [GROUP_OPERATIONS, GROUP_OPERATIONS, 3]


async def test_what_reads_or_decides_otherwise_goes_by_itself(store: Store) -> None:
    async with grouping(store) as (gate, grouped):
        await asyncio.gather(
            grouped.txn([], [Put(KEYS[0], b"1"), Get(KEYS[1])]),
            grouped.txn([absent(KEYS[2])], [Put(KEYS[2], b"1")], [Get(KEYS[2])]),
            grouped.txn([], [Delete(KEYS[3], prefix=True)]),
        )
    assert gate.sizes == [2, 1, 1]


async def test_end_tells_who_was_written_nothing_for_certain(store: Store) -> None:
    async with grouping(store) as (gate, grouped):
        gate.open.clear()
        under_way = asyncio.create_task(grouped.txn([], [Put(KEYS[0], b"1")]))
        await gate.asked.wait()
        waiting = asyncio.create_task(grouped.txn([], [Put(KEYS[1], b"1")]))
        await asyncio.sleep(0)
    found = await asyncio.gather(under_way, waiting, return_exceptions=True)
    assert [type(each) for each in found] == [Ambiguous, Unavailable]


one_of_the_keys = st.sampled_from(KEYS)
transactions = st.lists(
    st.tuples(
        st.sets(one_of_the_keys, max_size=2), st.sets(one_of_the_keys, min_size=1, max_size=2)
    ),
    min_size=1,
    max_size=6,
)


@given(asked=transactions)
async def test_any_transactions_together_are_what_they_are_in_some_order(
    asked: list[tuple[set[str], set[str]]],
) -> None:
    """Each writes where what it looks at is absent: who succeeded can be put in an order."""
    async with grouping(Once()) as (_, grouped):
        results = await asyncio.gather(
            *(
                grouped.txn([absent(key) for key in looks_at], [Put(key, b"1") for key in writes])
                for looks_at, writes in asked
            )
        )
    done = [each for each, result in zip(asked, results, strict=True) if result.succeeded]
    left = list(done)
    while left:  # the last of an order is one whose writes nobody else looks at
        last = next((a for a in left if not any(a[1] & b[0] for b in left if b is not a)), None)
        assert last is not None, done
        left.remove(last)


async def test_what_is_written_together_is_a_span_of_each_that_asked(store: Store) -> None:
    trails = [
        Trail(TraceContext(trace_id=f"{n:032x}", span_id=f"{n:016x}"), NOW) for n in range(1, 4)
    ]

    async def ask(trail: Trail, key: str) -> None:
        with following(trail):
            await grouped.txn([absent(key)], [Put(key, b"1")])

    async with grouping(TracedStore(store)) as (gate, grouped):
        await asyncio.gather(*(map(ask, trails, KEYS)))
    assert len(gate.sizes) == 1
    for trail in trails:
        written, asked = trail.spans
        assert (written.name, written.parent_id) == ("store.txn", asked.span_id)
        assert (asked.name, asked.parent_id) == ("store.group", trail.root.span_id)
        assert {written.trace_id, asked.trace_id} == {trail.root.trace_id}
