"""A real receiver of OTLP gets the trace of a task that ends, also one that was away before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from lpmos.control.config import ControlConfig
from lpmos.control.traces.duty import TraceDuty
from lpmos.core.clock import utc_now
from lpmos.core.traces.outgoing import SPANS_AT_ONCE, WAITING_SPANS, Outgoing
from lpmos.model import boot
from lpmos.model.boot import Boot
from lpmos.model.evidence import Evidence, Sign
from lpmos.model.lifecycle import Status
from lpmos.model.task import StatusChange, Task
from lpmos.model.trace import trace_id
from lpmos.store import keys, records
from tests.support.builders import MAC, make_inventory, make_span, make_task
from tests.support.collector import Collector
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import free_port
from tests.support.region import until


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector(free_port()).receiving() as started:
        yield started


def installing() -> Task:
    now = utc_now() - timedelta(seconds=1)  # what is seen of it comes before its end
    history = tuple(
        StatusChange(status=status, timestamp=now)
        for status in (Status.PENDING, Status.READY, Status.BOOTING, Status.INSTALLING)
    )
    return make_task(status=Status.INSTALLING, status_history=history, created_at=now)


async def end(
    control_plane: RunningControlPlane, task: Task, status: Status = Status.COMPLETED
) -> Task:
    now = utc_now()
    history = (*task.status_history, StatusChange(status=status, timestamp=now))
    done = msgspec.structs.replace(task, status=status, status_history=history, updated_at=now)
    await control_plane.put_task(done)
    return done


async def test_task_that_ends_is_sent_as_one_trace(tmp_path: Path, collector: Collector) -> None:
    config = ControlConfig(otlp_url=collector.url)
    async with open_store(tmp_path) as store, running(store, config=config) as control_plane:
        task = installing()
        way = Boot().after(boot.DHCP, task.created_at + timedelta(milliseconds=1))
        await store.put(
            keys.evidence(task.idc, task.sn), records.encode(Evidence(mac=MAC, boot=way))
        )
        await control_plane.put_task(task)
        await end(control_plane, task)
        trace = bytes.fromhex(trace_id(task))
        await until(lambda: trace in collector.spans, "the trace")
        root = next(span for span in collector.spans[trace] if not span.parent_span_id)
        names = {span.name for span in collector.spans[trace]}
        assert root.name == "install debian 12" and {"ready", "installing", "boot.dhcp"} <= names
        assert {span.parent_span_id for span in collector.spans[trace]} == {b"", root.span_id}


async def test_trace_of_a_system_that_did_not_come_up_has_its_restart(
    tmp_path: Path, collector: Collector
) -> None:
    config = ControlConfig(otlp_url=collector.url)
    async with open_store(tmp_path) as store, running(store, config=config) as control_plane:
        task = installing()
        over = task.created_at
        task = msgspec.structs.replace(
            task, hardware=make_inventory(), boot={boot.AGENT: over}, handed_over_at=over
        )
        later = over + timedelta(milliseconds=5)
        seen = Evidence(mac=MAC, script=Sign(later), boot=Boot().after(boot.SCRIPT, later))
        await store.put(keys.evidence(task.idc, task.sn), records.encode(seen))
        await control_plane.put_task(task)
        await end(control_plane, task, Status.FAILED)
        trace = bytes.fromhex(trace_id(task))
        await until(lambda: trace in collector.spans, "the trace")
        names = {span.name for span in collector.spans[trace]}
        assert {"first_boot", "restart.seen", "restart.script"} <= names


@asynccontextmanager
async def leading(control_plane: RunningControlPlane, url: str) -> AsyncIterator[Outgoing]:
    """The duty alone, over a control plane's memory; what it sends."""
    outgoing = Outgoing(url, retry_s=0.05)
    duty = TraceDuty(control_plane.services.fleet, utc_now, outgoing)
    leadership = await control_plane.store.elect("traces", "test", 10)
    task = asyncio.create_task(duty.lead(leadership))
    yield outgoing
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_collector_that_is_away_or_busy_gets_the_trace_later(tmp_path: Path) -> None:
    away = Collector(free_port())
    away.answers = [503, 429]
    async with open_store(tmp_path) as store, running(store) as control_plane:
        await end(control_plane, installing())
        async with leading(control_plane, away.url) as outgoing, away.receiving():
            await until(lambda: bool(away.spans), "the trace")
            await until(lambda: outgoing.sent == 1, "it to be counted")
        assert (away.asked, outgoing.dropped) == (3, 0)


async def test_trace_that_a_collector_refuses_is_dropped_and_counted(
    tmp_path: Path, collector: Collector
) -> None:
    collector.answers = [400]
    async with open_store(tmp_path) as store, running(store) as control_plane:
        await end(control_plane, installing())
        async with leading(control_plane, collector.url) as outgoing:  # it just ended: sent anew
            await until(lambda: outgoing.dropped == 1, "the refusal")
        assert (outgoing.sent, collector.asked) == (0, 1)


class Slow(Collector):
    """Takes what it is sent when it is let."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.waiting = 0
        self.let = asyncio.Semaphore(0)

    async def take(self, request: web.Request) -> web.Response:
        self.waiting += 1
        await self.let.acquire()
        return await super().take(request)


async def test_queue_that_is_full_while_it_is_sent_counts_each_trace_once() -> None:
    trace, full, at_once = (make_span(),) * 100, WAITING_SPANS // 100, SPANS_AT_ONCE // 100
    collector = Slow(free_port())
    async with collector.receiving():
        outgoing = Outgoing(collector.url)
        for _ in range(full):
            outgoing.add(trace)
        sending = asyncio.create_task(outgoing.run())
        await until(lambda: collector.waiting == 1, "the first request")
        for _ in range(3):
            outgoing.add(trace)
        collector.let.release()
        await until(lambda: outgoing.sent > 0, "the first answer")
        assert (outgoing.sent, outgoing.dropped, outgoing.waiting) == (at_once, 3, full - at_once)
        assert len(collector.spans[b"\x11" * 16]) == SPANS_AT_ONCE
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        collector.let.release()
