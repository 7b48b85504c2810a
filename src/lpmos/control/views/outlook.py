"""What a task waits for, and why one failed: words that its document alone decides."""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.model.installer import Handover
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task

Who = Literal["region", "machine", "person"]

_WAITS: dict[Status, tuple[Who, str]] = {
    Status.PENDING: ("region", "The region {idc} prepares the boot files."),
    Status.READY: ("machine", "The machine has to boot from the network: power it on."),
    Status.BOOTING: ("machine", "The machine loads the agent, which then reports the hardware."),
    Status.PENDING_APPROVAL: ("person", "Somebody has to approve or reject what will be done."),
    Status.APPROVED: ("machine", "The agent has to begin the installation."),
    Status.INSTALLING: ("machine", "The agent is installing{step}."),
}
_OF_JOBS: dict[Status, str] = {
    Status.APPROVED: "The agent has to begin the job.",
    Status.INSTALLING: "The agent does the steps of the job.",
}
_INSTALLER_DUE = "The machine has to boot from the network: its next script is the installer's."
_INSTALLER = "The installer of {os} is at work{step}."
_STARTS = "The machine starts the installed system, which then says that it came up."
_TO_DO: dict[Status, str] = {
    Status.PENDING: "See what the region says of itself, then try the task again.",
    Status.READY: "Try the task again, and power the machine on.",
    Status.BOOTING: "Look at the machine's console, then try the task again.",
    Status.PENDING_APPROVAL: "Read the reason, repair what it names, then try the task again.",
    Status.APPROVED: "Look at the machine's console, then try the task again.",
    Status.INSTALLING: "Read the command's output and the log. The disk may be half written: repair"
    " the cause, then try the task again.",
}


class WaitsFor(msgspec.Struct, frozen=True, kw_only=True):
    """Who has to do something next, what, and since when that is so."""

    who: Who
    what: str
    since: datetime


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task failed and why; `what_to_do` is the agent's hint, or what is usual there.

    `during` is the status that it was in, `stage` the step of the install, null before one.
    """

    at: datetime
    during: Status
    stage: str | None
    percentage: float
    reason: str
    command: str | None
    output: str | None
    what_to_do: str


def waits_for(task: Task) -> WaitsFor | None:
    """Who is to act next; None where the task is over."""
    if task.status not in _WAITS:
        return None
    if task.job is not None and task.status in _OF_JOBS:
        what = _OF_JOBS[task.status]
        said = f" {task.progress[-1].message}." if task.progress else ""
        return WaitsFor(who="machine", what=f"{what}{said}", since=task.since)
    if task.handed_over_at is not None:
        return WaitsFor(who="machine", what=_STARTS, since=task.handed_over_at)
    if task.status is Status.INSTALLING and task.handover is not None:
        return _waits_for_installer(task, task.handover)
    who, what = _WAITS[task.status]
    return WaitsFor(who=who, what=what.format(idc=task.idc, step=_step(task)), since=task.since)


def _waits_for_installer(task: Task, handover: Handover) -> WaitsFor:
    """Its agent is gone for good."""
    if handover.script_waits:
        return WaitsFor(who="machine", what=_INSTALLER_DUE, since=handover.at)
    what = _INSTALLER.format(os=f"{task.os_type} {task.os_version}", step=_step(task))
    return WaitsFor(who="machine", what=what, since=handover.script_at or handover.at)


def _step(task: Task) -> str:
    return f": {task.progress[-1].step}, {task.percent:.0f} %" if task.progress else ""


def failure(task: Task) -> Failure | None:
    """Why the task failed; None where it did not."""
    error = task.error
    if task.status is not Status.FAILED or error is None:
        return None
    before = [change.status for change in task.status_history if change.status is not task.status]
    during = before[-1] if before else Status.PENDING
    return Failure(
        at=task.since,
        during=during,
        stage=task.progress[-1].step if task.progress else None,
        percentage=task.percent,
        reason=error.reason,
        command=error.command,
        output=error.output,
        what_to_do=error.hint or _TO_DO[during],
    )
