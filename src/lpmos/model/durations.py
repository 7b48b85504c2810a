"""How long each part of a task took, from its document: its waits, its steps, its first boot.

A clock that was set back makes no negative time: what would be one is left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise

import msgspec

from lpmos.model.evidence import Evidence
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Task

FIRST_BOOT = "first_boot"
"""From the restart to the word of the installed system."""
WHOLE = "whole"
"""From the first boot script to the end: without the time in which people had it wait."""


BOOT_FILES = ("kernel", "initramfs")
BOOT_PARTS = (*(f"boot.{file}" for file in BOOT_FILES), "boot.start")
"""The agent's files on their way, and from the last byte of them to the report of the hardware."""


_STATUSES = frozenset(status.value for status in Status)


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """How long one part took, over `count` tasks: half of them, and 19 of 20, were not slower."""

    part: str
    count: int
    p50_s: float
    p95_s: float


def step_part(step: str) -> str:
    """The part that a step of the install is: by its own name where no status has the same."""
    return f"install.{step}" if step in _STATUSES else step


def durations(task: Task) -> dict[str, float]:
    """Seconds by part: statuses by their names, steps of the install by `step_part`."""
    found: dict[str, float] = {}
    for part, seconds in (*_statuses(task), *_steps(task), *_ends(task)):
        if seconds >= 0:
            found[part] = found.get(part, 0.0) + seconds
    return found


def boot_durations(seen: Evidence, reported_at: datetime | None) -> dict[str, float]:
    """Seconds by part of `BOOT_PARTS`, of the newest boot, as far as its region saw it."""
    found: dict[str, float] = {}
    for file in BOOT_FILES:
        sent = getattr(seen, file)
        if sent is not None and sent.done_at is not None:
            found[f"boot.{file}"] = _seconds(sent.at, sent.done_at)
    loaded_at = seen.initramfs.done_at if seen.initramfs else None
    if loaded_at is not None and reported_at is not None:
        found["boot.start"] = _seconds(loaded_at, reported_at)
    return {part: seconds for part, seconds in found.items() if seconds >= 0}


def took(times: Iterable[Mapping[str, float]]) -> tuple[Took, ...]:
    """The percentiles of each part over several tasks, in the order in which parts first come."""
    by_part: dict[str, list[float]] = {}
    for each in times:
        for part, seconds in each.items():
            by_part.setdefault(part, []).append(seconds)
    return tuple(
        Took(
            part=part,
            count=len(all_s),
            p50_s=round(percentile(all_s, 0.5), 1),
            p95_s=round(percentile(all_s, 0.95), 1),
        )
        for part, all_s in by_part.items()
    )


def percentile(values: list[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def _statuses(task: Task) -> Iterator[tuple[str, float]]:
    for change, following in pairwise(task.status_history):
        until = following.timestamp
        if change.status is Status.INSTALLING and task.handed_over_at is not None:
            until = task.handed_over_at
        yield change.status.value, _seconds(change.timestamp, until)


def _steps(task: Task) -> Iterator[tuple[str, float]]:
    """A step's entry is its newest word; it began with the last one of the step before."""
    begin = next((c.timestamp for c in task.status_history if c.status is Status.INSTALLING), None)
    for step in task.progress:
        if task.handed_over_at is not None and step.timestamp >= task.handed_over_at:
            return  # from there on it is the first boot
        if begin is not None:
            yield step_part(step.step), _seconds(begin, step.timestamp)
        begin = step.timestamp


def _ends(task: Task) -> Iterator[tuple[str, float]]:
    if task.status not in FINAL or not task.status_history:
        return
    end = task.status_history[-1].timestamp
    if task.handed_over_at is not None:
        yield FIRST_BOOT, _seconds(task.handed_over_at, end)
    waited = sum(
        seconds for part, seconds in _statuses(task) if part == Status.PENDING_APPROVAL.value
    )
    began = next((c.timestamp for c in task.status_history if c.status is Status.BOOTING), None)
    if began is not None:
        yield WHOLE, _seconds(began, end) - waited


def _seconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds()
