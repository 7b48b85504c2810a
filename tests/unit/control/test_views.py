"""What the API shows of a task, and what it never shows."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.control.views.tasks import TaskSummary, TaskView, actions
from lpmos.control.views.tasks import full as full_view
from lpmos.control.views.tasks import summary as summary_view
from lpmos.control.views.timeline import timeline
from lpmos.core.taskrow import row_of_task
from lpmos.core.taskstore import StoredTask
from lpmos.model.lifecycle import Status
from lpmos.model.task import Approval, Intent, Progress, StatusChange, Task, TaskError
from tests.support.builders import NOW, make_inventory, make_task


def full(task: Task, *, past: bool = False) -> TaskView:
    return full_view(StoredTask(task, 7, past=past))


def summary(task: Task) -> TaskSummary:
    return summary_view(row_of_task(task, revision=7))


def _history(*statuses: Status) -> tuple[StatusChange, ...]:
    return tuple(
        StatusChange(status=status, timestamp=NOW + timedelta(seconds=second))
        for second, status in enumerate(statuses)
    )


def test_timeline_of_an_approved_task_says_who_and_why() -> None:
    approval = Approval(
        approved=True, status="approved", approved_by="alice", approved_at=NOW, notes="rack a3"
    )
    task = make_task(
        status=Status.APPROVED,
        status_history=_history(Status.PENDING, Status.PENDING_APPROVAL, Status.APPROVED),
        approval=approval,
    )
    assert [(entry.event, entry.by, entry.detail) for entry in timeline(task)] == [
        ("pending", "admin", ""),
        ("pending_approval", None, ""),
        ("approved", "alice", "rack a3"),
    ]


def test_timeline_of_a_rejected_task_gives_the_reason() -> None:
    approval = Approval(
        approved=False, status="rejected", rejected_by="bob", rejected_at=NOW, reason="wrong rack"
    )
    task = make_task(status_history=_history(Status.REJECTED), approval=approval)
    assert (timeline(task)[0].by, timeline(task)[0].detail) == ("bob", "wrong rack")


def test_timeline_of_a_failed_task_gives_the_error() -> None:
    task = make_task(status_history=_history(Status.FAILED), error=TaskError(reason="disk full"))
    assert timeline(task)[0].detail == "disk full"


def test_timeline_is_in_the_order_of_the_history() -> None:
    task = make_task(status_history=_history(*Status))
    stamps = [entry.timestamp for entry in timeline(task)]
    assert stamps == sorted(stamps)


def test_timeline_has_the_steps_of_the_install_between_its_states_whatever_the_clocks() -> None:
    early = NOW - timedelta(days=1)
    task = make_task(
        status=Status.COMPLETED,
        status_history=_history(Status.APPROVED, Status.INSTALLING, Status.COMPLETED),
        progress=(
            Progress(step="partitioning", percent=20, timestamp=early, message="done"),
            Progress(step="downloading", percent=60, timestamp=early),
        ),
    )
    assert [(entry.event, entry.detail) for entry in timeline(task)] == [
        ("approved", ""),
        ("installing", ""),
        ("partitioning", "20 %: done"),
        ("downloading", "60 %"),
        ("completed", ""),
    ]


def test_timeline_links_a_retry_to_what_it_tries_again_and_back() -> None:
    first = make_task(status_history=_history(Status.PENDING, Status.FAILED))
    second = make_task(task_id="second", retry_of=first.task_id, attempt=2)
    (created,) = timeline(second)
    assert (created.by, created.task_id) == ("admin", first.task_id)
    last = timeline(first, row_of_task(second))[-1]
    assert (last.event, last.task_id, last.detail) == ("retried", "second", "as attempt 2")


def test_timeline_says_who_made_each_step() -> None:
    history = (
        StatusChange(status=Status.PENDING, timestamp=NOW),
        StatusChange(status=Status.CANCELLED, timestamp=NOW, by="alice"),
    )
    assert [entry.by for entry in timeline(make_task(status_history=history))] == [
        "admin",
        "alice",
    ]


@pytest.mark.parametrize(
    ("status", "possible"),
    [
        (Status.PENDING, ["cancel"]),
        (Status.PENDING_APPROVAL, ["approve", "reject", "cancel"]),
        (Status.INSTALLING, ["cancel"]),
        (Status.COMPLETED, []),
        (Status.FAILED, ["retry"]),
        (Status.CANCELLED, ["retry"]),
        (Status.REJECTED, ["retry"]),
    ],
)
def test_actions_and_links_are_those_that_the_state_allows(
    status: Status, possible: list[str]
) -> None:
    view = full(make_task(status=status))
    assert [each.action for each in view.next_actions] == possible
    links = msgspec.to_builtins(view.links)
    assert set(links) == {"self", "machine", *possible}
    assert all(links[each.action] == each.href for each in view.next_actions)


@pytest.mark.parametrize("status", list(Status))
def test_past_task_allows_nothing(status: Status) -> None:
    assert actions(row_of_task(make_task(status=status), past=True)) == []


def test_full_view_of_an_approved_task_has_no_intent() -> None:
    task = make_task(intent=Intent(intent_id="SECRET-INTENT", claimed_by="SECRET-RUN"))
    text = msgspec.json.encode(full(task)).decode()
    assert "SECRET" not in text
    assert "intent" not in text


def test_full_view_has_what_was_asked_for_as_metadata() -> None:
    view = full(make_task(tags={"rack": "a3"}, hardware=make_inventory()))
    assert view.metadata.os_version == "12"
    assert view.metadata.tags == {"rack": "a3"}
    assert view.hardware is not None
    assert view.links.self == f"/api/v1/tasks/{view.task_id}"
    assert view.links.machine == "/api/v1/machines/dc1/SN-1"
    assert view.revision == 7


def test_summary_shows_the_newest_progress_and_the_error() -> None:
    progress = (
        Progress(step="partitioning", percent=20, timestamp=NOW),
        Progress(
            step="downloading",
            percent=30.5,
            timestamp=NOW,
            bytes_done=2_000_000,
            bytes_total=5_000_000,
            bytes_per_second=1e6,
        ),
    )
    row = summary(make_task(progress=progress, error=TaskError(reason="link lost")))
    assert (row.stage, row.percentage, row.bytes_per_second) == ("downloading", 30.5, 1e6)
    assert (row.bytes_done, row.bytes_total, row.remaining_s) == (2_000_000, 5_000_000, 3.0)
    assert row.error == "link lost"


def test_summary_of_a_new_task_has_no_progress() -> None:
    row = summary(make_task())
    assert (row.stage, row.percentage, row.error) == ("", 0.0, None)
