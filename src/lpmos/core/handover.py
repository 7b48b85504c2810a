"""From the agent's last word to the installer's: how a task goes over to another's hands (I1).

The rule: an installer's kernel is started once for an approval. Who hands over has claimed the
install; the one boot script of a restart is noted in the task before it is given, by
compare-and-swap, so that no second one can be.
"""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.core.taskstore import logged, moved
from lpmos.model.errors import Conflict
from lpmos.model.installer import Handover
from lpmos.model.lifecycle import Event
from lpmos.model.task import Task

HAND_OVER = "handing_over"
"""The step of the progress in which the agent loads the installer."""


class InstallerGiven(Conflict):
    """The one boot script with the installer was given before, or none is due."""

    code = "installer-given"


def begun(task: Task, by: Literal["kexec", "restart"], now: datetime) -> Task:
    """The task after the agent's last word; one that was handed over that way is as it is.

    Where kexec failed in its last step, the agent that still runs says `restart` after `kexec`.

    Raises:
        ImpossibleTransition: the task is not being installed.
    """
    known = task.handover
    if known is not None and known.by in (by, "restart"):
        return task
    how = "by kexec" if by == "kexec" else "by a restart: its next boot script is the installer's"
    task = moved(task, Event.INSTALL_PROGRESSED, now, handover=Handover(by=by, at=now))
    return logged(task, now, f"[INFO] handed over to the installer {how}")


def script_given(task: Task, now: datetime) -> Task:
    """The task whose one boot script with the installer is given now.

    Raises:
        InstallerGiven: it was given before, or is not due.
        ImpossibleTransition: the task is over.
    """
    handover = task.handover
    if handover is None or not handover.script_waits or task.starts_its_system:
        raise InstallerGiven(f"the installer of task {task.task_id} was started; ask again")
    given = msgspec.structs.replace(handover, script_at=now)
    task = moved(task, Event.INSTALL_PROGRESSED, now, handover=given)
    return logged(task, now, "[INFO] boot script of the installer sent, the only one")
