"""Why a machine is stuck, caused for real: the control plane names the cause and what was seen."""

import asyncio
from pathlib import Path

import pytest

from lpmos.lab.acceleration import Acceleration
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.rack import Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import new_task
from lpmos.model.diskplan import GIB
from tests.support.stuck import explained, layers_of, unheard

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1200),
    pytest.mark.asyncio(loop_scope="module"),
]

TOO_LITTLE = MachineSpec(
    name="little",
    sn="E2E-LITTLE",
    mac="52:54:00:78:02:01",
    firmware="uefi",
    memory_mib=192,
    disks=(BlankDisk(serial="ROOT-1", size_bytes=8 * GIB),),
)
"""So little memory that the agent's kernel panics when it unpacks the initramfs."""
ELSEWHERE = ("E2E-ELSEWHERE", "52:54:00:78:02:99")
"""A machine that is on no network of the region: nobody plugs it in."""


async def test_causes_are_named_where_the_machines_stand(
    rack: tuple[Rack, Site, Path], accel: Acceleration
) -> None:
    place, site, directory = rack
    machine = await VirtualMachine.create(place, TOO_LITTLE, directory=directory, accel=accel)
    task = await site.api.create_task(
        new_task(site, TOO_LITTLE.sn, TOO_LITTLE.mac, TOO_LITTLE.name)
    )
    unplugged = await site.api.create_task(new_task(site, *ELSEWHERE, "elsewhere"))
    nothing = asyncio.create_task(explained(site, unplugged.task_id, "nothing-seen"))
    async with unheard(place):
        await machine.power_on()
        scriptless = await explained(site, task.task_id, "loader-without-script")
    seen = layers_of(scriptless)
    assert seen["loader"]["at"] and not seen["ipxe"]["at"] and "script" not in seen
    assert "HTTP to the region does not come through" in scriptless["causes"][0]["cause"]
    await machine.power_off()
    await machine.power_on()
    panicked = await explained(site, task.task_id, "agent-does-not-start")
    assert [layer["at"] for layer in (await nothing)["layers"]] == [None]
    seen = layers_of(panicked)
    assert all(
        seen[name]["at"]
        for name in ("dhcp", "address", "loader", "ipxe", "script", "kernel", "initramfs")
    )
    assert "snponly.efi by TFTP" in seen["loader"]["what"]
    assert seen["script"]["what"].startswith("was told: boot the agent")
    assert " MB in " in seen["initramfs"]["what"]
    assert (seen["agent"]["at"], seen["agent"]["what"]) == (None, "no call of the agent")
    assert "panic" in panicked["causes"][0]["cause"]
