"""Why a machine is stuck, caused for real: the control plane names the cause and what was seen."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lpmos.lab.acceleration import Acceleration
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.rack import Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import new_task
from lpmos.model.diskplan import GIB

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1200),
    pytest.mark.asyncio(loop_scope="module"),
]

EXPLAINED_TIMEOUT_S = 900.0
POLL_S = 1.0
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


async def explained(site: Site, task_id: str, code: str) -> dict[str, Any]:
    """The explanation of a task as soon as its first cause is this one."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(EXPLAINED_TIMEOUT_S):
            while True:
                found = await site.api.explanation(task_id)
                if [cause["code"] for cause in found["causes"]][:1] == [code]:
                    return found
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{code} was not named: {found}") from None


async def test_causes_are_named_where_the_machines_stand(
    rack: tuple[Rack, Site, Path], accel: Acceleration
) -> None:
    place, site, directory = rack
    machine = await VirtualMachine.create(place, TOO_LITTLE, directory=directory, accel=accel)
    task = await site.api.create_task(new_task(TOO_LITTLE.sn, TOO_LITTLE.mac, TOO_LITTLE.name))
    unplugged = await site.api.create_task(new_task(*ELSEWHERE, "elsewhere"))
    await machine.power_on()
    nothing, panicked = await asyncio.gather(
        explained(site, unplugged.task_id, "nothing-seen"),
        explained(site, task.task_id, "agent-does-not-start"),
    )
    assert [layer["at"] for layer in nothing["layers"]] == [None]
    seen = {layer["layer"]: layer for layer in panicked["layers"]}
    assert all(
        seen[name]["at"]
        for name in ("dhcp", "address", "loader", "ipxe", "script", "kernel", "initramfs")
    )
    assert "snponly.efi by TFTP" in seen["loader"]["what"]
    assert seen["script"]["what"].startswith("was told: boot the agent")
    assert " MB in " in seen["initramfs"]["what"]
    assert (seen["agent"]["at"], seen["agent"]["what"]) == (None, "no call of the agent")
    assert "panic" in panicked["causes"][0]["cause"]
