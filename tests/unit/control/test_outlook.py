"""What a task waits for, since when, and where a failed one went wrong."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.control.views.outlook import failure, waits_for
from lpmos.core.taskstore import moved
from lpmos.model.installer import Handover
from lpmos.model.lifecycle import FINAL, Event, Status
from lpmos.model.task import Progress, Task, TaskError
from tests.support.builders import NOW, make_task

LATER = NOW + timedelta(minutes=5)
ERROR = TaskError(reason="boom", command="sgdisk /dev/vda", output="no such device")


def _failed(task: Task, error: TaskError = ERROR) -> Task:
    return moved(task, Event.FAIL, LATER, error=error)


@pytest.mark.parametrize("status", Status)
def test_waits_for_somebody_until_it_is_over(status: Status) -> None:
    found = waits_for(make_task(status=status))
    assert (found is None) == (status in FINAL)
    assert found is None or (found.since == NOW and found.what.endswith("."))


def test_waits_for_a_person_where_it_has_to_be_approved() -> None:
    found = waits_for(make_task(status=Status.PENDING_APPROVAL))
    assert found is not None and found.who == "person"


def test_waits_for_the_installation_at_its_step() -> None:
    step = Progress(step="downloading", percent=42.4, timestamp=NOW)
    found = waits_for(make_task(status=Status.INSTALLING, progress=(step,)))
    assert found is not None and found.what == "The agent is installing: downloading, 42 %."


def test_waits_for_the_installer_and_not_for_the_agent_that_is_gone() -> None:
    step = Progress(step="configuring", percent=80, timestamp=LATER)
    handover = Handover(by="kexec", at=LATER)
    task = make_task(status=Status.INSTALLING, progress=(step,), handover=handover)
    found = waits_for(task)
    assert found is not None and found.since == LATER
    assert found.what == "The installer of debian 12 is at work: configuring, 80 %."


def test_waits_for_the_boot_that_starts_the_installer_until_its_script_was_sent() -> None:
    due = Handover(by="restart", at=NOW)
    found = waits_for(make_task(status=Status.INSTALLING, handover=due))
    assert found is not None and "boot from the network" in found.what
    sent = msgspec.structs.replace(due, script_at=LATER)
    found = waits_for(make_task(status=Status.INSTALLING, handover=sent))
    assert found is not None and "is at work" in found.what and found.since == LATER


def test_waits_since_the_first_of_equal_statuses_in_a_row() -> None:
    booting = moved(make_task(status=Status.READY), Event.BOOT_REQUESTED, NOW)
    again = moved(booting, Event.BOOT_REQUESTED, LATER)
    found = waits_for(again)
    assert found is not None and found.since == NOW


def test_failure_names_the_step_the_command_and_what_to_do() -> None:
    step = Progress(step="partitioning", percent=3.0, timestamp=NOW)
    found = failure(_failed(make_task(status=Status.INSTALLING, progress=(step,))))
    assert found is not None
    assert (found.during, found.stage, found.percentage, found.at) == (
        Status.INSTALLING,
        "partitioning",
        3.0,
        LATER,
    )
    assert (found.reason, found.command, found.output) == (
        ERROR.reason,
        ERROR.command,
        ERROR.output,
    )
    assert "try the task again" in found.what_to_do


def test_failure_takes_the_agents_hint_for_what_to_do() -> None:
    error = msgspec.structs.replace(ERROR, hint="replace the disk")
    found = failure(_failed(make_task(status=Status.BOOTING), error))
    assert found is not None
    assert (found.what_to_do, found.stage) == ("replace the disk", None)


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_failure_in_every_status_says_what_to_do(status: Status) -> None:
    found = failure(_failed(make_task(status=status)))
    assert found is not None and found.during is status and found.what_to_do


def test_failure_is_none_of_a_task_that_did_not_fail() -> None:
    assert failure(make_task()) is None
