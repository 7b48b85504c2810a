"""A real receiver of OTLP gets the trace of a task that ends, also one that was away before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lpmos.control.config import ControlConfig
from lpmos.control.traces.duty import TraceDuty
from lpmos.core.clock import utc_now
from lpmos.model.evidence import Evidence, Sign
from lpmos.model.lifecycle import Status
from lpmos.model.task import StatusChange, Task
from lpmos.model.trace import trace_id
from lpmos.store import keys, records
from tests.support.builders import MAC, make_task
from tests.support.collector import Collector
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import free_port
from tests.support.region import until


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector(free_port()).receiving() as started:
        yield started


def installing() -> Task:
    now = utc_now()
    history = tuple(
        StatusChange(status=status, timestamp=now)
        for status in (Status.PENDING, Status.READY, Status.BOOTING, Status.INSTALLING)
    )
    return make_task(status=Status.INSTALLING, status_history=history, created_at=now)


async def end(control_plane: RunningControlPlane, task: Task) -> Task:
    now = utc_now()
    history = (*task.status_history, StatusChange(status=Status.COMPLETED, timestamp=now))
    done = msgspec.structs.replace(
        task, status=Status.COMPLETED, status_history=history, updated_at=now
    )
    await control_plane.put_task(done)
    return done


async def test_task_that_ends_is_sent_as_one_trace(tmp_path: Path, collector: Collector) -> None:
    config = ControlConfig(otlp_url=collector.url)
    async with open_store(tmp_path) as store, running(store, config=config) as control_plane:
        task = installing()
        seen = Evidence(mac=MAC, asked=Sign(utc_now(), "on br0"))
        await store.put(keys.evidence(task.idc, task.sn), records.encode(seen))
        await control_plane.put_task(task)
        await end(control_plane, task)
        trace = bytes.fromhex(trace_id(task))
        await until(lambda: trace in collector.spans, "the trace")
        root = next(span for span in collector.spans[trace] if not span.parent_span_id)
        names = {span.name for span in collector.spans[trace]}
        assert root.name == "install debian 12" and {"ready", "installing", "boot.asked"} <= names
        assert {span.parent_span_id for span in collector.spans[trace]} == {b"", root.span_id}


@asynccontextmanager
async def leading(control_plane: RunningControlPlane, url: str) -> AsyncIterator[TraceDuty]:
    """The duty alone, over a control plane's memory."""
    made = TraceDuty(control_plane.services.fleet, utc_now, url, retry_s=0.05)
    leadership = await control_plane.store.elect("traces", "test", 10)
    task = asyncio.create_task(made.lead(leadership))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_collector_that_is_away_or_busy_gets_the_trace_later(tmp_path: Path) -> None:
    away = Collector(free_port())
    away.answers = [503, 429]
    async with open_store(tmp_path) as store, running(store) as control_plane:
        await end(control_plane, installing())
        async with leading(control_plane, away.url) as duty, away.receiving():
            await until(lambda: bool(away.spans), "the trace")
            await until(lambda: duty.sent == 1, "it to be counted")
        assert (away.asked, duty.dropped) == (3, 0)


async def test_trace_that_a_collector_refuses_is_dropped_and_counted(
    tmp_path: Path, collector: Collector
) -> None:
    collector.answers = [400]
    async with open_store(tmp_path) as store, running(store) as control_plane:
        await end(control_plane, installing())
        async with leading(control_plane, collector.url) as duty:  # it ended just now: sent anew
            await until(lambda: duty.dropped == 1, "the refusal")
        assert (duty.sent, collector.asked) == (0, 1)
