"""Jobs from the task to their end: a real region, and a simulated machine that does them."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_FAILED, EXIT_INSTALLED, EXIT_STOPPED
from lpmos.agent.stop import Stop
from lpmos.model.bootplan import BootAgent, BootLocalDisk, UnknownMachines, decide
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, Machine
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import Put
from tests.support.builders import NOW, actor
from tests.support.region import RunningRegion, running, until

MAC = "52:54:00:00:00:77"
END_S = 60.0
BURN_IN: tuple[dict[str, Any], ...] = (
    {"step": "memory_test"},
    {"step": "disk_test"},
    {"step": "inventory"},
)


class Agent:
    """A simulated machine's agent."""

    def __init__(self, region: RunningRegion, sn: str) -> None:
        self.said = io.StringIO()
        self.stop = Stop()
        options = Options(region.url, sn, MAC, simulate=True)
        pace = Pace(first_s=0.05, most_s=0.2, scale=0.05)
        console = Console(self.said)
        self.run = asyncio.create_task(
            asyncio.to_thread(run_agent, options, console, self.stop, pace)
        )

    async def end(self) -> int:
        async with asyncio.timeout(END_S):
            return await self.run


@asynccontextmanager
async def agent_of(region: RunningRegion, sn: str) -> AsyncIterator[Agent]:
    agent = Agent(region, sn)
    try:
        yield agent
    finally:
        agent.stop.set("the test is over")
        await asyncio.gather(agent.run, return_exceptions=True)


async def job_of(region: RunningRegion, sn: str, *steps: dict[str, Any], **fields: Any) -> Task:
    """A job for the machine, prepared."""
    asked = {"sn": sn, "mac": MAC, "job": {"steps": list(steps)}, **fields}
    return await region.create_task(os_type=None, os_version=None, **asked)


async def approved(region: RunningRegion, task: Task) -> Task:
    waiting = await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(
        task.task_id, by=actor("bob"), notes=None, plan_digest=waiting.plan_digest
    )
    return waiting


async def machine(region: RunningRegion, sn: str) -> Machine:
    kv = await region.store.get(keys.meta("dc1", sn))
    assert kv is not None
    return records.decode(kv, Machine)


def reports_progress(region: RunningRegion, task: Task) -> bool:
    now = region.fleet.task(task.task_id)
    return bool(now and now.progress)


