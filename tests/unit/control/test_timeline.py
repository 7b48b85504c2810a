"""A task's timeline: each thing that happened, and the time since the one before."""

from datetime import timedelta

import msgspec

from lpmos.control.views.outlook import waits_for
from lpmos.control.views.tasks import full
from lpmos.control.views.timeline import timeline
from lpmos.core import firstboot
from lpmos.core.taskstore import StoredTask, moved
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, StatusChange, Task, TaskError
from tests.support.builders import NOW, make_task

DIGEST = "ab" * 32


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def installing() -> Task:
    history = ((Status.PENDING, 0), (Status.APPROVED, 60), (Status.INSTALLING, 65))
    return make_task(
        status=Status.INSTALLING,
        status_history=tuple(
            StatusChange(status=status, timestamp=NOW + at(seconds)) for status, seconds in history
        ),
        progress=(Progress(step="downloading", percent=60, timestamp=NOW + at(80)),),
    )


def test_timeline_of_a_first_boot_has_each_stage_with_its_time() -> None:
    written = firstboot.handed_over(installing(), DIGEST, NOW + at(90))
    done = firstboot.came_up(written, DIGEST, NOW + at(130))
    assert [(entry.event, entry.after_s) for entry in timeline(done)] == [
        ("pending", None),
        ("approved", 60),
        ("installing", 5),
        ("downloading", 15),
        ("configuring", 10),
        ("restarting", 0),
        ("came_up", 40),
        ("completed", 0),
    ]
    assert timeline(written)[-1].event == "restarting"


def test_time_that_two_clocks_make_negative_is_left_out() -> None:
    task = installing()
    early = StatusChange(status=Status.FAILED, timestamp=NOW)
    failed = msgspec.structs.replace(
        task, status=Status.FAILED, status_history=(*task.status_history, early)
    )
    assert timeline(failed)[-1].after_s is None


def test_view_of_a_task_whose_system_starts_says_so_and_shows_no_digest() -> None:
    task = firstboot.handed_over(installing(), DIGEST, NOW + at(90))
    waits = waits_for(task)
    assert waits is not None and waits.since == NOW + at(90)
    assert "starts the installed system" in waits.what
    shown = full(StoredTask(task, 1, past=False))
    assert shown.handed_over_at == NOW + at(90)
    assert DIGEST not in repr(shown)


def test_timeline_of_a_system_that_came_up_late_ends_with_it() -> None:
    written = firstboot.handed_over(installing(), DIGEST, NOW + at(90))
    failed = moved(written, Event.FAIL, NOW + at(100), error=TaskError(reason="too late"))
    late = firstboot.came_up(failed, DIGEST, NOW + at(130))
    assert [entry.event for entry in timeline(late)][-2:] == ["failed", "came_up"]
