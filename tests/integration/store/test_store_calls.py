"""What calls to etcd cost is counted and traced, and by which status they fail."""

from datetime import UTC, datetime

import pytest

from lpmos.model.tracecontext import TraceContext
from lpmos.store.api import FutureRevision
from lpmos.store.calls import COLLECTORS
from lpmos.store.etcd import EtcdStore
from lpmos.store.spans import Trail, following
from lpmos.store.traced import TracedStore
from tests.support.etcd import EtcdServer


def counted(name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    return sum(
        sample.value
        for collector in COLLECTORS
        for family in collector.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_calls_are_timed_by_their_names_and_failures_counted_by_status() -> None:
    async with EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])
        answered = counted("lpmos_store_call_seconds_count", call="Range")
        failed = counted("lpmos_store_call_failures_total", error="out_of_range")
        await store.get("/os/nothing")
        assert counted("lpmos_store_call_seconds_count", call="Range") == answered + 1
        with pytest.raises(FutureRevision):
            await store.get("/os/nothing", revision=1 << 40)
        await store.close()
    assert counted("lpmos_store_call_failures_total", error="out_of_range") == failed + 1


async def test_each_try_at_a_server_is_a_span_below_that_of_its_call() -> None:
    root = TraceContext(trace_id="a1" * 16, span_id="b2" * 8)
    trail = Trail(root, datetime(2026, 1, 1, tzinfo=UTC))
    async with EtcdServer() as server:
        store = TracedStore(await EtcdStore.connect([server.endpoint]))
        with following(trail):
            await store.get("/os/nothing")
            with pytest.raises(FutureRevision):
                await store.get("/os/nothing", revision=1 << 40)
        await store.close()
    tried, called, refused, failed = trail.spans
    assert [(tried.name, called.name)] == [(refused.name, failed.name)]
    assert (tried.name, called.name) == ("etcd.Range", "store.get")
    assert (tried.parent_id, called.parent_id) == (called.span_id, root.span_id)
    assert tried.attributes == {"server.address": server.endpoint} and tried.kind == "client"
    assert (refused.error, failed.error) == ("out_of_range", "store-future-revision")
