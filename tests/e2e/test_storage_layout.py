"""A bare server whose disks are mirrors, with volumes on them: installed, started, and started once
more after its first disk was pulled. What stands on the disks is read from outside.
"""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from lpmos.lab import evidence
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.journey import Journey
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.stage import new_task, rack_site
from lpmos.model.diskplan import GIB, PartitionWish, StorageLayout
from lpmos.model.lifecycle import Status

POWER_OFF_TIMEOUT_S = 600.0
NETBOOT_TIMEOUT_S = 600.0
DEGRADED_TIMEOUT_S = 900.0
LOGIN_TIMEOUT_S = 900.0
PROBE_TIMEOUT_S = 30.0
LAYOUT = StorageLayout(
    raid="raid1",
    lvm=True,
    partitions=(PartitionWish(mount="/var", size_bytes=GIB, filesystem="xfs"),),
)
MIRROR = MachineSpec(
    name="db-mirror",
    sn="E2E-MIRROR",
    mac="52:54:00:78:01:11",
    firmware="bios",
    cpus=1,
    disks=(
        BlankDisk(serial="MIRROR-1", size_bytes=4 * GIB, bus="scsi"),
        BlankDisk(serial="MIRROR-2", size_bytes=4 * GIB, bus="scsi"),
    ),
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2700), pytest.mark.asyncio]


async def array_members(disk: Path) -> list[tuple[str, str]]:
    """The arrays that the RAID partitions of a disk's file belong to: UUID and name."""
    found = []
    for part in await evidence.partitions(disk):
        if part.role != "raid":
            continue
        probe = await asyncio.create_subprocess_exec(
            *("blkid", "--probe", "--offset", str(part.start_bytes)),
            *("--size", str(part.size_bytes), "--output", "export", str(disk)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(probe.communicate(), PROBE_TIMEOUT_S)
        said = dict(re.findall(r"^(\w+)=(.*)$", output.decode(), re.MULTILINE))
        assert said["TYPE"] == "linux_raid_member"
        found.append((said["UUID"], said["LABEL"]))
    return found


async def test_mirrored_server_starts_from_both_disks_and_from_the_one_that_is_left(
    tmp_path: Path, images_dir: Path, accel: Acceleration
) -> None:
    placed = rack_site(directory=tmp_path, images_dir=images_dir, accel=accel)
    async with placed as (rack, site):
        machine = await VirtualMachine.create(rack, MIRROR, directory=tmp_path, accel=accel)
        task = msgspec.structs.replace(
            new_task(site, MIRROR.sn, MIRROR.mac, MIRROR.name), disk_layout=LAYOUT
        )
        display = LineDisplay(Console(stderr=True))
        journey = Journey(machine, task, api=site.api, display=display, approve=True)
        await journey.run()
        assert journey.progress.up, journey.progress.failed
        known = journey.task
        assert known is not None
        await machine.press_power_button()
        await machine.wait_off(POWER_OFF_TIMEOUT_S)
        whole = machine.console.log.read_text()
        assert "active with 2 out of 2 mirrors" in whole
        assert re.search(r"Mounted .*var\.mount", whole)

        members = [await array_members(machine.disk(number)) for number in (0, 1)]
        assert members[0] == members[1]
        assert [name for _, name in members[0]] == ["any:md-boot", "any:md-root"]
        for number in (0, 1):
            loader = await evidence.read_esp_file(machine.disk(number), "/EFI/BOOT/BOOTX64.EFI")
            assert loader.startswith(b"MZ")

        machine.pull_first_disk()
        await machine.power_on()
        await machine.console.wait_for("LPMOS: booting the local disk", NETBOOT_TIMEOUT_S)
        await machine.console.wait_for("active with 1 out of 2 mirrors", DEGRADED_TIMEOUT_S)
        await machine.console.wait_for(r"Mounted .*boot\.mount", DEGRADED_TIMEOUT_S)
        await machine.wait_up(MIRROR.name, LOGIN_TIMEOUT_S)
        history = [change.status for change in (await site.api.task(known.task_id)).status_history]
        assert history.count(Status.INSTALLING) == 1
        await machine.power_off()
