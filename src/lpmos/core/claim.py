"""Who may install: the single-use right of an approval, which one agent run claims.

The rule (L8): a disk is written once for an approval. Who claims it has to be the run that reported
the hardware, and no other run is heard after that.
"""

from datetime import datetime

import msgspec

from lpmos.core.agentrun import AgentRun, restarted
from lpmos.core.taskstore import logged, moved
from lpmos.model.errors import ForeignClaim
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Task


def claimed_by(task: Task) -> str | None:
    """The agent run that took the install."""
    return task.intent.claimed_by if task.intent else None


def claimed(task: Task, run: AgentRun, intent_id: str | None, now: datetime, *, kept: bool) -> Task:
    """The task that this run installs from now on; repeated by the same run it is as it is.

    Args:
        task: what is claimed.
        run: who claims it.
        intent_id: the right that the run was given; None: whichever there is.
        now: when it claims.
        kept: it was let through without the store. Where the machine was restarted since, its disk
            may be written: the approval is used then, whoever reported with it after that.

    Raises:
        ForeignClaim: another run took it or reported last, or `intent_id` is not the approved one.
        ImpossibleTransition: the task is not approved.
    """
    if task.status is Status.INSTALLING and claimed_by(task) == run.agent_id:
        return task
    if task.intent and intent_id not in (None, task.intent.intent_id):
        raise ForeignClaim("this install intent is not the approved one")
    if kept and task.status is Status.APPROVED and _is_anothers(task, run):
        return restarted(_begun(task, run, now), now)
    return _claimed(task, run, now)


def held(task: Task, run: AgentRun, now: datetime) -> Task:
    """The task in the hands of this run, which claims it now where it is only approved.

    Raises:
        ForeignClaim: another run took it or reported last.
    """
    if task.status is Status.APPROVED:
        task = _claimed(task, run, now)
    check_claim(task, run)
    return task


def check_claim(task: Task, run: AgentRun) -> None:
    """Nobody speaks for an install but the run that claimed it.

    Raises:
        ForeignClaim: another run did.
    """
    if task.status is Status.INSTALLING and claimed_by(task) != run.agent_id:
        raise _taken(task)


def _claimed(task: Task, run: AgentRun, now: datetime) -> Task:
    if task.status is Status.INSTALLING or claimed_by(task):
        raise _taken(task)
    if _is_anothers(task, run):
        raise ForeignClaim("another agent run has reported since; boot the machine again")
    return _begun(task, run, now)


def _begun(task: Task, run: AgentRun, now: datetime) -> Task:
    intent = task.intent and msgspec.structs.replace(task.intent, claimed_by=run.agent_id)
    task = moved(task, Event.INSTALL_STARTED, now, intent=intent)
    return logged(task, now, "[INFO] installation started")


def _is_anothers(task: Task, run: AgentRun) -> bool:
    """Whether the hardware that the task has was reported by another run."""
    return task.reported_by not in (None, run.agent_id)


def _taken(task: Task) -> ForeignClaim:
    return ForeignClaim(f"task {task.task_id} is being installed by another agent run")
