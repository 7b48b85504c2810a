"""One trace from who asks for a task through boot script and agent to the collector (O2)."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_INSTALLED
from lpmos.agent.stop import Stop
from lpmos.control.config import ControlConfig
from lpmos.core.traces.calls import SLOW
from lpmos.model.webhook import NewWebhook
from lpmos.store import keys
from lpmos.store.etcd import EtcdStore
from tests.support.builders import actor
from tests.support.collector import Collector
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import EtcdServer, free_port
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.receiver import receiving
from tests.support.region import RunningRegion, until
from tests.support.region import running as running_region

SN, MAC = "SIM-7", "52:54:00:00:00:07"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = f"00-{TRACE}-{SPAN}-01"
NEW = {"idc": "dc1", "sn": SN, "mac": MAC, "os_type": "debian", "os_version": "12"}
NAME = "POST /api/v1/tasks"
INSTALL_TIMEOUT_S = 120.0
SLOW_S = 1.5


@asynccontextmanager
async def site(
    directory: Path, collector: Collector
) -> AsyncIterator[tuple[RunningRegion, RunningControlPlane]]:
    """A region and a control plane over one store."""
    config = ControlConfig(otlp_url=collector.url)
    async with (
        running_region(directory) as region,
        running(region.store, config=config) as control_plane,
    ):
        known = control_plane.fleet.region
        await until(lambda: known("dc1").capabilities is not None, "the region")
        yield region, control_plane


async def create(control_plane: RunningControlPlane, *traceparents: str) -> dict[str, Any]:
    """The view of a task that is asked for with these headers."""
    headers = [("Authorization", f"Bearer {control_plane.token}")]
    headers += [("traceparent", value) for value in traceparents]
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as api:
        made = await api.post("/api/v1/tasks", json=NEW, headers=headers)
        assert made.status_code == 201, made.text
        shown = await api.get(made.headers["Location"], headers=headers[:1])
    view: dict[str, Any] = shown.json()
    return view


async def installed(region: RunningRegion, task_id: str) -> None:
    """The machine boots and is installed, approved as soon as it waits for that."""
    console, stop = io.StringIO(), Stop()
    pace = Pace(first_s=0.05, most_s=0.2, scale=0.05)
    options = Options(region.url, SN, MAC, simulate=True)
    agent = asyncio.create_task(asyncio.to_thread(run_agent, options, Console(console), stop, pace))
    try:
        task = await region.task_in(task_id, "pending_approval")

        async def seen() -> bool:
            return await region.store.get(keys.evidence(task.idc, task.sn)) is not None

        await until(seen, "what the region saw of the boot")
        await region.tasks.approve(task_id, by=actor("admin"), notes=None)
        async with asyncio.timeout(INSTALL_TIMEOUT_S):
            assert await agent == EXIT_INSTALLED, console.getvalue()
    finally:
        stop.set("the test is over")
        await asyncio.gather(agent, return_exceptions=True)


async def test_one_trace_goes_from_the_caller_through_the_agent_to_the_collector(
    tmp_path: Path,
) -> None:
    with capture_logs(processors=[merge_contextvars]) as lines:
        async with (
            Collector(free_port()).receiving() as collector,
            receiving() as receiver,
            site(tmp_path, collector) as (region, control_plane),
        ):
            webhook = NewWebhook(name="ci", url=receiver.url, events=["task.completed"])
            await control_plane.services.webhooks.create(webhook, by=actor("admin"))
            task = await create(control_plane, ASKED)
            await region.task_in(task["task_id"], "ready")
            _, script = await region.text(f"/boot/ipxe?mac={MAC}")
            await installed(region, task["task_id"])
            spans = collector.spans
            await until(lambda: bytes.fromhex(TRACE) in spans, "the trace")
            await receiver.until_received(1)

    all_spans = spans[bytes.fromhex(TRACE)]
    top = {each.name: each for each in all_spans if each.parent_span_id.hex() == SPAN}
    assert {*top} == {NAME, "install debian 12"}
    root = top["install debian 12"]
    others = [each for each in all_spans if each.parent_span_id == root.span_id]
    assert task["trace_id"] == TRACE
    assert f" lpmos_trace=00-{TRACE}-{root.span_id.hex()}-01 " in script
    names = {each.span_id.hex(): each.name for each in others}
    assert {"boot.script", "boot.agent", "install.downloading", "booting"} <= {*names.values()}
    assert receiver.received[0].headers["traceparent"] == f"00-{TRACE}-{root.span_id.hex()}-01"
    said = {line["event"]: line for line in lines if line.get("trace_id") == TRACE}
    assert {"task prepared", "boot script", "agent is known", "report", "agent status"} <= {*said}
    assert names[said["agent is known"]["span_id"]] == names[said["report"]["span_id"]]
    assert names[said["report"]["span_id"]] == "boot.agent"


async def test_call_of_who_keeps_its_span_is_sent_with_what_it_asked_of_the_store(
    tmp_path: Path,
) -> None:
    async with (
        Collector(free_port()).receiving() as collector,
        open_store(tmp_path) as store,
        running(store, config=ControlConfig(otlp_url=collector.url)) as control_plane,
        httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as api,
    ):
        await control_plane.offer_debian()
        headers = {"Authorization": f"Bearer {control_plane.token}"}
        await create(control_plane, ASKED)
        missing = await api.get("/api/v1/tasks/T-1", headers={**headers, "traceparent": ASKED})
        await until(lambda: len(_calls(collector, TRACE)) == 2, "both calls")
        metrics = (await api.get("/metrics", headers=headers)).text
    made, looked = _calls(collector, TRACE)
    assert (made.name, made.kind) == (NAME, Span.SPAN_KIND_SERVER)
    assert looked.name == "GET /api/v1/tasks/{task_id}"
    assert made.parent_span_id.hex() == looked.parent_span_id.hex() == SPAN
    said = {each.key: each.value for each in looked.attributes}
    assert said["http.response.status_code"].int_value == 404
    assert said["lpmos.request_id"].string_value == missing.headers["x-request-id"]
    spans = collector.spans[made.trace_id]
    assert {"store.txn"} <= {each.name for each in spans if each.parent_span_id == made.span_id}
    assert SN not in str(spans) and MAC not in str(spans)
    assert 'lpmos_traces_dropped_total{of="calls"} 0.0' in metrics


async def test_slow_call_is_sent_and_shows_that_etcd_was_slow(tmp_path: Path) -> None:
    async with Collector(free_port()).receiving() as collector, EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])
        config = ControlConfig(otlp_url=collector.url)
        async with running(store, config=config) as control_plane:
            await control_plane.offer_debian()
            server.pause()
            asking = asyncio.create_task(create(control_plane))
            await asyncio.sleep(SLOW_S)  # that is how slow etcd is
            server.resume()
            await asking
            await until(lambda: NAME in {each.name for each in _calls(collector)}, "the call")
        await store.close()
    call = next(each for each in _calls(collector) if each.name == NAME)
    spans = collector.spans[call.trace_id]
    tries = [each for each in spans if each.name.startswith("etcd.")]
    calls = {each.span_id: each for each in spans if each.name.startswith("store.")}
    assert not call.parent_span_id and all(each.parent_span_id in calls for each in tries)
    assert max(map(_seconds, tries)) > SLOW.total_seconds()


def _calls(collector: Collector, trace: str = "") -> list[Span]:
    """The calls of the API that the collector has, of one trace in the order of their ends."""
    came = (span for spans in collector.spans.values() for span in spans)
    calls = (each for each in came if each.kind == Span.SPAN_KIND_SERVER)
    return [each for each in calls if trace in ("", each.trace_id.hex())]


def _seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


@pytest.mark.parametrize(
    "traceparents", [(), ("nonsense",), (f"00-{'0' * 32}-{SPAN}-01",), (ASKED, ASKED)]
)
async def test_call_without_one_good_traceparent_begins_a_trace(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, traceparents: tuple[str, ...]
) -> None:
    task = await create(control_plane, *traceparents)
    assert task["trace_id"] == task["task_id"].replace("-", "")


async def test_trace_of_one_call_is_not_that_of_the_next(
    control_plane: RunningControlPlane,
) -> None:
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as api:
        first = await api.post("/api/v1/tasks", json=NEW, headers={"traceparent": ASKED})
        again = {**NEW, "sn": "SIM-8", "mac": "52:54:00:00:00:08"}
        second = await api.post("/api/v1/tasks", json=again)
        views = [
            (await api.get(made.headers["Location"])).json()["trace_id"] for made in (first, second)
        ]
        third = {**NEW, "sn": "SIM-9", "mac": "52:54:00:00:00:09"}
        rows = await api.post("/api/v1/tasks/bulk", json=[third], headers={"traceparent": ASKED})
        task_id = rows.json()["rows"][0]["task_id"]
        assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["trace_id"] == TRACE
    assert views == [TRACE, second.json()["task_id"].replace("-", "")]