async def test_job_is_done_step_by_step_and_reports_each_result(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        task = await job_of(region, "SIM-J1", *BURN_IN)
        async with agent_of(region, "SIM-J1") as agent:
            waiting = await approved(region, task)
            assert await agent.end() == EXIT_INSTALLED, agent.said.getvalue()
        done = await region.task_in(task.task_id, "completed")
        known = await machine(region, "SIM-J1")
        _, metrics = await region.text("/metrics")
    assert waiting.job_plan is not None
    assert waiting.job_plan.steps[1].devices == ("/dev/nvme0n1",)
    assert waiting.plan is None
    assert [(result.step, result.outcome) for result in done.results] == [
        ("memory_test", "passed"),
        ("disk_test", "passed"),
        ("inventory", "passed"),
    ]
    assert any("disk /dev/nvme0n1" in line for line in done.results[2].evidence)
    assert (done.progress[-1].step, done.progress[-1].percent) == ("job", 100)
    assert known.installed is None
    assert waiting.reported_at is not None and done.reported_at is not None
    assert waiting.reported_at < done.reported_at
    assert known.reported_at is not None and known.reported_at >= done.reported_at
    assert "lpmos_region_task_part_seconds_count" not in metrics


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_machine_without_a_system_waits_after_a_job_for_its_next_task(
    tmp_path: Path, status: str
) -> None:
    sn = "SIM-BAD-MEMORY" if status == "failed" else "SIM-J5"
    step = {"step": "rescue" if status == "cancelled" else "memory_test"}
    async with running(tmp_path) as region:
        task = await job_of(region, sn, step)
        async with agent_of(region, sn) as agent:
            await approved(region, task)
            if status == "cancelled":
                await until(lambda: reports_progress(region, task), "the rescue")
                await region.tasks.cancel(task.task_id, by=actor("bob"))
            await agent.end()
        over = await region.task_in(task.task_id, status)
        assert isinstance(
            decide(MAC, await machine(region, sn), over, UnknownMachines.DISCOVER), BootAgent
        )
        async with agent_of(region, sn) as agent:
            await until(lambda: "no task for this machine yet" in agent.said.getvalue(), "it waits")
            following = await job_of(region, sn, {"step": "inventory"})
            await approved(region, following)
            assert await agent.end() == EXIT_INSTALLED, agent.said.getvalue()
        await region.task_in(following.task_id, "completed")


async def test_job_that_fails_says_where_and_leaves_the_installed_system_as_it_is(
    tmp_path: Path,
) -> None:
    sn = "SIM-BAD-DISK"
    async with running(tmp_path) as region:
        task = await job_of(region, sn, *BURN_IN)
        async with agent_of(region, sn) as agent:
            await region.task_in(task.task_id, "pending_approval")
            installed = Installed(
                generation=3,
                task_id="earlier",
                os_type="debian",
                os_version="12",
                installed_at=NOW,
            )
            before = msgspec.structs.replace(await machine(region, sn), installed=installed)
            await region.store.txn([], [Put(keys.meta("dc1", sn), records.encode(before))])
            await approved(region, task)
            assert await agent.end() == EXIT_FAILED, agent.said.getvalue()
        failed = await region.task_in(task.task_id, "failed")
        known = await machine(region, sn)
        restarts_to = decide(MAC, known, failed, UnknownMachines.DISCOVER)
    assert failed.error is not None
    assert "has 1 bad block" in failed.error.reason
    assert [(result.step, result.outcome) for result in failed.results] == [
        ("memory_test", "passed"),
        ("disk_test", "failed"),
    ]
    assert "offset 4096 (sector 8)" in failed.results[1].evidence[0]
    assert known.installed == installed
    assert isinstance(restarts_to, BootLocalDisk)


async def test_job_that_is_cancelled_ends_in_its_step(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        task = await job_of(region, "SIM-J3", {"step": "rescue"})
        async with agent_of(region, "SIM-J3") as agent:
            await approved(region, task)
            await region.task_in(task.task_id, "installing")
            await until(lambda: reports_progress(region, task), "the rescue")
            await region.tasks.cancel(task.task_id, by=actor("bob"))
            assert await agent.end() == EXIT_STOPPED, agent.said.getvalue()
        ended = await region.task_in(task.task_id, "cancelled")
        known = await machine(region, "SIM-J3")
    assert ended.status is Status.CANCELLED
    assert isinstance(decide(MAC, known, ended, UnknownMachines.DISCOVER), BootAgent)


async def test_job_that_may_not_write_a_disk_fails_before_its_approval(tmp_path: Path) -> None:
    erase = {"step": "disk_erase", "disks": [{"serial": "NOT-THERE"}]}
    async with running(tmp_path) as region:
        task = await job_of(region, "SIM-J4", erase)
        async with agent_of(region, "SIM-J4") as agent:
            assert await agent.end() == EXIT_STOPPED
        failed = await region.task_in(task.task_id, "failed")
    assert failed.error is not None
    assert "step 1 (disk_erase): no disk is what it names" in failed.error.reason


async def test_order_of_a_job_has_ssh_keys_only_with_ssh(tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5 alice"
    async with running(tmp_path) as region:
        rescue = {"step": "rescue", "minutes": 5, "ssh": True}
        task = await region.create_task(
            os_type=None, os_version=None, job={"steps": [rescue]}, ssh_keys=[key]
        )
        status, _ = await region.report()
        assert status == 200
        await approved(region, task)
        await region.task_in(task.task_id, "approved")
        _, answer = await region.get(f"/api/v1/agent/approval/{task.mac}?task_id={task.task_id}")
        claimed, _ = await region.claim(task)
    assert answer["status"] == "approved"
    assert answer["plan"]["boot_loader"] == "job"
    assert answer["plan"]["ssh_keys"] == [key]
    assert answer["plan"]["job"]["steps"][0]["asked"] == rescue
    assert claimed == 200
