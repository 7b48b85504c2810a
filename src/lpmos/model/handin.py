"""What becomes of a word that a region kept while the store was away, when it is handed in (F2).

`RULES` is the whole rule. It follows from three sentences: what people decided meanwhile stands;
what a machine did under an approval that its region had is told as it happened, at its own times;
nothing is ever assumed to have been approved. docs/explanation/offline-region.md shows the table.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from lpmos.model.lifecycle import Status
from lpmos.model.task import Task


class Word(StrEnum):
    """The kinds of what is kept."""

    PREPARED = "prepared"
    GIVEN_UP = "given-up"
    BOOTED = "booted"
    REPORTED = "reported"
    CLAIMED = "claimed"
    PROGRESSED = "progressed"
    FAILED = "failed"
    HANDED_OVER = "handed-over"
    CAME_UP = "came-up"
    INSTALLER_BEGINS = "installer-begins"
    INSTALLER_SCRIPT = "installer-script"


class Found(StrEnum):
    """What the store has of the task that a kept word is about."""

    GONE = "gone"
    SUPERSEDED = "superseded"
    OTHER_MACHINE = "other machine"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    TASK_FAILED = "failed"
    COMPLETED = "completed"
    OTHER_RUN = "other run"
    BEGUN_SINCE = "begun since"
    UNDECIDED = "undecided"
    APPROVED = "approved"
    INSTALLING = "installing"


class Verdict(StrEnum):
    """What to do with the word.

    `apply`: it is applied as if it came now, with the time at which it was said. `settle`: the
    store says so already, or nothing follows from it any more. `refuse`: it contradicts what was
    decided; the audit log keeps it with the reason.
    """

    APPLY = "apply"
    SETTLE = "settle"
    REFUSE = "refuse"


REASONS: Mapping[Found, str] = MappingProxyType(
    {
        Found.GONE: "the task was deleted meanwhile",
        Found.SUPERSEDED: "the machine has a newer task",
        Found.OTHER_MACHINE: "the task belongs to another machine now",
        Found.CANCELLED: "the task was cancelled meanwhile",
        Found.REJECTED: "the task was rejected meanwhile",
        Found.TASK_FAILED: "the task has failed meanwhile",
        Found.COMPLETED: "the task is completed already",
        Found.OTHER_RUN: "another agent run has the install",
        Found.BEGUN_SINCE: "another agent run has begun the install since",
        Found.UNDECIDED: "the task is not approved",
        Found.APPROVED: "the install was not claimed",
        Found.INSTALLING: "the install has begun",
    }
)

_A, _S, _R = Verdict.APPLY, Verdict.SETTLE, Verdict.REFUSE
_COLUMNS = (
    *(Word.PREPARED, Word.GIVEN_UP, Word.BOOTED, Word.REPORTED),
    *(Word.CLAIMED, Word.PROGRESSED, Word.FAILED, Word.HANDED_OVER, Word.CAME_UP),
    *(Word.INSTALLER_BEGINS, Word.INSTALLER_SCRIPT),
)
_ROWS: dict[Found, tuple[Verdict, ...]] = {
    # a report without a task is kept for people (S7)
    Found.GONE: (_S, _S, _S, _A, _R, _R, _R, _R, _R, _R, _S),
    Found.SUPERSEDED: (_S, _S, _S, _R, _R, _R, _R, _R, _R, _R, _S),
    Found.OTHER_MACHINE: (_S, _S, _S, _A, _R, _R, _R, _R, _R, _R, _S),
    Found.CANCELLED: (_S, _S, _S, _R, _R, _R, _R, _R, _R, _R, _S),
    Found.REJECTED: (_S, _S, _S, _R, _R, _R, _R, _R, _R, _R, _S),
    # a system that came up after its deadline: it is noted, the task stays failed
    Found.TASK_FAILED: (_S, _S, _S, _R, _R, _R, _S, _R, _A, _R, _S),
    Found.COMPLETED: (_S, _S, _S, _R, _S, _S, _R, _S, _S, _S, _S),
    # the report of another run: it was restarted
    Found.OTHER_RUN: (_S, _S, _S, _A, _R, _R, _R, _R, _R, _R, _S),
    # an older run's: it tells of no restart
    Found.BEGUN_SINCE: (_S, _S, _S, _S, _R, _R, _R, _R, _R, _R, _S),
    Found.UNDECIDED: (_A, _A, _A, _A, _R, _R, _A, _R, _R, _R, _S),
    Found.APPROVED: (_S, _A, _S, _A, _A, _A, _A, _A, _R, _A, _S),
    Found.INSTALLING: (_S, _S, _S, _A, _S, _A, _A, _A, _A, _A, _A),
}
RULES: Mapping[tuple[Word, Found], Verdict] = MappingProxyType(
    {
        (word, found): verdict
        for found, row in _ROWS.items()
        for word, verdict in zip(_COLUMNS, row, strict=True)
    }
)

_BY_STATUS: Mapping[Status, Found] = MappingProxyType(
    {
        Status.PENDING: Found.UNDECIDED,
        Status.READY: Found.UNDECIDED,
        Status.BOOTING: Found.UNDECIDED,
        Status.PENDING_APPROVAL: Found.UNDECIDED,
        Status.APPROVED: Found.APPROVED,
        Status.INSTALLING: Found.INSTALLING,
        Status.COMPLETED: Found.COMPLETED,
        Status.REJECTED: Found.REJECTED,
        Status.CANCELLED: Found.CANCELLED,
        Status.FAILED: Found.TASK_FAILED,
    }
)


def found(task: Task | None, *, task_id: str, own: bool, agent_id: str, said_at: datetime) -> Found:
    """How the store's task stands to a kept word.

    Args:
        task: the present task of the machine, None where it has none.
        task_id: which task the word is about.
        own: whether the machine that spoke is the task's.
        agent_id: the agent run that spoke; empty where the region itself did.
        said_at: when it spoke.
    """
    if task is None:
        return Found.GONE
    if task.task_id != task_id:
        return Found.SUPERSEDED
    if not own:
        return Found.OTHER_MACHINE
    holder = task.intent.claimed_by if task.intent else None
    claimed = task.status in (Status.INSTALLING, Status.COMPLETED)
    if claimed and agent_id and holder != agent_id:
        return Found.BEGUN_SINCE if said_at < _begun_at(task) else Found.OTHER_RUN
    return _BY_STATUS[task.status]


def _begun_at(task: Task) -> datetime:
    """When the install was claimed last."""
    begun = [each for each in task.status_history if each.status is Status.INSTALLING]
    return begun[-1].timestamp if begun else task.created_at
