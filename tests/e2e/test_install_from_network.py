"""Bare servers, BIOS and UEFI, from netboot to their own disks; the evidence is read outside them.

The servers are installed once, at the same time, by the first test that asks for them. What stands
on their disks is read while they are off; then one is powered on once more.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from rich.console import Console

from lpmos.install import first_boot
from lpmos.lab import evidence
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.api_client import TaskState
from lpmos.lab.display import LineDisplay
from lpmos.lab.errors import EvidenceMissing
from lpmos.lab.journey import Journey
from lpmos.lab.machine import BlankDisk, MachineSpec, VirtualMachine
from lpmos.lab.rack import Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import OS, new_task
from lpmos.model.diskplan import BIOS_BOOT_BYTES, ESP_BYTES, GIB
from lpmos.model.lifecycle import Status
from lpmos.model.setup import NewAccount, NewSetup
from lpmos.model.waiting import MACHINE_RESTARTED
from tests.matrix.cells import CI_BIOS, CI_UEFI
from tests.support.polling import until

POWER_OFF_TIMEOUT_S = 600.0
NETBOOT_TIMEOUT_S = 600.0
UNDER_WAY_PERCENT = 25
LOGIN_TIMEOUT_S = 900.0
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHFzZGZhc2RmYXNkZmFzZGZhc2RmYXNkZmFzZGZhc2Rm lab"
PASSWORD_HASH = "$6$saltsaltsalt$" + "Qw7/" * 21 + "Qw"
SETUP = NewSetup(
    users=(NewAccount(name="alice", ssh_keys=(SSH_KEY,), password_hash=PASSWORD_HASH),),
    secrets={"TOKEN": "for the command"},
    commands=('printf "%s by %s\n" "$TOKEN" "$(id -un)" >/etc/of-the-command\necho "$TOKEN"',),
)
WAY = [
    Status.PENDING,
    Status.READY,
    Status.BOOTING,
    Status.PENDING_APPROVAL,
    Status.APPROVED,
    Status.INSTALLING,
    Status.COMPLETED,
]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(2700),
    pytest.mark.asyncio(loop_scope="module"),
]

# One processor where one is enough: a translated guest with two takes a third more of the host's.
BIOS = msgspec.structs.replace(
    CI_BIOS.spec(), name="web-bios", sn="E2E-BIOS", mac="52:54:00:78:01:01"
)
UEFI = msgspec.structs.replace(
    CI_UEFI.spec(), name="web-uefi", sn="E2E-UEFI", mac="52:54:00:78:01:02", cpus=2
)
TOO_SMALL = MachineSpec(
    name="tiny",
    sn="E2E-TINY",
    mac="52:54:00:78:01:03",
    firmware="bios",
    cpus=1,
    disks=(BlankDisk(serial="SMALL-1", size_bytes=GIB // 2),),
)

KILLED = MachineSpec(
    name="web-killed",
    sn="E2E-KILLED",
    mac="52:54:00:78:01:04",
    firmware="uefi",
    nic="e1000e",
    cpus=1,
    disks=(BlankDisk(serial="ROOT-4"),),
)


@dataclass(frozen=True)
class Installed:
    """A data center with servers that were installed, and are off again."""

    site: Site
    machines: dict[str, VirtualMachine]
    journeys: dict[str, Journey]

    async def task(self, name: str) -> TaskState:
        """The task of a server as it is now."""
        known = self.journeys[name].task
        assert known is not None
        return await self.site.api.task(known.task_id)


async def run_journey(
    place: tuple[Rack, Site, Path], spec: MachineSpec, accel: Acceleration
) -> tuple[VirtualMachine, Journey]:
    rack, site, directory = place
    machine = await VirtualMachine.create(rack, spec, directory=directory, accel=accel)
    new = new_task(site, spec.sn, spec.mac, spec.name)
    task = msgspec.structs.replace(new, ssh_keys=(SSH_KEY,), setup=SETUP)
    display = LineDisplay(Console(stderr=True))
    journey = Journey(machine, task, api=site.api, display=display, approve=True)
    await journey.run()
    return machine, journey


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installed(rack: tuple[Rack, Site, Path], accel: Acceleration) -> Installed:
    """Both servers installed, seen to come up, and shut down by their power buttons."""
    async with asyncio.TaskGroup() as group:
        ways = [group.create_task(run_journey(rack, spec, accel)) for spec in (BIOS, UEFI)]
    machines = {machine.name: machine for machine, _ in (way.result() for way in ways)}
    journeys = {machine.name: journey for machine, journey in (way.result() for way in ways)}
    for journey in journeys.values():
        assert journey.progress.up, journey.progress.failed
    for machine in machines.values():
        await machine.press_power_button()
    for machine in machines.values():
        await machine.wait_off(POWER_OFF_TIMEOUT_S)
    return Installed(rack[1], machines, journeys)


@pytest.mark.parametrize("spec", [BIOS, UEFI], ids=lambda spec: spec.name)
async def test_history_of_an_installed_server_is_the_whole_way_in_order(
    installed: Installed, spec: MachineSpec
) -> None:
    task = await installed.task(spec.name)
    seen = [change.status for change in task.status_history]
    assert sorted(set(seen), key=WAY.index) == WAY
    assert seen == sorted(seen, key=WAY.index)
    times = [change.timestamp for change in task.status_history]
    assert times == sorted(times)
    steps = {step.step: step.percent for step in task.progress}
    stages = ["partitioning", "downloading", "installing", "configuring", "restarting"]
    assert list(steps) == stages
    assert steps["configuring"] == steps["restarting"] == 100


@pytest.mark.parametrize("spec", [BIOS, UEFI], ids=lambda spec: spec.name)
async def test_completion_of_an_installed_server_is_the_word_of_the_system_that_it_started(
    installed: Installed, spec: MachineSpec
) -> None:
    """The agent hands over, netboot leads to the disk, and only what starts there completes."""
    task = await installed.task(spec.name)
    completed_at = task.status_history[-1].timestamp
    assert task.handed_over_at is not None and task.handed_over_at < completed_at
    times = installed.journeys[spec.name].progress.times
    assert times["restarting"] == task.handed_over_at
    machine = installed.machines[spec.name]
    said = machine.console.log.read_text()
    places = [
        said.index(text)
        for text in (
            "installed; the machine starts its own disk",
            "LPMOS: booting the local disk",
            "LPMOS: telling the region at",
            "LPMOS: the region knows that this system came up",
        )
    ]
    assert places == sorted(places)
    assert not any("failed" in line for line in task.logs)
    for path in (first_boot.REQUEST, first_boot.SCRIPT, first_boot.UNIT, first_boot.WANTED):
        with pytest.raises(EvidenceMissing, match="is not in the root file system"):
            await evidence.read_file(machine.disk(), path)


@pytest.mark.parametrize("spec", [BIOS, UEFI], ids=lambda spec: spec.name)
async def test_disk_of_an_installed_server_has_the_planned_partitions(
    installed: Installed, spec: MachineSpec
) -> None:
    found = await evidence.partitions(installed.machines[spec.name].disk())
    assert [part.role for part in found] == ["bios_boot", "esp", "root"]
    assert [part.size_bytes for part in found[:2]] == [BIOS_BOOT_BYTES, ESP_BYTES]
    assert found[2].start_bytes + found[2].size_bytes > spec.disks[0].size_bytes - 4 * 1024**2


@pytest.mark.parametrize("spec", [BIOS, UEFI], ids=lambda spec: spec.name)
async def test_root_of_an_installed_server_is_the_asked_system(
    installed: Installed, spec: MachineSpec
) -> None:
    disk = installed.machines[spec.name].disk()
    assert (await evidence.read_file(disk, "/etc/hostname")).strip() == spec.name
    release = await evidence.os_release(disk)
    assert (release["ID"], release["VERSION_ID"]) == OS
    assert SSH_KEY in await evidence.read_file(disk, "/root/.ssh/authorized_keys")
    network = await evidence.read_file(disk, "/etc/systemd/network/10-lpmos.network")
    assert spec.mac in network and "DHCP=" in network


@pytest.mark.parametrize("spec", [BIOS, UEFI], ids=lambda spec: spec.name)
async def test_root_of_an_installed_server_has_what_the_setup_says_and_the_log_no_secret(
    installed: Installed, spec: MachineSpec
) -> None:
    disk = installed.machines[spec.name].disk()
    assert await evidence.read_file(disk, "/etc/of-the-command") == "for the command by root\n"
    assert f"alice:{PASSWORD_HASH}:" in await evidence.read_file(disk, "/etc/shadow")
    assert await evidence.read_file(disk, "/home/alice/.ssh/authorized_keys") == f"{SSH_KEY}\n"
    said = installed.machines[spec.name].console.log.read_text()
    assert "command 1 of 1" in said and "***" in said
    assert "for the command" not in said and PASSWORD_HASH not in said


@pytest.mark.parametrize("spec", [BIOS, UEFI], ids=lambda spec: spec.name)
async def test_esp_of_an_installed_server_has_the_loader_that_firmware_falls_back_to(
    installed: Installed, spec: MachineSpec
) -> None:
    """UEFI 2.10 section 3.5.1.1: so a disk boots also where the NVRAM was lost, or the firmware."""
    disk = installed.machines[spec.name].disk()
    loader = await evidence.read_esp_file(disk, "/EFI/BOOT/BOOTX64.EFI")
    assert loader.startswith(b"MZ")


async def test_second_netboot_of_a_completed_server_goes_to_its_own_disk(
    installed: Installed,
) -> None:
    """With UEFI; that BIOS does so too, the mirrored server shows."""
    machine = installed.machines[UEFI.name]
    before = await evidence.read_file(machine.disk(), "/etc/machine-id")
    history = (await installed.task(UEFI.name)).status_history

    await machine.power_on()
    await machine.console.wait_for("LPMOS: booting the local disk", NETBOOT_TIMEOUT_S)
    await machine.wait_up(UEFI.name, LOGIN_TIMEOUT_S)
    await machine.press_power_button()
    await machine.wait_off(POWER_OFF_TIMEOUT_S)

    assert await evidence.read_file(machine.disk(), "/etc/machine-id") == before
    assert before.strip() not in ("", "uninitialized")
    assert (await installed.task(UEFI.name)).status_history == history


async def test_disk_that_is_too_small_fails_the_task_and_stays_blank(
    rack: tuple[Rack, Site, Path], accel: Acceleration
) -> None:
    machine, journey = await run_journey(rack, TOO_SMALL, accel)
    await machine.power_off()
    task = journey.task
    assert task is not None
    assert task.status is Status.FAILED
    assert task.error is not None
    assert "/dev/vda: has 0.5 GiB, needs" in task.error.reason
    assert Status.INSTALLING not in [change.status for change in task.status_history]
    assert await evidence.is_blank(machine.disk())


async def test_server_that_loses_its_power_in_the_install_fails_and_is_not_installed_again(
    rack: tuple[Rack, Site, Path], accel: Acceleration
) -> None:
    network, site, directory = rack
    machine = await VirtualMachine.create(network, KILLED, directory=directory, accel=accel)
    task_id = (
        await site.api.create_task(new_task(site, KILLED.sn, KILLED.mac, KILLED.name))
    ).task_id

    async def waits_for_approval() -> bool:
        return (await site.api.task(task_id)).status is Status.PENDING_APPROVAL

    async def is_written() -> bool:
        words = (await site.api.task(task_id)).progress
        return bool(words) and words[-1].percent > UNDER_WAY_PERCENT

    async def has_failed() -> bool:
        return (await site.api.task(task_id)).status is Status.FAILED

    await machine.power_on()
    await until(waits_for_approval, NETBOOT_TIMEOUT_S)
    await site.api.approve(task_id, "")
    await until(is_written, NETBOOT_TIMEOUT_S)
    await machine.power_off()
    await machine.power_on()
    await until(has_failed, NETBOOT_TIMEOUT_S)
    await machine.console.wait_for("restarted in the middle of its installation", NETBOOT_TIMEOUT_S)
    await machine.power_off()
    task = await site.api.task(task_id)
    assert task.error is not None
    assert task.error.code == MACHINE_RESTARTED
    assert [change.status for change in task.status_history].count(Status.INSTALLING) == 1
