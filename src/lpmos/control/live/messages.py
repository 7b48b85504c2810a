"""What the WebSocket tells: the messages, and which of them a change makes.

A message that a newer one makes idle has a key; of those with the same key only the newest is kept.
A status has none: every status of a task is told, even where several came in one change.
"""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from lpmos.core.fleet import Fleet
from lpmos.core.machineindex import MachineRow
from lpmos.core.taskchange import TaskChange
from lpmos.core.taskrow import NO_HARDWARE, TaskRow
from lpmos.model.access import Permission
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed
from lpmos.model.standing import Standing
from lpmos.model.task import Task
from lpmos.store.keys import KeyName

Kind = Literal[
    "status",
    "progress",
    "hardware",
    "removed",
    "log",
    "boot",
    "machine",
    "agent",
    "region",
    "unmatched",
]
OF_NAMED: frozenset[Kind] = frozenset({"log", "boot"})
"""Made for tasks that somebody follows only: told to who names both the kind and the tasks."""

LOG_LINES_TOLD = 20
"""A message of a log has at least so many lines, where there are: one that it replaced had them."""

PERMISSION: Mapping[str, Permission] = MappingProxyType(
    {
        "status": Permission.TASK_READ,
        "progress": Permission.TASK_READ,
        "hardware": Permission.TASK_READ,
        "removed": Permission.TASK_READ,
        "log": Permission.TASK_READ,
        "boot": Permission.TASK_READ,
        "machine": Permission.MACHINE_READ,
        "agent": Permission.MACHINE_READ,
        "region": Permission.REGION_READ,
        "unmatched": Permission.UNMATCHED_READ,
    }
)
"""What it takes to hear each kind."""


class StatusMessage(msgspec.Struct, frozen=True, tag="status"):
    """A task came into a status; a task not heard of before is new."""

    task_id: str
    status: Status
    revision: int


class ProgressMessage(msgspec.Struct, frozen=True, tag="progress", omit_defaults=True):
    """How far an install is; `percentage` is of the whole install, all else of the present step."""

    task_id: str
    percentage: float
    stage: str
    message: str
    revision: int
    bytes_done: int | None = None
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    remaining_s: float | None = None


class HardwareMessage(msgspec.Struct, frozen=True, tag="hardware"):
    """A machine reported its hardware."""

    task_id: str
    hardware: Inventory
    revision: int


class LogMessage(msgspec.Struct, frozen=True, tag="log"):
    """The newest lines of a task's log; the first of them has the number `first`, from 1.

    They may go back before what was told already: some messages stand for several.
    """

    task_id: str
    first: int
    lines: tuple[str, ...]
    revision: int


class BootMessage(msgspec.Struct, frozen=True, tag="boot"):
    """The region saw more of a boot of the task's machine: the task's timeline may have it."""

    task_id: str
    revision: int


class RemovedMessage(msgspec.Struct, frozen=True, tag="removed"):
    """A present task is not in the store any more."""

    task_id: str
    revision: int


class MachineMessage(msgspec.Struct, frozen=True, tag="machine", omit_defaults=True):
    """A machine is new or changed, or was forgotten (`removed`)."""

    idc: str
    sn: str
    revision: int
    removed: bool = False
    tags: dict[str, str] = {}
    installed: Installed | None = None
    updated_at: datetime | None = None


class AgentMessage(msgspec.Struct, frozen=True, tag="agent"):
    """A machine's agent was heard, or is not heard any more."""

    idc: str
    sn: str
    online: bool
    revision: int


class RegionMessage(msgspec.Struct, frozen=True, tag="region"):
    """A region went on or off line, or its offer, its services or its active client changed."""

    idc: str
    online: bool
    revision: int


class UnmatchedMessage(msgspec.Struct, frozen=True, tag="unmatched"):
    """How many reports without a task a data center has now."""

    idc: str
    count: int
    revision: int


class Told(msgspec.Struct, gc=False):
    """One message as it is kept: encoded once, with all that decides who hears it.

    A newer message with the same `key` takes its place, and then `text` is None.
    """

    key: Hashable | None
    revision: int
    kind: str
    idc: str
    task_id: str | None
    tenant: str | None
    text: bytes | None


def of_task(change: TaskChange, revision: int, *, with_log: bool = False) -> Iterator[Told]:
    """What the change of a present task tells; its log only where somebody follows that."""
    before, after = change.row_before, change.row
    if after is None:
        if before is not None:
            yield _about(before, "removed", RemovedMessage(before.task_id, revision))
        return
    task_id = after.task_id
    if before is not None and before.task_id != task_id:  # the machine's next task
        before = None
    if _has_new_hardware(before, after):
        hardware = change.after.hardware if change.after else None
        if hardware is not None:
            yield _about(after, "hardware", HardwareMessage(task_id, hardware, revision))
    if before is None or before.status is not after.status:
        for status in _statuses(change.before if before else None, change.after):
            yield _about(after, "status", StatusMessage(task_id, status, revision))
    if after.stage and (before is None or _how_far(before) != _how_far(after)):
        yield _about(after, "progress", _progress(after, revision))
    if with_log and change.after and (before is None or before.log_count != after.log_count):
        since = before.log_count if before else 0
        yield _about(after, "log", _log(change.after, since, revision))


def of_boot(task: TaskRow, revision: int) -> Told:
    """What new evidence of the task's machine tells."""
    return _about(task, "boot", BootMessage(task.task_id, revision))


