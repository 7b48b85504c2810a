"""From the last word of an agent to the first word of the system that it installed (L2).

The rule: once the agent has handed over, only the installed system completes the task, and it
proves itself by the token that its disk alone has; the task knows the token's digest, and no more.
Until then the task is `installing` still: it can be cancelled, and it fails at its deadline. Where
the word comes after that, the task stays failed, but it says so, and the machine's record is true.
"""

import hmac
from datetime import datetime

import msgspec

from lpmos.core.agentrun import ended
from lpmos.core.progress import newest_words
from lpmos.core.taskstore import logged, moved
from lpmos.model.errors import Conflict, Unauthenticated
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, Task, TaskError

RESTARTING = "restarting"
"""The step of the progress between the agent's last word and the system's first."""

WRITTEN_PERCENT = 99.0


class NotHandedOver(Conflict):
    """The agent's last word has not come yet: the installed system shall ask again."""

    code = "not-handed-over"


class WrongToken(Unauthenticated):
    """The token is not that of this installation."""

    code = "wrong-first-boot-token"


def handed_over(task: Task, token_sha256: str, now: datetime) -> Task:
    """The task after the agent's last word: all is on the disk, which starts next.

    Raises:
        ImpossibleTransition: the task is not being installed.
    """
    written = Progress(
        step="configuring", percent=WRITTEN_PERCENT, timestamp=now, message="everything is written"
    )
    starts = Progress(
        step=RESTARTING,
        percent=WRITTEN_PERCENT,
        timestamp=now,
        message="the machine starts the installed system",
    )
    task = moved(
        task,
        Event.INSTALL_PROGRESSED,
        now,
        progress=newest_words(task, written, starts),
        handed_over_at=now,
        first_boot_sha256=token_sha256,
    )
    return logged(task, now, "[INFO] installed; restarting into the installed system")


def came_up(task: Task, token_sha256: str, now: datetime) -> Task:
    """The task after the installed system's first word: completed; repeated it is as it is.

    A task that has failed meanwhile has the word noted.

    Raises:
        WrongToken: it is not the system that this task installed.
        NotHandedOver: the agent has not said its last word.
        ImpossibleTransition: the task is over otherwise.
    """
    _check_token(task, token_sha256)
    if task.status is Status.COMPLETED or came_up_at(task) is not None:
        return task
    whole = tuple(
        msgspec.structs.replace(each, percent=100.0) if each.step == "configuring" else each
        for each in task.progress
    )
    said = Progress(
        step=RESTARTING, percent=100.0, timestamp=now, message="the installed system came up"
    )
    task = msgspec.structs.replace(task, progress=whole)
    if task.status is Status.FAILED:
        task = msgspec.structs.replace(task, progress=newest_words(task, said), updated_at=now)
        return logged(task, now, "[WARN] the installed system came up after the task had failed")
    task = moved(task, Event.INSTALL_FINISHED, now, progress=newest_words(task, said))
    return logged(task, now, "[INFO] the installed system came up")


def came_up_failing(task: Task, token_sha256: str, error: TaskError, now: datetime) -> Task:
    """The task after the word that what its system does first did not succeed: failed.

    Repeated, or of a task that has failed before, it is as it is.

    Raises:
        WrongToken, NotHandedOver, ImpossibleTransition: as `came_up`.
    """
    _check_token(task, token_sha256)
    return task if task.status is Status.FAILED else ended(task, error, now)


def came_up_at(task: Task) -> datetime | None:
    """When the installed system said that it came up; None where it has not."""
    for each in task.progress:
        if each.step == RESTARTING and each.percent >= 100:
            return each.timestamp
    return None


def _check_token(task: Task, token_sha256: str) -> None:
    expected = task.first_boot_sha256
    if expected is None and not task.finished:
        raise NotHandedOver(f"the agent of task {task.task_id} is not done yet; ask again")
    if expected is None or not hmac.compare_digest(expected, token_sha256):
        raise WrongToken(f"this is not the token of what task {task.task_id} installed")
