"""Parts of an old task that are for reading only: its progress, its approval, its error.

Each parser gives what is good of a part, and what is wrong with it; nothing is guessed.
"""

from datetime import datetime
from typing import Any, Literal, cast

from lpmos.core.migration.fields import Fields
from lpmos.model.task import Approval, Progress, TaskError

TEXT_CHARACTERS = 2000
NAME_CHARACTERS = 128
STEPS_LIMIT = 20


def parse_progress(given: Any) -> tuple[tuple[Progress, ...], list[str]]:
    """The newest word of each step in order of time, of one word or a list; what is wrong."""
    words = given if isinstance(given, list) else [given] if given else []
    fields = Fields({"progress": words})
    found = sorted(filter(None, map(_step, fields.each("progress"))), key=_when)
    steps = {step.step: step for step in found}
    return tuple(sorted(steps.values(), key=_when))[-STEPS_LIMIT:], fields.problems


def parse_approval(given: Any) -> tuple[Approval | None, list[str]]:
    """The decision, None where none was made; what is wrong."""
    if not given:
        return None, []
    if not isinstance(given, dict):
        return None, ["is not an object"]
    fields = Fields(given)
    approval = _decision(fields)
    return (None if fields.problems else approval), fields.problems


def parse_error(given: Any) -> tuple[TaskError | None, datetime | None, list[str]]:
    """Why it failed, of an object or a text, and when; what is wrong."""
    if not given:
        return None, None, []
    fields = Fields(given if isinstance(given, dict) else {"message": given})
    reason = fields.text("message") or fields.text("code")
    output, occurred_at = fields.text("details"), fields.time("occurred_at")
    if reason is None and not fields.problems:
        fields.wrong("message", "is missing")
    if fields.problems or reason is None:
        return None, None, fields.problems
    cut = output[-TEXT_CHARACTERS:] if output else None
    return TaskError(reason=reason[:TEXT_CHARACTERS], output=cut), occurred_at, []


def _when(step: Progress) -> datetime:
    return step.timestamp


def _step(fields: Fields) -> Progress | None:
    step = fields.text("step", "stage", required=True)
    percent = fields.number("percent", "percentage")
    at = fields.time("timestamp", "updated_at", required=True)
    if percent is None or percent > 100:
        fields.wrong("percent", "is not a number from 0 to 100")
        return None
    details = fields.inside("details")
    done, total = details.whole("bytes_downloaded"), details.whole("bytes_total")
    message = fields.text("message") or ""
    if step is None or at is None:
        return None
    return Progress(
        step=step[:NAME_CHARACTERS],
        percent=percent,
        timestamp=at,
        message=message[:TEXT_CHARACTERS],
        bytes_done=done,
        bytes_total=total,
    )


def _decision(fields: Fields) -> Approval | None:
    """The decision; None where none was made."""
    status, approved = fields.text("status"), fields.raw("approved")
    if status is None and isinstance(approved, bool):
        status = "approved" if approved else "pending"
    if status not in ("pending", "approved", "rejected"):
        fields.wrong("status", f"{(status or '')[:40]!r} is unknown")
    approved_by, rejected_by = fields.text("approved_by"), fields.text("rejected_by")
    approved_at, rejected_at = fields.time("approved_at"), fields.time("rejected_at")
    notes, reason = fields.text("notes"), fields.text("reason")
    if fields.problems or status == "pending":
        return None
    yes = status == "approved"
    return Approval(
        approved=yes,
        status=cast(Literal["approved", "rejected"], status),
        approved_by=approved_by if yes else None,
        approved_at=approved_at if yes else None,
        notes=notes and notes[:TEXT_CHARACTERS],
        rejected_by=None if yes else rejected_by,
        rejected_at=None if yes else rejected_at,
        reason=None if yes or not reason else reason[:TEXT_CHARACTERS],
    )
