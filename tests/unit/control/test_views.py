"""What the API shows of a task, and what it never shows."""

from datetime import timedelta

import msgspec

from lpmos.control.views import full, summary, timeline
from lpmos.model.lifecycle import Status
from lpmos.model.task import Approval, Intent, Progress, StatusChange, TaskError
from tests.support.builders import NOW, make_inventory, make_task


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
    assert [(entry.event, entry.detail) for entry in timeline(task)] == [
        ("pending", "by admin"),
        ("pending_approval", ""),
        ("approved", "by alice: rack a3"),
    ]


def test_timeline_of_a_rejected_task_gives_the_reason() -> None:
    approval = Approval(
        approved=False, status="rejected", rejected_by="bob", rejected_at=NOW, reason="wrong rack"
    )
    task = make_task(status_history=_history(Status.REJECTED), approval=approval)
    assert timeline(task)[0].detail == "by bob: wrong rack"


def test_timeline_of_a_failed_task_gives_the_error() -> None:
    task = make_task(status_history=_history(Status.FAILED), error=TaskError(reason="disk full"))
    assert timeline(task)[0].detail == "disk full"


def test_timeline_is_in_the_order_of_the_history() -> None:
    task = make_task(status_history=_history(*Status))
    stamps = [entry.timestamp for entry in timeline(task)]
    assert stamps == sorted(stamps)


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
    assert view.links.approve == f"/api/v1/tasks/{view.task_id}/approve"


def test_summary_shows_the_newest_progress_and_the_error() -> None:
    progress = (
        Progress(step="partitioning", percent=20, timestamp=NOW),
        Progress(step="downloading", percent=30.5, timestamp=NOW, bytes_per_second=1e6),
    )
    row = summary(make_task(progress=progress, error=TaskError(reason="link lost")))
    assert (row.stage, row.percentage, row.bytes_per_second) == ("downloading", 30.5, 1e6)
    assert row.error == "link lost"


def test_summary_of_a_new_task_has_no_progress() -> None:
    row = summary(make_task())
    assert (row.stage, row.percentage, row.error) == ("", 0.0, None)
