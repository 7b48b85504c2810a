"""A region that has not read the store yet: every call is told to come again, none is told no."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.agent.console import Console
from lpmos.agent.pace import Pace
from lpmos.agent.region import Region as RegionCalls
from lpmos.agent.reporter import Progress, Reporter
from lpmos.agent.stop import Stop
from lpmos.model.lifecycle import Status
from lpmos.model.task import Intent, Task
from lpmos.store import keys, records
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import MAC, make_inventory, make_task
from tests.support.region import AGENT_ID, RunningRegion, running, until

TASK = make_task(
    status=Status.INSTALLING,
    hardware=make_inventory(),
    intent=Intent(intent_id="0b0b6f5e-0000-4000-8000-0000000000ff", claimed_by=AGENT_ID),
)
FAILED = {"mac_address": MAC, "task_id": TASK.task_id, "agent_id": AGENT_ID, "status": "failed"}


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    """A region that was started again in the middle of an install, and cannot list the store."""
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.put(keys.task("dc1", TASK.sn), records.encode(TASK))
    await store.close()
    async with running(tmp_path, listed=False) as started:
        yield started


async def test_every_call_before_the_first_listing_is_503(region: RunningRegion) -> None:
    log = region.state_dir / "logs" / f"{TASK.task_id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("of the install before the restart\n")
    for call in (
        region.report(),
        region.claim(TASK),
        region.progress(TASK, "downloading", 30),
        region.post("/api/v1/agent/status", FAILED),
        region.get(f"/api/v1/agent/approval/{MAC}"),
        region.get(f"/api/v1/agent/approval/{MAC}?task_id={TASK.task_id}&wait=20"),
        region.get(f"/api/v1/tasks/{TASK.task_id}/log"),
    ):
        status, problem = await call
        assert (status, problem["code"]) == (503, "store-unavailable")
    status, script = await region.text(f"/boot/ipxe?mac={MAC}&sn={TASK.sn}")
    assert status == 503
    assert "/boot/boot.ipxe" in script
    assert not (await region.store.range("/os/unmatched_reports/")).kvs
    assert await region.stored_task(TASK) == TASK


async def test_calls_after_the_first_listing_find_the_task(region: RunningRegion) -> None:
    region.store.may_list.set()
    await region.task_in(TASK.task_id, "installing")
    assert (await region.claim(TASK))[0] == 200
    assert (await region.progress(TASK, "downloading", 30))[0] == 200


async def test_agent_under_way_waits_for_the_first_listing_and_goes_on(
    region: RunningRegion,
) -> None:
    said, stop = io.StringIO(), Stop()
    pace = Pace(first_s=0.01, most_s=0.05, scale=0.01)
    identity: dict[str, object] = {
        "mac_address": MAC,
        "task_id": TASK.task_id,
        "agent_id": AGENT_ID,
    }
    calls = RegionCalls(region.url)
    calls.identity = region.minted.identity(MAC, AGENT_ID, TASK.task_id)
    reporter = Reporter(calls, identity, Console(said), stop, pace)
    reporter.start()
    try:
        reporter.update(Progress("downloading", 30, "still there"))
        await until(lambda: said.getvalue().count("not heard") >= 3, "the agent to try again")
        region.store.may_list.set()
        await until(lambda: _percent(region) == 30, "the agent's progress")
    finally:
        await asyncio.to_thread(reporter.close)
    assert not stop.is_set()


def _percent(region: RunningRegion) -> float:
    task: Task | None = region.fleet.task(TASK.task_id)
    return task.percent if task else 0
