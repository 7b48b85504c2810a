"""What one call asks of the store becomes spans of its trace, and anywhere else nothing."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lpmos.model.trace import Span
from lpmos.model.tracecontext import TraceContext
from lpmos.store import keys, spans
from lpmos.store.api import CasConflict, Compare, Delete, Get, Page, Put, Store
from lpmos.store.delegate import Delegate
from lpmos.store.spans import (
    SPANS_LIMIT,
    Trail,
    following,
    places,
    resumed,
    spanned,
    under_way,
    waited_on_purpose,
)
from lpmos.store.sqlite import SqliteStore
from lpmos.store.traced import TracedStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = TraceContext(trace_id="a1" * 16, span_id="b2" * 8)


def trail() -> Trail:
    return Trail(ROOT, NOW)


def by_name(trail: Trail) -> dict[str, Span]:
    return {span.name: span for span in trail.spans}


def test_span_within_another_hangs_below_it() -> None:
    made = trail()
    with following(made), spanned("outer", {"a": 1}), spanned("inner", {}, "client"):
        pass
    found = by_name(made)
    outer, inner = found["outer"], found["inner"]
    assert (outer.trace_id, outer.parent_id) == (ROOT.trace_id, ROOT.span_id)
    assert (inner.parent_id, inner.kind) == (outer.span_id, "client")
    assert NOW <= outer.start <= inner.start <= inner.end <= outer.end
    assert (outer.attributes, outer.error) == ({"a": 1}, None)


def test_span_outside_of_a_traced_call_is_nothing() -> None:
    made = trail()
    with spanned("before", {}):
        assert under_way() is None
    with following(made):
        assert under_way() == ROOT
    with spanned("after", {}):
        assert under_way() is None
    assert not made.spans


async def test_task_that_outlives_its_call_adds_nothing() -> None:
    over, made = asyncio.Event(), trail()

    async def go_on() -> TraceContext | None:
        await over.wait()
        with spanned("later", {}):
            return under_way()

    with following(made):
        task = asyncio.create_task(go_on())
    over.set()
    assert await task is None and not made.spans


async def test_failure_is_said_by_its_kind_and_never_by_its_text() -> None:
    made = trail()
    with following(made):
        for failure in (CasConflict("of SN-1"), ValueError("of SN-1"), asyncio.CancelledError()):
            with pytest.raises(type(failure)), spanned("call", {}):
                raise failure
    assert [span.error for span in made.spans] == ["store-conflict", "ValueError", "CancelledError"]


def test_what_is_done_for_two_calls_is_a_span_of_each() -> None:
    first, second = trail(), Trail(TraceContext(trace_id="c3" * 16, span_id="d4" * 8), NOW)
    with following(first), spanned("waits", {}):
        found = places()
        with following(second), spanned("waits", {}):
            found += places()
            with resumed(found), spanned("done", {}), spanned("deeper", {}):
                pass
    for each in (first, second):
        deeper, done, waits = each.spans
        assert (waits.parent_id, done.parent_id) == (each.root.span_id, waits.span_id)
        assert deeper.parent_id == done.span_id
        assert {span.trace_id for span in each.spans} == {each.root.trace_id}


def test_what_goes_on_for_a_call_that_is_over_is_a_span_of_the_other_alone() -> None:
    over, goes_on = trail(), trail()
    with following(over):
        found = places()
    with following(goes_on):
        found += places()
        with resumed(found), spanned("done", {}):
            pass
    assert [span.name for span in goes_on.spans] == ["done"] and not over.spans


async def test_wait_on_purpose_does_not_make_a_call_slow() -> None:
    made = trail()
    with following(made):
        await asyncio.sleep(0.02)
        took = made.took
        waited_on_purpose(places())
        assert timedelta(0) <= made.took < took <= made.now() - made.began


def test_spans_beyond_the_limit_are_only_counted() -> None:
    made = trail()
    with following(made):
        for _ in range(SPANS_LIMIT + 3):
            with spanned("call", {}):
                pass
    assert (len(made.spans), made.left_out) == (SPANS_LIMIT, 3)


def test_ids_of_spans_differ() -> None:
    assert len({spans.new_span_id() for _ in range(100)}) == 100


async def test_each_call_of_the_store_is_a_span_without_names_of_keys(tmp_path: Path) -> None:
    inner = await SqliteStore.open(tmp_path / "store.db")
    store, made = TracedStore(inner), trail()
    key = keys.task("dc-secret", "SN-SECRET")
    with following(made):
        revision = await store.put(key, b"value")
        await store.get(key)
        await store.range(keys.idc_prefix("dc-secret"))
        assert [len(page.kvs) async for page in store.list(keys.ROOT)] == [1]
        await store.cas(key, revision, b"")
        with pytest.raises(CasConflict):
            await store.cas(key, revision, b"")
        put, user = Put(keys.event("E"), b"12345"), Get(keys.control("users", "somebody"))
        await store.txn([Compare(key, "mod", ">", 0)], [put, user], [Delete(key)])
        await store.delete(key)
    await store.put(key, b"nobody asked")
    await store.close()
    names = [span.name.removeprefix("store.") for span in made.spans]
    assert names == ["put", "get", "range", "list", "list", "cas", "cas", "txn", "delete"]
    assert made.spans[-2].attributes == {
        "lpmos.store.keys": "control.users events task",
        "lpmos.store.operations": 2,
        "lpmos.store.bytes": 5,
    }
    assert [span.error for span in made.spans if span.error] == ["store-conflict"]
    told = repr(made.spans)  # with ids at random, of hexadecimal digits
    assert not any(word in told for word in ("SN-SECRET", "dc-secret", "somebody", "value"))


class Pages(Delegate):
    """A store of endless pages, which knows whether they are still read."""

    def __init__(self) -> None:
        self.closed = False

    @property
    def inner(self) -> Store:
        raise AssertionError

    async def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        try:
            while True:
                yield Page((), 1, True)
        finally:
            self.closed = True


async def test_pages_are_let_go_of_when_who_asked_has_enough() -> None:
    inner = Pages()
    listed = TracedStore(inner).list(keys.ROOT)
    assert isinstance(listed, AsyncGenerator)
    async with aclosing(listed) as pages:
        async for _ in pages:
            break
    assert inner.closed
