"""What the use cases of agents share: who calls, and the steps of a task that several take."""

from datetime import datetime

import msgspec

from lpmos.core.taskstore import logged, moved
from lpmos.model.audit import Actor
from lpmos.model.errors import NotFound
from lpmos.model.lifecycle import Event
from lpmos.model.task import Task, TaskError
from lpmos.model.waiting import MACHINE_RESTARTED


class NoTask(NotFound):
    """The machine has no task; its report is kept where it made one."""

    code = "no-task"


class AgentRun(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a normalised MAC, and the run's id (the MAC itself for agents that send none)."""

    mac: str
    agent_id: str


def agent_of(mac: str) -> Actor:
    """The agent of a machine, as who does something."""
    return Actor(name=f"agent:{mac}")


def prepared(task: Task, now: datetime) -> Task:
    """The task with its boot files there."""
    return logged(moved(task, Event.PREPARED, now), now, "[INFO] boot files are ready")


def ended(task: Task, error: TaskError, now: datetime) -> Task:
    """The task that failed by `error`."""
    return logged(moved(task, Event.FAIL, now, error=error), now, f"[ERROR] {error.reason}")


def restarted(task: Task, now: datetime) -> Task:
    """The task that failed because its machine began anew: a disk is written once for an approval.

    Raises:
        ImpossibleTransition: it is over.
    """
    error = TaskError(
        reason="the machine was restarted in the middle of its installation",
        hint="look at its console and power, then create the task again",
        code=MACHINE_RESTARTED,
    )
    return ended(task, error, now)
