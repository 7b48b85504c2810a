"""The words of an agent run: what of them is news, and moves the clock of its task."""

from datetime import timedelta

from lpmos.core.agentrun import AgentRun
from lpmos.core.progress import progressed
from lpmos.model.lifecycle import Status
from lpmos.model.task import Intent, Progress, Task
from tests.support.builders import MAC, NOW, make_task

RUN = AgentRun(mac=MAC, agent_id="run-1")
SAID = Progress(step="installing", percent=70, timestamp=NOW, message="boot loader")
KERNEL = "[ERROR] [kernel] I/O error, dev sda, sector 2048"


def _task() -> Task:
    return make_task(
        status=Status.INSTALLING,
        intent=Intent(intent_id="intent-1", claimed_by=RUN.agent_id),
        progress=(SAID,),
        updated_at=NOW,
    )


def _after(task: Task, *lines: str, marks: dict[str, int] | None = None) -> Task:
    """The task after the same word, said a minute later with these lines."""
    later = NOW + timedelta(minutes=1)
    again = Progress(step="installing", percent=70, timestamp=later, message="boot loader")
    return progressed(task, RUN, again, later, lines=lines, results=(), marks=marks or {})


def test_lines_of_the_kernel_alone_are_kept_and_are_no_progress() -> None:
    task = _after(_task(), KERNEL, "[WARN] [kernel] 30 messages were left out", marks={"agent": 2})
    assert [line.partition("] ")[2] for line in task.logs] == [
        "[kernel] I/O error, dev sda, sector 2048",
        "[kernel] 30 messages were left out",
    ]
    assert (task.updated_at, dict(task.log_marks)) == (NOW, {"agent": 2})
    assert task.progress == (SAID,)


def test_line_of_the_agent_among_them_is_progress() -> None:
    task = _after(_task(), KERNEL, "[INFO] $ grub-install")
    assert task.updated_at == NOW + timedelta(minutes=1)
    assert len(task.logs) == 2


def test_line_that_only_speaks_of_the_kernel_is_progress() -> None:
    assert _after(_task(), "[INFO] writing [kernel] arguments").updated_at > NOW


def test_word_that_is_repeated_without_a_line_changes_nothing() -> None:
    task = _task()
    assert _after(task) is task
