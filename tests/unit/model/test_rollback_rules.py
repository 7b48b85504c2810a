"""What a machine can be given back to, by what was written and where its system is."""

from typing import Any

import msgspec
import pytest

from lpmos.agent import jobs
from lpmos.model.bootplan import BootAgent, BootLocalDisk, UnknownMachines, decide
from lpmos.model.diskplan import DiskPlan, Member, RootDiskHints
from lpmos.model.errors import Conflict, ImpossibleTransition
from lpmos.model.job import (
    DiskErase,
    DiskTest,
    Job,
    JobPlan,
    PlannedStep,
    StepResult,
    TakeInventory,
)
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, InstalledDisk, Machine
from lpmos.model.rollback import (
    MOST_PERCENT,
    POSSIBLE,
    disks_of,
    lost_to,
    next_boot,
    previous_generation,
)
from lpmos.model.task import Progress, RolledBack, StatusChange, Task
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
    assert isinstance(decide(MAC, machine(), task, policy), BootLocalDisk)
    assert decide(MAC, BARE, task, policy) == decide(MAC, BARE, None, policy)
    assert isinstance(decide(MAC, BARE, task, UnknownMachines.DISCOVER), BootAgent)


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
    with pytest.raises(Conflict, match="installs nothing"):
        previous_generation(task, None)


SYSTEM_DISK = Member(device="/dev/sda", size_bytes=1, serial="OLD", wwn="0x1")
OTHER_DISK = Member(device="/dev/sdb", size_bytes=1, serial="NEW", wwn="0x2")
READ_STEP = PlannedStep(asked=DiskTest(), devices=("/dev/sda", "/dev/sdb"))
RESULT = StepResult(step="disk_test", outcome="passed", seconds=1, summary="read")


def erasing(*devices: str) -> PlannedStep:
    named = tuple(RootDiskHints(serial=device) for device in devices)
    return PlannedStep(asked=DiskErase(disks=named), devices=devices, writes=True)


def job(*steps: PlannedStep, **fields: Any) -> Task:
    plan = JobPlan(steps=steps, disks=(SYSTEM_DISK, OTHER_DISK))
    asked = Job(steps=tuple(step.asked for step in steps))
    fields = {"os_type": "job", "job": asked, "job_plan": plan, "plan": None, **fields}
    return ended(Status.INSTALLING, **fields)


SYSTEM = machine(device="/dev/sdz", wwn="0x1").installed


FAILED = msgspec.structs.replace(RESULT, outcome="failed")


def at(percent: float) -> tuple[Progress, ...]:
    """The newest word of a job."""
    return (Progress(step="job", percent=percent, timestamp=NOW),)


@pytest.mark.parametrize(
    ("steps", "percent", "results", "lost"),
    [
        ([erasing("/dev/sda")], 0, (), False),
        ([erasing("/dev/sda")], 0, (FAILED,), False),
        ([erasing("/dev/sda")], 0.01, (), True),
        ([erasing("/dev/sda")], 0.01, (FAILED,), True),
        ([erasing("/dev/sda")], 99, (RESULT,), True),
        ([erasing("/dev/sdb", "/dev/sda")], 0.01, (), True),
        ([erasing("/dev/sdb")], 0.01, (), False),
        ([READ_STEP], 99, (RESULT,), False),
        ([READ_STEP, erasing("/dev/sda")], 30, (), False),
        ([READ_STEP, erasing("/dev/sda")], 30, (FAILED,), False),
        ([READ_STEP, erasing("/dev/sda")], 49.5, (RESULT,), False),
        ([READ_STEP, erasing("/dev/sda")], 49.5, (RESULT, FAILED), False),
        ([READ_STEP, erasing("/dev/sda")], 49.51, (RESULT,), True),
        ([erasing("/dev/sda"), READ_STEP], 49.5, (RESULT,), True),
        ([erasing("/dev/sda"), READ_STEP], 99, (RESULT, RESULT), True),
    ],
)
def test_system_is_lost_to_a_step_that_said_it_writes_to_its_disk(
    steps: list[PlannedStep], percent: float, results: tuple[StepResult, ...], lost: bool
) -> None:
    assert SYSTEM is not None
    assert lost_to(job(*steps, results=results, progress=at(percent)), SYSTEM) is lost


def test_job_that_was_claimed_and_said_nothing_has_lost_nothing() -> None:
    assert SYSTEM is not None
    assert not lost_to(job(erasing("/dev/sda")), SYSTEM)


def test_percent_of_steps_is_counted_as_the_agent_does() -> None:
    assert MOST_PERCENT == jobs.MOST_PERCENT


@pytest.mark.parametrize(
    ("disk", "lost"),
    [
        ({"device": "/dev/sdz", "wwn": "0x1"}, True),
        ({"device": "/dev/sdz", "serial": "OLD"}, True),
        ({"device": "/dev/sdz", "serial": "OLD", "wwn": "0x2"}, False),
        ({"device": "/dev/sda", "wwn": "0x2"}, False),
        ({"device": "/dev/sda", "serial": "NEW"}, False),
        ({"device": "/dev/sda"}, True),
        ({"device": "/dev/sdz"}, False),
    ],
)
def test_system_is_lost_to_a_job_that_writes_to_its_disk_by_what_can_be_compared(
    disk: dict[str, str], lost: bool
) -> None:
    system = machine(**disk).installed
    assert system is not None
    assert lost_to(job(erasing("/dev/sda"), progress=at(50)), system) is lost


@pytest.mark.parametrize(("device", "lost"), [("/dev/vda", True), ("/dev/vdb", False)])
def test_system_on_a_disk_without_serials_is_lost_with_its_device(device: str, lost: bool) -> None:
    plan = JobPlan(
        steps=(erasing("/dev/vda"),),
        disks=(Member(device="/dev/vda", size_bytes=1), Member(device="/dev/vdb", size_bytes=1)),
    )
    system = machine(device=device).installed
    assert system is not None
    assert lost_to(job(erasing("/dev/vda"), job_plan=plan, progress=at(50)), system) is lost


def test_system_is_lost_to_a_job_with_any_of_its_disks() -> None:
    assert SYSTEM is not None
    mirrored = msgspec.structs.replace(
        SYSTEM, members=(InstalledDisk(device="/dev/sdb", wwn="0x2"),)
    )
    assert lost_to(job(erasing("/dev/sdb"), progress=at(50)), mirrored)


def test_system_of_which_nothing_can_be_said_is_not_lost_to_a_job() -> None:
    unknown = machine().installed
    assert SYSTEM is not None and unknown is not None
    writing = job(erasing("/dev/sda"), progress=at(50))
    assert not lost_to(writing, unknown)
    never_claimed = msgspec.structs.replace(writing, status_history=())
    assert not lost_to(never_claimed, SYSTEM)
