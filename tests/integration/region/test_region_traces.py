"""Machines' calls that were slow or failed are spans of their task's trace, at a real receiver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from lpmos.app.region import run_region
from lpmos.app.settings import load
from lpmos.app.settings_table import REGION
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.core.traces.calls import SLOW
from lpmos.core.tracing import about
from lpmos.images.catalog import Catalog
from lpmos.model.errors import NotFound
from lpmos.model.task import Task
from lpmos.model.trace import root_of, span_of
from lpmos.region.traced import MachineTraces
from lpmos.store import keys
from lpmos.store.etcd import EtcdStore
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, actor, make_inventory, make_spec, make_task
from tests.support.collector import Collector
from tests.support.etcd import EtcdServer, free_port
from tests.support.region import AGENT_ID, fill, task_in, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT, NOT_KEPT = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
SLOW_S = 1.5
POLLS = 3


class Site:
    """A region as it is started by its command, over etcd, and what a test knows of it."""

    def __init__(
        self, url: str, etcd: EtcdServer, fleet: Fleet, http: aiohttp.ClientSession
    ) -> None:
        self.url = url
        self.etcd = etcd
        self.fleet = fleet
        self.http = http

    async def slowly(self, call: Awaitable[int]) -> int:
        """The status of a call during which etcd stands still for a while."""
        self.etcd.pause()
        asking = asyncio.ensure_future(call)
        await asyncio.sleep(SLOW_S)  # that is how slow etcd is
        self.etcd.resume()
        return await asking

    async def get(self, path: str, **headers: str) -> int:
        async with self.http.get(self.url + path, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def report(self, **headers: str) -> int:
        hardware = msgspec.to_builtins(make_inventory())
        body = {"mac_address": MAC, "sn": "SN-1", "agent_id": AGENT_ID, "hardware": hardware}
        async with self.http.post(
            f"{self.url}/api/v1/agent/report", json=body, headers=headers
        ) as answer:
            return answer.status


@asynccontextmanager
async def site(directory: Path, collector: Collector) -> AsyncIterator[tuple[Site, Task]]:
    """One of the clients of dc1, with a task that is ready."""
    fill(Catalog(directory / "images"), directory)
    port = str(free_port())
    async with EtcdServer() as etcd, aiohttp.ClientSession() as http:
        store = await EtcdStore.connect([etcd.endpoint])
        flags = {"idc": "dc1", "region_addr": "127.0.0.1", "api_host": "127.0.0.1"}
        flags |= {"api_port": port, "dhcp_mode": "off", "agent_identity": "optional"}
        flags |= {"etcd_endpoints": etcd.endpoint, "otlp_url": collector.url, "identity": "a"}
        flags |= {"state_dir": f"{directory}/state", "images_dir": f"{directory}/images"}
        mirrors = [Mirror(store, keys.idc_prefix("dc1")), Mirror(store, "/os/region/dc1/")]
        fleet = Fleet(*mirrors)
        made = Site(f"http://127.0.0.1:{port}", etcd, fleet, http)
        settings = load(REGION, flags, {})
        started = [asyncio.ensure_future(run_region(settings, store, stands=True))]
        started += [asyncio.ensure_future(mirror.run()) for mirror in mirrors]
        try:
            await until(lambda: bool(fleet.region("dc1").capabilities), "the region")
            task = await Tasks(store, fleet, utc_now).create(make_spec(), by=actor("admin"))
            yield made, await task_in(fleet, task.task_id, "ready")
        finally:
            for each in started:
                each.cancel()
            await asyncio.gather(*started, return_exceptions=True)
            await store.close()


def calls(collector: Collector) -> list[Span]:
    """The calls that the collector has, in the order of their ends."""
    came = (span for spans in collector.spans.values() for span in spans)
    return [each for each in came if each.kind == Span.SPAN_KIND_SERVER]


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value for each in span.attributes}


async def test_calls_that_were_slow_for_etcd_show_it_in_the_trace_of_their_task(
    tmp_path: Path,
) -> None:
    async with (
        Collector(free_port()).receiving() as collector,
        site(tmp_path, collector) as (region, task),
    ):
        assert await region.slowly(region.get(f"/boot/ipxe?mac={MAC}")) == 200
        agent = span_of(task, "boot.agent")
        assert await region.slowly(region.report(traceparent=str(agent))) == 200
        wanted = {"GET /boot/ipxe", "POST /api/v1/agent/report"}
        await until(lambda: wanted <= {each.name for each in calls(collector)}, "both calls")
        async with region.http.get(f"{region.url}/metrics") as answer:
            metrics = await answer.text()
    assert {*collector.spans} == {bytes.fromhex(agent.trace_id)}
    spans = collector.spans[bytes.fromhex(agent.trace_id)]
    parents = {"GET /boot/ipxe": root_of(task), "POST /api/v1/agent/report": agent}
    for name, parent in parents.items():
        call = next(each for each in spans if each.name == name)
        assert call.parent_span_id.hex() == parent.span_id
        assert attributes(call)["lpmos.idc"].string_value == "dc1"
        write = next(each for each in within(spans, call) if each.name == "store.group")
        assert [each.name for each in within(spans, write)] == ["store.txn", "etcd.Txn"]
        tries = [each for each in within(spans, call) if each.name.startswith("etcd.")]
        assert max(map(seconds, tries)) > SLOW.total_seconds()
    assert MAC not in str(spans) and task.sn not in str(spans)
    assert 'lpmos_traces_dropped_total{of="calls"} 0.0' in metrics


def within(spans: list[Span], span: Span) -> list[Span]:
    """What hangs below a span, at any depth."""
    own = [each for each in spans if each.parent_span_id == span.span_id]
    return own + [deeper for each in own for deeper in within(spans, each)]


def seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


async def test_agent_that_waits_for_a_decision_is_not_slow(tmp_path: Path) -> None:
    async with (
        Collector(free_port()).receiving() as collector,
        site(tmp_path, collector) as (region, task),
    ):
        assert await region.report() == 200
        agent = str(span_of(task, "boot.agent"))
        await task_in(region.fleet, task.task_id, "pending_approval")
        poll = f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=1"
        for _ in range(POLLS):
            assert await region.get(poll, traceparent=agent) == 200
        assert await region.slowly(region.report(traceparent=agent)) == 200
        last = "POST /api/v1/agent/report"
        await until(lambda: last in {each.name for each in calls(collector)}, "the last call")
    sent = [each for each in calls(collector) if "approval" in each.name]
    assert len(sent) < POLLS  # one may be slow where the machine of the test is


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def answered(_: web.Request) -> web.Response:
    return web.Response()


async def failing(_: web.Request) -> web.Response:
    return web.Response(status=503)


async def failing_for_a_task(_: web.Request) -> web.Response:
    about(make_task())
    return web.Response(status=503)


@asynccontextmanager
async def served(collector: Collector) -> AsyncIterator[tuple[MachineTraces, Any]]:
    """The middleware in front of handlers that answer at once."""
    traces = MachineTraces(collector.url, utc_now, idc="dc1")
    app = web.Application(middlewares=[traces.middleware()])
    app.add_routes([web.get("/well/{secret}", answered), web.get("/fails/{secret}", failing)])
    app.add_routes([web.get("/task", failing_for_a_task)])
    sending = asyncio.create_task(traces.run())
    async with TestClient(TestServer(app)) as client:
        yield traces, client
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector(free_port()).receiving() as started:
        yield started


async def test_only_failed_calls_of_who_keeps_its_span_are_sent(collector: Collector) -> None:
    async with served(collector) as (_, http):
        for path in ("/well/hush", "/fails/hush"):
            for given in ([], [NOT_KEPT], ["nonsense"], [KEPT, KEPT], [KEPT]):
                await http.get(path, headers=[("traceparent", value) for value in given])
        await until(lambda: bool(calls(collector)), "the call")
    (call,) = calls(collector)
    said = attributes(call)
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, SPAN)
    assert (call.name, said["http.route"].string_value) == (
        "GET /fails/{secret}",
        "/fails/{secret}",
    )
    assert (said["http.response.status_code"].int_value, call.status.message) == (503, "503")
    assert "hush" not in str(call)


async def test_call_without_a_header_is_of_its_tasks_trace(collector: Collector) -> None:
    task = make_task()
    async with served(collector) as (traces, http):
        await http.get("/task")
        await http.get("/task", headers={"traceparent": KEPT})

        async def refuse(_name: str, _ip: str, _at: str) -> bytes | Path:
            about(task)
            raise NotFound("there is none")

        with pytest.raises(NotFound):
            await traces.find(refuse)("name", "192.0.2.9", "192.0.2.1")
        await until(lambda: len(calls(collector)) == 3, "all three")
    named, root = root_of(task), bytes.fromhex(root_of(task).trace_id)
    by_http, by_tftp = collector.spans[root]
    assert {by_http.parent_span_id.hex(), by_tftp.parent_span_id.hex()} == {named.span_id}
    assert (by_tftp.name, by_tftp.status.message) == ("TFTP read", "not-found")
    (other,) = collector.spans[bytes.fromhex(TRACE)]
    assert other.parent_span_id.hex() == SPAN


class Hanging(Collector):
    """Answers nobody until it is let."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.let = asyncio.Event()
        self.hangs = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.hangs.set()
        await self.let.wait()
        return await super().take(request)


async def test_machines_are_answered_while_the_collector_hangs() -> None:
    hanging = Hanging(free_port())
    async with hanging.receiving(), served(hanging) as (traces, http):
        for number in range(20):
            assert (await http.get("/fails/x", headers={"traceparent": KEPT})).status == 503
            if number == 0:
                await hanging.hangs.wait()
        assert waiting(traces) == 20 and not hanging.spans
        hanging.let.set()
        await until(lambda: len(calls(hanging)) == 20, "all of them")
        await until(lambda: waiting(traces) == 0, "them to be counted")


def waiting(traces: MachineTraces) -> float:
    registry = CollectorRegistry()
    for each in traces.collectors:
        registry.register(each)
    assert b"lpmos_traces_dropped_total" in generate_latest(registry)
    return registry.get_sample_value("lpmos_traces_waiting", {"of": "calls"}) or 0.0


async def test_region_without_a_collector_makes_nothing() -> None:
    traces = MachineTraces(None, utc_now, idc="dc1")
    await traces.run()
    assert not traces.collectors
