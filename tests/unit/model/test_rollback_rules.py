"""What a machine can be given back to, by what was written and where its system is."""

from typing import Any

import msgspec
import pytest

from lpmos.model.bootplan import BootAgent, BootLocalDisk, UnknownMachines, decide
from lpmos.model.diskplan import DiskPlan, Member
from lpmos.model.errors import Conflict, ImpossibleTransition
from lpmos.model.job import Job, TakeInventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, InstalledDisk, Machine
from lpmos.model.rollback import POSSIBLE, disks_of, next_boot, previous_generation
from lpmos.model.task import RolledBack, StatusChange, Task
from tests.support.builders import MAC, NOW, make_task

PLAN = DiskPlan(
    device="/dev/sdb", size_bytes=1, serial="NEW", wwn="0x2", partitions=(), overwrites=()
)


def ended(*through: Status, status: Status = Status.FAILED, **fields: Any) -> Task:
    history = tuple(StatusChange(status=each, timestamp=NOW) for each in (*through, status))
    return make_task(**{"status": status, "status_history": history, "plan": PLAN, **fields})


def machine(**disk: Any) -> Machine:
    """A machine with generation 3 on the disk that is given; without one, nobody knows where."""
    installed = Installed(
        generation=3,
        task_id="t",
        os_type="debian",
        os_version="12",
        installed_at=NOW,
        disk=InstalledDisk(**disk) if disk else None,
    )
    return Machine(
        idc="dc1", sn="SN-1", macs=(MAC,), installed=installed, first_seen_at=NOW, updated_at=NOW
    )


BARE = msgspec.structs.replace(machine(), installed=None)


@pytest.mark.parametrize("status", sorted(POSSIBLE))
@pytest.mark.parametrize("last", [Status.PENDING, Status.BOOTING, Status.APPROVED])
def test_untouched_machine_has_what_it_had(last: Status, status: Status) -> None:
    task = ended(last, status=status)
    assert previous_generation(task, machine(device="/dev/sdb", serial="NEW")) == 3
    assert previous_generation(task, BARE) is None
    assert previous_generation(task, None) is None


@pytest.mark.parametrize(
    "disk",
    [
        {"device": "/dev/sda", "wwn": "0x1"},
        {"device": "/dev/sdb", "wwn": "0x1"},
        {"device": "/dev/sda", "serial": "OLD"},
    ],
)
def test_system_on_another_disk_is_still_there(disk: dict[str, str]) -> None:
    assert previous_generation(ended(Status.INSTALLING), machine(**disk)) == 3


@pytest.mark.parametrize(
    "disk",
    [
        {"device": "/dev/sdb", "wwn": "0x2"},
        {"device": "/dev/sda", "wwn": "0x2"},
        {"device": "/dev/sda", "serial": "NEW"},
        {"device": "/dev/sda"},
        {},
    ],
)
def test_system_on_the_written_disk_is_gone(disk: dict[str, str]) -> None:
    with pytest.raises(Conflict, match=r"generation 3 \(debian 12\).*gone; try the task again"):
        previous_generation(ended(Status.INSTALLING), machine(**disk))


def test_system_on_any_disk_of_those_that_were_written_is_gone() -> None:
    plan = msgspec.structs.replace(
        PLAN, members=(Member(device="/dev/sdc", size_bytes=1, serial="SECOND"),)
    )
    task = ended(Status.INSTALLING, plan=plan)
    assert previous_generation(task, machine(device="/dev/sda", serial="OLD")) == 3
    with pytest.raises(Conflict, match="/dev/sdb, /dev/sdc were being written"):
        previous_generation(task, machine(device="/dev/sda", serial="SECOND"))
    mirrored = machine(device="/dev/sda", serial="OLD")
    assert mirrored.installed is not None
    second = msgspec.structs.replace(mirrored.installed, members=disks_of(PLAN))
    with pytest.raises(Conflict, match="it is gone"):
        previous_generation(task, msgspec.structs.replace(mirrored, installed=second))


def test_blank_disk_that_was_written_leaves_a_machine_without_a_task() -> None:
    assert previous_generation(ended(Status.INSTALLING), BARE) is None


def test_foreign_system_on_the_written_disk_is_gone() -> None:
    plan = msgspec.structs.replace(PLAN, overwrites=("ntfs on sdb1",))
    with pytest.raises(Conflict, match="held ntfs on sdb1: that is gone"):
        previous_generation(ended(Status.INSTALLING, plan=plan), BARE)


@pytest.mark.parametrize("status", sorted(set(Status) - POSSIBLE))
def test_task_that_did_not_come_to_nothing_cannot_be_rolled_back(status: Status) -> None:
    with pytest.raises(ImpossibleTransition, match=r"possible for those that are failed"):
        previous_generation(make_task(status=status), BARE)


@pytest.mark.parametrize("policy", UnknownMachines)
def test_next_boot_is_as_if_the_task_had_never_been(policy: UnknownMachines) -> None:
    task = make_task(status=Status.FAILED, rolled_back=RolledBack(by="boss", at=NOW))
    assert isinstance(decide(machine(), task, policy), BootLocalDisk)
    assert decide(BARE, task, policy) == decide(BARE, None, policy)
    assert isinstance(decide(BARE, task, UnknownMachines.DISCOVER), BootAgent)


@pytest.mark.parametrize("status", sorted(POSSIBLE))
def test_nothing_is_given_back_after_the_hand_over(status: Status) -> None:
    """The new system is whole: nobody can say which one firmware finds first."""
    task = ended(Status.INSTALLING, status=status, handed_over_at=NOW)
    for known in (machine(device="/dev/sdb", serial="NEW"), machine(), BARE, None):
        with pytest.raises(Conflict, match="holds the new system"):
            previous_generation(task, known)


def test_next_boot_is_said_in_words() -> None:
    assert next_boot(RolledBack(by="boss", at=NOW, generation=3)).endswith("generation 3")
    assert "without a task" in next_boot(RolledBack(by="boss", at=NOW))


def test_job_has_nothing_to_give_back() -> None:
    job = Job(steps=(TakeInventory(),))
    task = make_task(status=Status.FAILED, os_type="job", job=job)
    with pytest.raises(Conflict, match="leaves the machine what it was"):
        previous_generation(task, None)
