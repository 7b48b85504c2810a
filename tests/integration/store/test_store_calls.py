"""What calls to etcd cost is counted, and by which status they fail."""

import pytest

from lpmos.store.api import FutureRevision
from lpmos.store.calls import COLLECTORS
from lpmos.store.etcd import EtcdStore
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
