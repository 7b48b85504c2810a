"""The states of a task and every step between them: all that decides a task's status is here.

`TRANSITIONS` is the only table. The diagram in `docs/reference/lifecycle.md` is drawn from it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from lpmos.model.errors import ImpossibleTransition


class Status(StrEnum):
    """Where a task is; `MEANING` says who may act in each."""

    PENDING = "pending"
    READY = "ready"
    BOOTING = "booting"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    INSTALLING = "installing"
    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Event(StrEnum):
    """What happened to a task."""

    PREPARED = "prepared"
    BOOT_REQUESTED = "boot_requested"
    HARDWARE_REPORTED = "hardware_reported"
    HARDWARE_CHANGED = "hardware_changed"
    APPROVE = "approve"
    REJECT = "reject"
    INSTALL_STARTED = "install_started"
    INSTALL_PROGRESSED = "install_progressed"
    INSTALL_FINISHED = "install_finished"
    CANCEL = "cancel"
    FAIL = "fail"


MEANING: Mapping[Status, str] = MappingProxyType(
    {
        Status.PENDING: "Created. The region has not prepared its boot files yet.",
        Status.READY: "The region answers this machine's netboot. Power it on.",
        Status.BOOTING: "The machine asked for its boot script; the agent is on its way.",
        Status.PENDING_APPROVAL: "The hardware is known. A person decides.",
        Status.APPROVED: "One install is allowed. The agent has not begun it.",
        Status.INSTALLING: "One agent run took the install and writes the disk, which starts next.",
        Status.COMPLETED: "Installed, and up where its image says so; it boots its own disk.",
        Status.REJECTED: "Refused at approval. Nothing was written.",
        Status.CANCELLED: "Stopped by an operator.",
        Status.FAILED: "Ended by an error; the task says which command and why.",
    }
)

_OF_JOBS: Mapping[Status, str] = MappingProxyType(
    {
        Status.APPROVED: "The job may be done once. The agent has not begun it.",
        Status.INSTALLING: "One agent run took the job and does its steps.",
        Status.COMPLETED: "Every step passed; the machine is what it was before, but for the plan.",
        Status.REJECTED: "Refused at approval. Nothing was done.",
        Status.FAILED: "Ended by an error; the results say which step and why.",
    }
)


def meaning(status: Status, *, is_job: bool = False) -> str:
    """What a status says, of an install or of a job."""
    return _OF_JOBS.get(status, MEANING[status]) if is_job else MEANING[status]


FINAL: frozenset[Status] = frozenset(
    {Status.COMPLETED, Status.REJECTED, Status.CANCELLED, Status.FAILED}
)

_S, _E = Status, Event
_STEPS: dict[tuple[Status, Event], Status] = {
    (_S.PENDING, _E.PREPARED): _S.READY,
    (_S.READY, _E.BOOT_REQUESTED): _S.BOOTING,
    # A machine may ask again (a reset, a second NIC): it boots the agent again.
    (_S.BOOTING, _E.BOOT_REQUESTED): _S.BOOTING,
    (_S.PENDING_APPROVAL, _E.BOOT_REQUESTED): _S.PENDING_APPROVAL,
    (_S.APPROVED, _E.BOOT_REQUESTED): _S.APPROVED,
    # An agent that waits in discovery reports to a task that was made later, without a new boot.
    (_S.READY, _E.HARDWARE_REPORTED): _S.PENDING_APPROVAL,
    (_S.BOOTING, _E.HARDWARE_REPORTED): _S.PENDING_APPROVAL,
    (_S.PENDING_APPROVAL, _E.HARDWARE_REPORTED): _S.PENDING_APPROVAL,
    (_S.APPROVED, _E.HARDWARE_REPORTED): _S.APPROVED,
    # What was approved is other hardware: nothing of it is written before somebody has seen this.
    (_S.APPROVED, _E.HARDWARE_CHANGED): _S.PENDING_APPROVAL,
    (_S.PENDING_APPROVAL, _E.APPROVE): _S.APPROVED,
    (_S.PENDING_APPROVAL, _E.REJECT): _S.REJECTED,
    (_S.APPROVED, _E.INSTALL_STARTED): _S.INSTALLING,
    (_S.INSTALLING, _E.INSTALL_PROGRESSED): _S.INSTALLING,
    (_S.INSTALLING, _E.INSTALL_FINISHED): _S.COMPLETED,
}
for _status in Status:
    if _status not in FINAL:
        _STEPS[_status, Event.CANCEL] = Status.CANCELLED
        _STEPS[_status, Event.FAIL] = Status.FAILED

TRANSITIONS: Mapping[tuple[Status, Event], Status] = MappingProxyType(_STEPS)


_WORDS: Mapping[Event, str] = MappingProxyType(
    {
        Event.PREPARED: "be made ready",
        Event.BOOT_REQUESTED: "be booted",
        Event.HARDWARE_REPORTED: "take a hardware report",
        Event.HARDWARE_CHANGED: "have its approval withdrawn",
        Event.APPROVE: "be approved",
        Event.REJECT: "be rejected",
        Event.INSTALL_STARTED: "begin to install",
        Event.INSTALL_PROGRESSED: "go on installing",
        Event.INSTALL_FINISHED: "be completed",
        Event.CANCEL: "be cancelled",
        Event.FAIL: "fail",
    }
)
_PEOPLES = (Event.APPROVE, Event.REJECT, Event.CANCEL)
"""What people do; the rest happens."""


def advance(status: Status, event: Event) -> Status:
    """The state after `event`.

    Raises:
        ImpossibleTransition: the table has no such step; the text names what a person can do.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        possible = [_WORDS[e] for e in _PEOPLES if (status, e) in TRANSITIONS]
        rest = f"it can {' or '.join(possible)}" if possible else "it is over"
        raise ImpossibleTransition(
            f"a task that is {status.value} cannot {_WORDS[event]}; {rest}"
        ) from None


def diagram() -> str:
    """The table as a Mermaid state diagram; the steps that end a task from anywhere are grouped."""
    lines = ["stateDiagram-v2", "    [*] --> pending"]
    lines += [
        f"    {before.value} --> {after.value}: {event.value}"
        for (before, event), after in TRANSITIONS.items()
        if event not in (Event.CANCEL, Event.FAIL)
    ]
    for event, after in ((Event.CANCEL, Status.CANCELLED), (Event.FAIL, Status.FAILED)):
        lines += [
            f"    {before.value} --> {after.value}: {event.value}"
            for before in Status
            if (before, event) in TRANSITIONS
        ]
    lines += [f"    {status.value} --> [*]" for status in Status if status in FINAL]
    return "\n".join(lines) + "\n"