class Others:
    """What changes of regions, machines, agents and reports tell.

    It remembers what was told of each, as only a difference is worth a message.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._regions: dict[str, bool] = {}
        self._clients: dict[tuple[str, str], Standing] = {}
        self._agents: dict[tuple[str, str], bool] = {}
        self._tenants: dict[tuple[str, str], str | None] = {}
        self._reports: dict[str, set[str]] = {}

    def take(self, name: KeyName, *, exists: bool, revision: int) -> list[Told]:
        """What the change of the key `name` tells, after the fleet has taken it in.

        It is only remembered where the revision is 0.
        """
        match name.kind:
            case "region":
                told = self._region(name, revision)
            case "client":
                told = self._client(name, revision)
            case "meta":
                told = self._machine(name, revision)
            case "lease":
                told = self._agent(name, revision)
            case "unmatched":
                told = self._unmatched(name, exists, revision)
            case _:
                return []
        return told

    def _region(self, name: KeyName, revision: int) -> list[Told]:
        online = self._fleet.region(name.idc).online
        told_before = self._regions.get(name.idc)
        self._regions[name.idc] = online
        if not revision or (told_before is online and name.rest == "heartbeat"):
            return []
        return [_said("region", name.idc, None, RegionMessage(name.idc, online, revision))]

    def _client(self, name: KeyName, revision: int) -> list[Told]:
        region, place = self._fleet.region(name.idc), (name.idc, name.rest)
        standing = next((c.standing for c in region.clients if c.identity == name.rest), None)
        told_before = self._clients.pop(place, None)
        if standing is not None:
            self._clients[place] = standing
        if not revision or told_before is standing:
            return []
        message = RegionMessage(name.idc, region.online, revision)
        return [_said("region", name.idc, None, message)]

    def _machine(self, name: KeyName, revision: int) -> list[Told]:
        place = name.idc, name.sn
        row = self._fleet.machine_row(*place)
        told: list[Told] = []
        if place in self._tenants:
            tenant = self._tenants.pop(place)
            if revision and (row is None or row.tenant != tenant):
                gone = MachineMessage(*place, revision, removed=True)
                told.append(_said("machine", name.idc, tenant, gone, name.sn))
        if row is not None:
            self._tenants[place] = row.tenant
            if revision:
                told.append(_said("machine", name.idc, row.tenant, _of(row, revision), name.sn))
        return told

    def _agent(self, name: KeyName, revision: int) -> list[Told]:
        place = name.idc, name.sn
        online = bool(self._fleet.agent_online(*place))
        told_before = self._agents.pop(place, False)
        if online:
            self._agents[place] = True
        if not revision or told_before is online:
            return []
        row = self._fleet.machine_row(*place)
        tenant = row.tenant if row else None
        return [_said("agent", name.idc, tenant, AgentMessage(*place, online, revision), name.sn)]

    def _unmatched(self, name: KeyName, exists: bool, revision: int) -> list[Told]:
        reports = self._reports.setdefault(name.idc, set())
        if exists:
            reports.add(name.rest)
        else:
            reports.discard(name.rest)
        if not revision:
            return []
        message = UnmatchedMessage(name.idc, len(reports), revision)
        return [_said("unmatched", name.idc, None, message)]


def _statuses(before: Task | None, after: Task | None) -> list[Status]:
    """Every status that the task came into, in order, as its history has them."""
    if after is None:
        return []
    known = len(before.status_history) if before else 0
    came = [change.status for change in after.status_history[known:]]
    if not came or came[-1] is not after.status:
        came.append(after.status)
    return came


def _has_new_hardware(before: TaskRow | None, after: TaskRow) -> bool:
    """Whether its hardware is to be told; of a task that finishes it is folded, and no other."""
    if before is None or before.hardware_sum == after.hardware_sum:
        return before is None
    return not after.finished or before.hardware_sum == NO_HARDWARE


def _how_far(row: TaskRow) -> tuple[object, ...]:
    return row.stage, row.percent, row.message, row.bytes_done, row.bytes_per_second


def _progress(row: TaskRow, revision: int) -> ProgressMessage:
    return ProgressMessage(
        task_id=row.task_id,
        percentage=row.percent,
        stage=row.stage,
        message=row.message,
        revision=revision,
        bytes_done=row.bytes_done,
        bytes_total=row.bytes_total,
        bytes_per_second=row.bytes_per_second,
        remaining_s=row.remaining_s,
    )


def _log(task: Task, since: int, revision: int) -> LogMessage:
    lines = task.logs[-max(LOG_LINES_TOLD, task.lines_logged - since) :]
    return LogMessage(task.task_id, task.lines_logged - len(lines) + 1, lines, revision)


def _of(row: MachineRow, revision: int) -> MachineMessage:
    return MachineMessage(
        row.idc,
        row.sn,
        revision,
        tags=row.tags,
        installed=row.installed,
        updated_at=row.updated_at,
    )


def _about(task: TaskRow, kind: Kind, message: Any) -> Told:
    key = None if kind == "status" else (kind, task.task_id)
    text = _encode(message)
    return Told(key, message.revision, kind, task.idc, task.task_id, task.tenant, text)


def _said(kind: Kind, idc: str, tenant: str | None, message: Any, sn: str = "") -> Told:
    key = kind, idc, sn, tenant
    return Told(key, message.revision, kind, idc, None, tenant, _encode(message))


_encode = msgspec.json.Encoder().encode
