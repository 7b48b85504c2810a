"""How long each part of a task took, from its document: its boots, its waits, its steps.

A clock that was set back makes no negative time: what would be one is left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType

import msgspec

from lpmos.model import boot
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Task

FIRST_BOOT = "first_boot"
"""From the restart to the word of the installed system."""
WHOLE = "whole"
"""From the first boot script to the end: without the time in which people had it wait."""


BOOT_PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "boot": (boot.DHCP, boot.AGENT),
        "boot.address": (boot.DHCP, boot.ADDRESS),
        "boot.loader": (boot.ADDRESS, boot.LOADER),
        "boot.ipxe": (boot.LOADER, boot.IPXE),
        "boot.kernel": (boot.KERNEL_ASKED, boot.KERNEL),
        "boot.initramfs": (boot.INITRAMFS_ASKED, boot.INITRAMFS),
        "boot.start": (boot.INITRAMFS, boot.AGENT),
    }
)
"""From which moment to which each part of the boot is that brings the agent."""
RESTART_PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "restart.seen": ("restart", boot.RESTART_SEEN),
        "restart.script": (boot.RESTART_SEEN, boot.RESTART_SCRIPT),
        "restart.system": (boot.RESTART_SCRIPT, "up"),
    }
)
"""The parts of `FIRST_BOOT`: `restart` is the agent's last word, `up` the system's first."""

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
    """Seconds by part: statuses by their names, steps of the install by `step_part`, of its boots
    `BOOT_PARTS` and `RESTART_PARTS`.
    """
    found: dict[str, float] = {}
    parts = (*_boot(task), *_statuses(task), *_steps(task), *_ends(task), *_restart(task))
    for part, seconds in parts:
        if seconds >= 0:
            found[part] = found.get(part, 0.0) + seconds
    return found


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


def _boot(task: Task) -> Iterator[tuple[str, float]]:
    return _between(BOOT_PARTS, task.boot)


def _restart(task: Task) -> Iterator[tuple[str, float]]:
    moments = dict(task.boot)
    if task.handed_over_at is not None:
        moments["restart"] = task.handed_over_at
        if task.status is Status.COMPLETED:
            moments["up"] = task.status_history[-1].timestamp
    return _between(RESTART_PARTS, moments)


def _between(
    parts: Mapping[str, tuple[str, str]], moments: Mapping[str, datetime]
) -> Iterator[tuple[str, float]]:
    for part, (begin, end) in parts.items():
        if begin in moments and end in moments:
            yield part, _seconds(moments[begin], moments[end])


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
