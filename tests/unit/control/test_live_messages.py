"""Which messages a change makes, and in which words."""

import json

import msgspec

from lpmos.control.live.messages import of_task
from lpmos.core.taskchange import TaskChange
from lpmos.core.taskstore import logged, moved
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, Task
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.live_listener import Message

PENDING = make_task()


def _after(task: Task, **fields: object) -> Task:
    return msgspec.structs.replace(task, **fields)


def _progress(percent: float) -> tuple[Progress, ...]:
    return (Progress(step="downloading", percent=percent, timestamp=NOW, message="streaming"),)


def _told(before: Task | None, after: Task | None) -> list[Message]:
    return [json.loads(told.text or b"") for told in of_task(TaskChange(before, after, 7), 7)]


def test_messages_of_a_new_task_tell_its_status() -> None:
    assert _told(None, PENDING) == [
        {"type": "status", "task_id": PENDING.task_id, "status": "pending", "revision": 7}
    ]


def test_messages_of_progress_have_exactly_the_agreed_shape() -> None:
    assert _told(PENDING, _after(PENDING, progress=_progress(42.5))) == [
        {
            "type": "progress",
            "task_id": PENDING.task_id,
            "percentage": 42.5,
            "stage": "downloading",
            "message": "streaming",
            "revision": 7,
        }
    ]


def test_messages_of_a_stream_tell_its_bytes_and_how_long_it_takes_yet() -> None:
    step = Progress(
        step="downloading",
        percent=30.0,
        timestamp=NOW,
        bytes_done=250,
        bytes_total=1000,
        bytes_per_second=50.0,
    )
    (told,) = _told(PENDING, _after(PENDING, progress=(step,)))
    assert (told["bytes_done"], told["bytes_total"], told["remaining_s"]) == (250, 1000, 15.0)


def test_messages_of_reported_hardware_carry_it_and_then_the_status() -> None:
    hardware = make_inventory()
    told = _told(PENDING, _after(PENDING, hardware=hardware, status=Status.PENDING_APPROVAL))
    assert [each["type"] for each in told] == ["hardware", "status"]
    assert told[0]["hardware"]["disks"][0]["device"] == "/dev/vda"


def test_messages_of_several_steps_in_one_change_tell_every_status() -> None:
    ready = moved(PENDING, Event.PREPARED, NOW)
    reported = moved(ready, Event.HARDWARE_REPORTED, NOW)
    assert [each["status"] for each in _told(PENDING, reported)] == ["ready", "pending_approval"]
    assert [each["status"] for each in _told(None, reported)] == [
        "pending",
        "ready",
        "pending_approval",
    ]


def test_messages_of_a_change_that_nobody_watches_for_are_none() -> None:
    assert _told(PENDING, _after(PENDING, logs=("a line",))) == []
    assert _told(None, None) == []


def test_messages_of_a_followed_log_tell_its_newest_lines_with_their_numbers() -> None:
    before = logged(PENDING, NOW, *(f"[INFO] line {number}" for number in range(1, 121)))
    after = logged(before, NOW, "[INFO] line 121")
    change = TaskChange(before, after, 7)
    (told,) = (json.loads(told.text or b"") for told in of_task(change, 7, with_log=True))
    assert (told["type"], told["first"], len(told["lines"])) == ("log", 102, 20)
    assert told["lines"][-1].endswith("[INFO] line 121")
    assert _told(before, after) == []


def test_messages_of_a_log_that_grew_much_tell_all_that_is_kept() -> None:
    after = logged(PENDING, NOW, *(f"[INFO] line {number}" for number in range(1, 121)))
    (told,) = (
        json.loads(told.text or b"")
        for told in of_task(TaskChange(PENDING, after, 7), 7, with_log=True)
    )
    assert (told["first"], len(told["lines"])) == (21, 100)


def test_messages_of_a_task_that_is_gone_say_so() -> None:
    assert _told(PENDING, None) == [{"type": "removed", "task_id": PENDING.task_id, "revision": 7}]


def test_messages_of_a_machines_next_task_tell_all_of_it() -> None:
    following = _after(PENDING, task_id="another", progress=_progress(1))
    told = _told(_after(PENDING, progress=_progress(1)), following)
    assert [(each["type"], each["task_id"]) for each in told] == [
        ("status", "another"),
        ("progress", "another"),
    ]
