"""Why a machine is stuck, caused for real on the way of two installs: what takes minutes of guests.

`make test` has what shows sooner: nothing seen, a loader without a script, and a kernel that stops.
"""

from pathlib import Path

import msgspec
import pytest

from lpmos.lab.acceleration import Acceleration
from lpmos.lab.api_client import TaskState
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.rack import Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import new_task
from lpmos.model.diskplan import GIB
from tests.support.polling import until
from tests.support.stuck import EXPLAINED_TIMEOUT_S, explained, layers_of, slow, unheard, until_sent

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(2700),
    pytest.mark.asyncio(loop_scope="module"),
]

WORN_OUT = MachineSpec(
    name="worn-out",
    sn="E2E-WORN",
    mac="52:54:00:78:02:11",
    firmware="bios",
    disks=(BlankDisk(serial="WORN-1", size_bytes=8 * GIB, failing=True),),
)
FAR_AWAY = msgspec.structs.replace(
    WORN_OUT,
    name="far-away",
    sn="E2E-FAR",
    mac="52:54:00:78:02:12",
    disks=(BlankDisk(serial="FAR-1", size_bytes=8 * GIB),),
)


async def waiting(site: Site, task_id: str) -> TaskState:
    """The task as soon as it waits for a decision."""
    found: list[TaskState] = []

    async def waits() -> bool:
        found[:] = [await site.api.task(task_id)]
        return found[0].status.value == "pending_approval"

    await until(waits, EXPLAINED_TIMEOUT_S)
    return found[0]


async def test_agent_that_cannot_reach_the_region_and_then_a_disk_that_fails(
    rack: tuple[Rack, Site, Path], accel: Acceleration
) -> None:
    place, site, directory = rack
    machine = await VirtualMachine.create(place, WORN_OUT, directory=directory, accel=accel)
    task = await site.api.create_task(new_task(site, WORN_OUT.sn, WORN_OUT.mac, WORN_OUT.name))
    await machine.power_on()
    await until_sent(site, task.task_id, "initramfs")
    async with unheard(place):
        alone = await explained(site, task.task_id, "agent-cannot-reach-region")
    seen = layers_of(alone)
    assert seen["initramfs"]["at"] < seen["dhcp"]["at"]
    assert (seen["agent"]["at"], seen["agent"]["what"]) == (None, "no call of the agent")
    await waiting(site, task.task_id)
    await site.api.approve(task.task_id, "whatever its disk does")
    broken = await explained(site, task.task_id, "disk-fails")
    assert broken["status"] in ("installing", "failed")  # the kernel may say it before the agent
    await machine.power_off()


async def test_image_that_comes_slowly(rack: tuple[Rack, Site, Path], accel: Acceleration) -> None:
    place, site, directory = rack
    machine = await VirtualMachine.create(place, FAR_AWAY, directory=directory, accel=accel)
    task = await site.api.create_task(new_task(site, FAR_AWAY.sn, FAR_AWAY.mac, FAR_AWAY.name))
    await machine.power_on()
    await waiting(site, task.task_id)
    async with slow(place):
        await site.api.approve(task.task_id, "over a slow line")
        found = await explained(site, task.task_id, "image-slow")
    assert layers_of(found)["downloading"]["what"].endswith("B/s")
    await machine.power_off()
