"""The words of progress of an agent run: what of them is news, and what the task is after them.

The rule: a word that is said twice, or late, changes nothing but the log, of which numbered lines
are taken once; and what the machine's kernel says alone is no progress.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from lpmos.core.agentrun import AgentRun
from lpmos.core.claim import check_claim, claimed_by, held
from lpmos.core.loglines import Marks, are_known, newest
from lpmos.core.taskstore import logged, moved
from lpmos.model.job import STAGE as JOB_STAGE
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, Task

KERNEL = "[kernel] "
"""What the agent puts before a line that it overheard from the kernel, after its level."""


def progressed(
    task: Task,
    run: AgentRun,
    progress: Progress,
    now: datetime,
    *,
    lines: Sequence[str],
    results: Sequence[StepResult],
    marks: Marks,
) -> Task:
    """The task after a word of this run; as it is where nothing of it is news.

    Args:
        task: what the run works on; approved, it is claimed by the first word of work.
        run: who speaks.
        progress: the word.
        now: when it is heard.
        lines: of its log.
        results: those of all steps of a job that have ended until then.
        marks: the numbers of the newest lines, where they are numbered.

    Raises:
        ForeignClaim: another run installs.
        ImpossibleTransition: the task is not being installed.
    """
    if task.status is Status.COMPLETED and claimed_by(task) == run.agent_id:
        return task
    fresh = () if are_known(task.log_marks, marks) else lines
    # A word after the agent's last one is late; only its lines count then.
    if task.starts_its_system or any(is_not_newer(progress, each) for each in task.progress):
        check_claim(task, run)
        return _overheard(task, now, fresh, marks)
    if progress.percent > 0:
        task = held(task, run, now)
    else:
        check_claim(task, run)
    if results and tuple(results) != task.results:
        task = msgspec.structs.replace(task, results=tuple(results))
    elif _is_repeated(task, progress) and all(_is_kernels(line) for line in fresh):
        return _noted(task, progress.timestamp, fresh, marks)
    return _marked(_advanced(task, progress, fresh), marks)


def is_not_newer(progress: Progress, known: Progress) -> bool:
    """Whether `progress` is already there, or older: repeated after a lost answer, or late.

    Who is further on is newer whatever the time: the region's clock may have been put back.
    """
    behind = progress.timestamp <= known.timestamp and progress.percent <= known.percent
    return progress.step == known.step and behind


def newest_words(task: Task, *news: Progress) -> tuple[Progress, ...]:
    """The task's progress, in which these are the newest words of their steps."""
    steps = {each.step: each for each in (*task.progress, *news)}
    return tuple(steps.values())


def _advanced(task: Task, progress: Progress, lines: Sequence[str]) -> Task:
    at = progress.timestamp
    task = moved(task, Event.INSTALL_PROGRESSED, at, progress=newest_words(task, progress))
    task = logged(task, at, *lines)
    if _ends(task, progress):
        task = moved(task, Event.INSTALL_FINISHED, at)
        task = logged(task, at, f"[INFO] {'installed' if task.job is None else 'the job is done'}")
    return task


def _ends(task: Task, progress: Progress) -> bool:
    """Whether it is the last word of a job, or of an install whose system says nothing itself."""
    last = "configuring" if task.job is None else JOB_STAGE
    return progress.step == last and progress.percent >= 100


def _overheard(task: Task, now: datetime, lines: Sequence[str], marks: Marks) -> Task:
    """The task with numbered lines of a call whose progress is no news, or no more."""
    return _noted(task, now, lines, marks) if marks and not task.finished else task


def _noted(task: Task, at: datetime, lines: Sequence[str], marks: Marks) -> Task:
    """The task with lines that are no news of its work: its clock goes on."""
    return _marked(logged(task, at, *lines), marks) if lines else task


def _is_kernels(line: str) -> bool:
    """Whether it is a word of the machine's kernel: one that complains for ever does no work."""
    return line.partition("] ")[2].startswith(KERNEL)


def _marked(task: Task, marks: Marks) -> Task:
    if not marks:
        return task
    return msgspec.structs.replace(task, log_marks=newest(task.log_marks, marks))


def _is_repeated(task: Task, progress: Progress) -> bool:
    """Whether the newest word of an installation is said once more: no news, and no progress.

    That the agent lives is told by its lease (S4).
    """
    last = task.progress[-1] if task.progress else None
    return last is not None and last == msgspec.structs.replace(progress, timestamp=last.timestamp)
