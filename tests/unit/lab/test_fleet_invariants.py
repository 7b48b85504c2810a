"""A run's check finds each thing that can be lost or done twice, and nothing where all is well."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.lab.api_client import TaskState
from lpmos.lab.fleet.invariants import SAID, Lived, breaches
from lpmos.lab.fleet.profiles import Fault
from lpmos.model.lifecycle import Status
from lpmos.model.task import StatusChange, TaskError
from tests.support.builders import NOW

WAY = (
    *(Status.PENDING, Status.READY, Status.BOOTING, Status.PENDING_APPROVAL, Status.APPROVED),
    Status.INSTALLING,
)


def task(end: Status, *way: Status) -> TaskState:
    statuses = (*(way or WAY), end)
    return TaskState(
        task_id="t",
        hostname="h",
        status=end,
        status_history=tuple(
            StatusChange(status=status, timestamp=NOW + timedelta(seconds=at))
            for at, status in enumerate(statuses)
        ),
        error=TaskError(reason="broken") if end is Status.FAILED else None,
    )


def lived(installs: int = 1, installed: int = 1, *faults: Fault, must_fail: bool = False) -> Lived:
    wrote = (("t", "DISK"),) * installs
    says = "runs its own system"
    return Lived("SN", frozenset(faults), must_fail, installs, installed, says, "DISK", wrote)


@pytest.mark.parametrize(
    ("found", "machine"),
    [
        (task(Status.COMPLETED), lived()),
        (task(Status.COMPLETED), lived(1, 1, Fault.LOSS)),
        (task(Status.FAILED), lived(1, 0, Fault.CRASH, must_fail=True)),
        (task(Status.COMPLETED, *WAY[:3], Status.BOOTING, *WAY[3:]), lived()),
    ],
)
def test_run_in_which_all_is_well_has_no_breach(found: TaskState, machine: Lived) -> None:
    assert breaches({"SN": found}, [machine]) == ()


@pytest.mark.parametrize(
    ("invariant", "found", "machine"),
    [
        ("every task ends", task(Status.INSTALLING, *WAY[:-1]), lived(1, 0)),
        ("nothing is installed twice", task(Status.COMPLETED), lived(2, 1)),
        ("completed is what was installed", task(Status.FAILED), lived(1, 1, must_fail=True)),
        ("completed is what was installed", task(Status.COMPLETED), lived(1, 0)),
        ("only what has to fail fails", task(Status.FAILED), lived(1, 0)),
        ("only what has to fail fails", task(Status.COMPLETED), lived(must_fail=True)),
        ("the history is complete", task(Status.COMPLETED, Status.PENDING), lived()),
    ],
)
def test_breach_is_named_alone(invariant: str, found: TaskState, machine: Lived) -> None:
    (breach,) = breaches({"SN": found}, [machine])
    assert (breach.invariant, breach.count) == (invariant, 1)
    assert "SN: " in breach.examples[0]


@pytest.mark.parametrize("wrote", [("t", "DISK-2"), ("t-2", "DISK")])
def test_write_to_another_disk_or_for_another_task_is_a_breach(wrote: tuple[str, str]) -> None:
    machine = msgspec.structs.replace(lived(), wrote=(wrote,))
    (breach,) = breaches({"SN": task(Status.COMPLETED)}, [machine])
    assert (breach.invariant, breach.count) == ("only its own disk is written", 1)
    assert f"disk {wrote[1]} for task {wrote[0]}" in breach.examples[0]


def test_lost_task_is_found_and_many_breaches_are_told_by_some() -> None:
    machines = [lived() for _ in range(20)]
    (breach,) = breaches({}, machines)
    assert (breach.invariant, breach.count, len(breach.examples)) == (
        "no task is lost",
        20,
        SAID,
    )
