"""One trace from who asks for a task through boot script and agent to the collector (O2)."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_INSTALLED
from lpmos.agent.stop import Stop
from lpmos.control.config import ControlConfig
from lpmos.model.webhook import NewWebhook
from lpmos.store import keys
from tests.support.builders import actor
from tests.support.collector import Collector
from tests.support.control_plane import RunningControlPlane, running
from tests.support.etcd import free_port
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.receiver import receiving
from tests.support.region import RunningRegion, until
from tests.support.region import running as running_region

SN, MAC = "SIM-7", "52:54:00:00:00:07"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = f"00-{TRACE}-{SPAN}-01"
NEW = {"idc": "dc1", "sn": SN, "mac": MAC, "os_type": "debian", "os_version": "12"}
INSTALL_TIMEOUT_S = 120.0


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

    (root,) = (each for each in spans[bytes.fromhex(TRACE)] if each.parent_span_id.hex() == SPAN)
    others = [each for each in spans[bytes.fromhex(TRACE)] if each is not root]
    assert task["trace_id"] == TRACE
    assert f" lpmos_trace=00-{TRACE}-{root.span_id.hex()}-01 " in script
    assert {each.parent_span_id for each in others} == {root.span_id}
    names = {each.span_id.hex(): each.name for each in others}
    assert {"boot.script", "boot.agent", "install.downloading", "booting"} <= {*names.values()}
    assert receiver.received[0].headers["traceparent"] == f"00-{TRACE}-{root.span_id.hex()}-01"
    said = {line["event"]: line for line in lines if line.get("trace_id") == TRACE}
    assert {"task prepared", "boot script", "agent is known", "report", "agent status"} <= {*said}
    assert names[said["agent is known"]["span_id"]] == names[said["report"]["span_id"]]
    assert names[said["report"]["span_id"]] == "boot.agent"


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
