"""What a machine that netboots is told, for every state."""

from datetime import UTC, datetime

import msgspec
import pytest

from lpmos.model.bootplan import (
    BootAgent,
    BootInstaller,
    BootLocalDisk,
    UnknownMachines,
    Wait,
    decide,
)
from lpmos.model.installer import Handover
from lpmos.model.inventory import Nic
from lpmos.model.job import Job, TakeInventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, Machine
from lpmos.model.task import Task
from tests.support.builders import MAC, make_inventory, make_task

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DISCOVER, LOCAL = UnknownMachines
MACHINE = Machine(idc="dc1", sn="SN-1", macs=(MAC,), first_seen_at=NOW, updated_at=NOW)
INSTALLED = msgspec.structs.replace(
    MACHINE,
    installed=Installed(
        generation=1, task_id="t", os_type="debian", os_version="12", installed_at=NOW
    ),
)

EXPECTED = {
    Status.PENDING: Wait,
    Status.READY: BootAgent,
    Status.BOOTING: BootAgent,
    Status.PENDING_APPROVAL: BootAgent,
    Status.APPROVED: BootAgent,
    Status.INSTALLING: BootAgent,
    Status.COMPLETED: BootLocalDisk,
    Status.REJECTED: BootLocalDisk,
    Status.CANCELLED: BootLocalDisk,
    Status.FAILED: BootLocalDisk,
}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("machine", [None, MACHINE, INSTALLED])
@pytest.mark.parametrize("unknown", UnknownMachines)
def test_decide_with_a_task_follows_its_state_alone(
    status: Status, machine: Machine | None, unknown: UnknownMachines
) -> None:
    assert isinstance(decide(MAC, machine, make_task(status=status), unknown), EXPECTED[status])


@pytest.mark.parametrize("machine", [None, MACHINE, INSTALLED])
@pytest.mark.parametrize("unknown", UnknownMachines)
@pytest.mark.parametrize("status", [Status.INSTALLING, Status.CANCELLED, Status.FAILED])
def test_decide_after_the_hand_over_is_the_disk_whatever_becomes_of_the_task(
    machine: Machine | None, unknown: UnknownMachines, status: Status
) -> None:
    task = make_task(status=status, handed_over_at=NOW)
    assert isinstance(decide(MAC, machine, task, unknown), BootLocalDisk)


@pytest.mark.parametrize("machine", [None, MACHINE, INSTALLED])
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize(
    "handover",
    [
        Handover(by="kexec", at=NOW),
        Handover(by="restart", at=NOW),
        Handover(by="restart", at=NOW, script_at=NOW),
    ],
)
def test_decide_gives_the_installer_only_while_it_is_installed_and_its_one_script_waits(
    machine: Machine | None, status: Status, handover: Handover
) -> None:
    plan = decide(MAC, machine, make_task(status=status, handover=handover), DISCOVER)
    waits = status is Status.INSTALLING and handover == Handover(by="restart", at=NOW)
    assert isinstance(plan, BootInstaller if waits else EXPECTED[status])


def test_decide_gives_the_installer_to_the_cards_of_its_machine_alone() -> None:
    nics = (Nic(interface="eth0", mac=MAC), Nic(interface="eth1", mac="52:54:00:00:00:0A"))
    hardware = make_inventory(nics=nics)
    task = make_task(
        status=Status.INSTALLING, handover=Handover(by="restart", at=NOW), hardware=hardware
    )
    for mac in (MAC, "52:54:00:00:00:0a"):
        assert isinstance(decide(mac, MACHINE, task, DISCOVER), BootInstaller)
    other = decide("52:54:00:00:00:99", MACHINE, task, DISCOVER)
    assert isinstance(other, Wait) and "52:54:00:00:00:99 is no card" in other.reason


def test_decide_once_the_installer_is_done_is_the_disk() -> None:
    handover = Handover(by="restart", at=NOW)
    task = make_task(status=Status.INSTALLING, handover=handover, handed_over_at=NOW)
    assert isinstance(decide(MAC, MACHINE, task, DISCOVER), BootLocalDisk)


def test_decide_without_a_task_an_installed_machine_boots_its_disk() -> None:
    assert isinstance(decide(MAC, INSTALLED, None, DISCOVER), BootLocalDisk)


def test_local_disk_is_that_of_the_task_which_installed_it() -> None:
    def installer(machine: Machine, task: Task | None) -> str | None:
        plan = decide(MAC, machine, task, DISCOVER)
        assert isinstance(plan, BootLocalDisk)
        return plan.installed_by

    assert INSTALLED.installed is not None
    before = INSTALLED.installed.task_id
    done = make_task(status=Status.COMPLETED, task_id="t-2")
    assert installer(INSTALLED, done) == installer(MACHINE, done) == "t-2"
    assert installer(INSTALLED, None) == before
    failed = make_task(status=Status.FAILED, task_id="t-2")
    assert (installer(INSTALLED, failed), installer(MACHINE, failed)) == (before, None)


def test_decide_without_a_task_an_unknown_machine_follows_the_policy() -> None:
    assert decide(MAC, None, None, DISCOVER) == BootAgent(
        None, "no task yet: the agent reports its hardware and waits"
    )
    assert isinstance(decide(MAC, None, None, LOCAL), BootLocalDisk)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_decide_after_a_job_is_what_the_machine_did_before(status: Status) -> None:
    task = make_task(status=status, os_type="job", job=Job(steps=(TakeInventory(),)))
    assert isinstance(decide(MAC, INSTALLED, task, DISCOVER), BootLocalDisk)
    assert isinstance(decide(MAC, MACHINE, task, DISCOVER), BootAgent)
    assert isinstance(decide(MAC, MACHINE, task, LOCAL), BootLocalDisk)
