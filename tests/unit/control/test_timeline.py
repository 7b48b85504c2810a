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


def test_timeline_of_a_restart_under_way_has_what_was_seen_of_it_until_its_end() -> None:
    moments = {"restart.seen": NOW + at(100), "restart.script": NOW + at(110)}
    written = firstboot.handed_over(installing(), DIGEST, NOW + at(90))
    starts = msgspec.structs.replace(written, boot=moments)
    assert [entry.event for entry in timeline(starts)][-3:] == ["restarting", *moments]
    error = TaskError(reason="its system did not come up")
    failed = moved(starts, Event.FAIL, NOW + at(900), error=error)
    assert [entry.event for entry in timeline(failed)][-3:] == [*moments, "failed"]


def test_timeline_is_one_list_from_the_first_packet_to_the_login() -> None:
    states = ((Status.PENDING, 0), (Status.READY, 1), (Status.BOOTING, 12))
    history = (*states, (Status.PENDING_APPROVAL, 30))
    seen = {"boot.dhcp": 5, "boot.script": 12, "boot.agent": 29}
    again = {"restart.seen": 100, "restart.script": 110}
    task = installing()
    changes = (StatusChange(status=status, timestamp=NOW + at(s)) for status, s in history)
    task = msgspec.structs.replace(
        task,
        status_history=(*changes, *task.status_history[1:]),
        boot={name: NOW + at(s) for name, s in (seen | again).items()},
    )
    written = firstboot.handed_over(task, DIGEST, NOW + at(90))
    found = timeline(firstboot.came_up(written, DIGEST, NOW + at(130)))
    assert [(entry.event, entry.after_s) for entry in found] == [
        ("pending", None),
        ("ready", 1),
        ("boot.dhcp", 4),
        ("booting", 7),
        ("boot.script", 0),
        ("boot.agent", 17),
        ("pending_approval", 1),
        ("approved", 30),
        ("installing", 5),
        ("downloading", 15),
        ("configuring", 10),
        ("restarting", 0),
        ("restart.seen", 10),
        ("restart.script", 10),
        ("came_up", 20),
        ("completed", 0),
    ]


def test_boot_that_a_task_was_created_after_comes_first_and_all_of_it_before_the_install() -> None:
    seen = {"boot.script": -50, "boot.agent": 70}
    task = installing()
    task = msgspec.structs.replace(
        task, boot={name: NOW + at(seconds) for name, seconds in seen.items()}
    )
    assert [entry.event for entry in timeline(task)] == [
        *("boot.script", "pending", "approved", "boot.agent", "installing", "downloading"),
    ]


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
