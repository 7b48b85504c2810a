"""One task of an older layout, checked field by field.

What decides where and what is installed must be right, else the task is refused with every wrong
field named. What is for reading only (hardware, progress, log, approval, error) is left out where
it is wrong, and named. `OUTCOMES` is the only table of older statuses.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from lpmos.core.migration.entries import Finding, Layout, RawTask
from lpmos.core.migration.fields import Fields
from lpmos.core.migration.hardware import WrongHardware, parse_hardware
from lpmos.core.migration.oldparts import (
    NAME_CHARACTERS,
    parse_approval,
    parse_error,
    parse_progress,
)
from lpmos.model.diskplan import LAYOUTS
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.inventory import Inventory
from lpmos.model.machine import (
    Mac,
    parse_hostname,
    parse_idc,
    parse_mac,
    parse_sn,
    parse_tenant,
    tag_problems,
    tags_fit,
)
from lpmos.model.network import Network, NetworkConfig, network_problems
from lpmos.model.newtask import OS_PATTERN
from lpmos.model.task import Approval, Progress, TaskError

NAMESPACE = uuid.UUID("4b1c7f0e-9d0c-4a59-8f3e-6c706d6f7332")
"""The name space of the ids that take the place of old ones which are no UUIDs."""

CREATED_BY_UNKNOWN = "older-system"
_OS = re.compile(OS_PATTERN)
Parse = Callable[[str, str], str]
_LAST_STEPS = frozenset({"configuring", "completed"})


class Outcome(StrEnum):
    """What an old status means for a task that nobody of the old system drives any more."""

    NOT_BEGUN = "not begun"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


_WORDS = {
    Outcome.NOT_BEGUN: (
        "pending", "created", "queued", "ready", "booting", "pending_approval",
        "waiting_approval", "awaiting_approval", "approved",
    ),
    Outcome.RUNNING: ("installing", "in_progress"),
    Outcome.COMPLETED: ("completed", "complete", "succeeded", "success"),
    Outcome.FAILED: ("failed", "failure", "error", "timeout"),
    Outcome.REJECTED: ("rejected", "denied"),
    Outcome.CANCELLED: ("cancelled", "canceled", "aborted"),
}  # fmt: skip
OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {word: outcome for outcome, words in _WORDS.items() for word in words}
)


class OldTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that can be carried over; `changed_at` is the newest time that it names.

    `sn` None: its machine is known by its MAC alone. `logs` are all its lines.
    """

    layout: Layout
    place: str
    sources: tuple[str, ...]
    digest: str
    old_id: str
    task_id: str
    idc: str
    sn: str | None
    mac: Mac
    hostname: str | None
    os_type: str
    os_version: str
    disk_layout: str
    network_config: NetworkConfig
    tags: dict[str, str]
    tenant: str | None
    status: str
    outcome: Outcome
    progress: tuple[Progress, ...]
    logs: tuple[str, ...]
    hardware: Inventory | None
    approval: Approval | None
    error: TaskError | None
    created_at: datetime
    changed_at: datetime
    created_by: str

    @property
    def macs(self) -> tuple[str, ...]:
        """Its MAC, and those of its machine's other NICs as far as they were reported."""
        nics = self.hardware.nics if self.hardware else ()
        return tuple(dict.fromkeys((self.mac, *(nic.mac for nic in nics))))


class Refused(ValueError):
    """The task cannot be carried over; the text names every wrong field."""


def outcome_of(word: str) -> Outcome | None:
    """What a status means, whatever its case and separators; None where nobody knows."""
    return OUTCOMES.get(re.sub(r"[\s-]+", "_", word.strip().lower()))


def read_task(raw: RawTask) -> tuple[OldTask, list[Finding]]:
    """The task, and what of it is left out.

    Raises:
        Refused: it cannot be carried over.
    """
    reader = _Reader(raw)
    task = reader.task()
    return task, reader.left_out


class _Reader:
    def __init__(self, raw: RawTask) -> None:
        self._raw = raw
        self._fields = Fields(raw.parts.get("metadata") or {})
        self._times: list[datetime] = []
        self.left_out: list[Finding] = []

    def task(self) -> OldTask:
        """All of it; raises Refused."""
        fields, raw = self._fields, self._raw
        if "metadata" not in raw.parts:
            raise Refused("there is no metadata")
        status, outcome = self._status()
        known = self._whose() | self._what()
        known |= {
            "hardware": self._hardware(),
            "progress": self._progress(),
            "approval": self._approval(),
            "error": self._error(),
        }
        outcome = _settled(outcome, known["progress"], known["approval"])
        if outcome is Outcome.NOT_BEGUN and known["disk_layout"] not in LAYOUTS:
            fields.wrong("disk_layout", f"{known['disk_layout'][:40]!r} is unknown to this version")
        if fields.problems or outcome is None:
            raise Refused("; ".join(fields.problems))
        return OldTask(
            layout=raw.layout,
            place=raw.place,
            sources=raw.sources,
            digest=raw.digest,
            old_id=raw.old_id,
            task_id=new_task_id(raw.layout, raw.old_id),
            status=status,
            outcome=outcome,
            logs=tuple(raw.parts.get("logs") or ()),
            changed_at=max(self._times),
            **known,
        )

    def _whose(self) -> dict[str, Any]:
        """Which machine it is for, and who wanted it when."""
        fields, raw = self._fields, self._raw
        names = "region_id", "idc", "region", "label"
        idc = self._named(raw.idc, parse_idc, *names, required=raw.idc is None)
        if (given := fields.text("task_id", "id")) not in (None, raw.old_id):
            fields.wrong("task_id", f"{given!r} is not the key's {raw.old_id!r}")
        created_at = self._time(fields.time("created_at", required=True))
        self._time(fields.time("updated_at"))
        return {
            "idc": idc,
            "sn": self._named(raw.sn, parse_sn, "sn"),
            "mac": fields.parsed(parse_mac, "mac", "target_mac", required=True),
            "hostname": fields.parsed(parse_hostname, "hostname"),
            "tenant": fields.parsed(parse_tenant, "tenant"),
            "created_at": created_at,
            "created_by": (fields.text("created_by") or CREATED_BY_UNKNOWN)[:NAME_CHARACTERS],
        }

    def _what(self) -> dict[str, Any]:
        """What shall be installed."""
        return {
            "os_type": self._system("os_type"),
            "os_version": self._system("os_version"),
            "disk_layout": (self._fields.text("disk_layout") or "auto")[:NAME_CHARACTERS],
            "network_config": self._network(),
            "tags": self._tags(),
        }

    def _status(self) -> tuple[str, Outcome | None]:
        parts = self._raw.parts
        word = parts["status"] if "status" in parts else self._fields.text("status") or ""
        outcome = outcome_of(word)
        if outcome is None:
            said = f"{word[:40]!r} is unknown" if word else "is missing"
            self._fields.wrong("status", said)
        return word, outcome

    def _named(
        self, by_key: str | None, parse: Parse, *names: str, required: bool = False
    ) -> str | None:
        """What the key says counts; the document must not contradict it."""
        inside = self._fields.parsed(parse, *names, required=required)
        if by_key is None:
            return inside
        try:
            found = parse(by_key, names[0])
        except InvalidInput as error:
            self._fields.wrong(names[0], _words(error.problems))
            return None
        if inside not in (None, found):
            self._fields.wrong(names[0], f"{inside!r} is not the key's {found!r}")
        return found

    def _system(self, name: str) -> str:
        text = (self._fields.text(name, required=True) or "").lower()
        if text and not _OS.fullmatch(text):
            self._fields.wrong(name, f"{text[:40]!r} is no name of a system")
        return text

    def _network(self) -> NetworkConfig:
        given = self._fields.raw("network_config")
        if given in (None, "", "dhcp"):
            return "dhcp"
        try:
            static = msgspec.convert(given, Network)
        except msgspec.ValidationError:
            self._fields.wrong("network_config", "is neither dhcp nor addresses")
            return "dhcp"
        for problem in network_problems(static):
            self._fields.wrong(problem.field, problem.message)
        return static

    def _tags(self) -> dict[str, str]:
        given = self._fields.raw("tags") or {}
        try:
            tags = msgspec.convert(given, dict[str, str])
        except msgspec.ValidationError:
            self._fields.wrong("tags", "are not texts by name")
            return {}
        problems = tag_problems(tags)
        if problems or not tags_fit(tags):
            self._fields.wrong("tags", _words(problems) or "are too long together")
        return tags

    def _hardware(self) -> Inventory | None:
        document = self._raw.parts.get("hardware", self._fields.raw("hardware"))
        if not document:
            return None
        if not isinstance(document, dict):
            self._without("hardware", "is not an object")
            return None
        try:
            inventory = parse_hardware(document)
        except WrongHardware as error:
            self._without("hardware", str(error))
            return None
        self._time(inventory.collected_at)
        return inventory

    def _progress(self) -> tuple[Progress, ...]:
        given = self._raw.parts.get("progress", self._fields.raw("progress"))
        steps, problems = parse_progress(given)
        if problems:
            self._without("progress", "; ".join(problems))
        for step in steps:
            self._time(step.timestamp)
        return steps

    def _approval(self) -> Approval | None:
        given = self._raw.parts.get("approval", self._fields.raw("approval"))
        approval, problems = parse_approval(given)
        if problems:
            self._without("approval", "; ".join(problems))
        if approval is not None:
            self._time(approval.approved_at or approval.rejected_at)
        return approval

    def _error(self) -> TaskError | None:
        given = self._raw.parts.get("error", self._fields.raw("error"))
        error, occurred_at, problems = parse_error(given)
        if problems:
            self._without("error", "; ".join(problems))
        self._time(occurred_at)
        return error

    def _time(self, at: datetime | None) -> datetime | None:
        if at is not None:
            self._times.append(at)
        return at

    def _without(self, name: str, reason: str) -> None:
        """Leave out one part of the task."""
        key = next((s for s in self._raw.sources if s.endswith(f"/{name}")), self._raw.place)
        self.left_out.append(
            Finding(
                key=key,
                kind="part-left-out",
                reason=f"the {name} {reason}",
                refused=False,
                task_id=new_task_id(self._raw.layout, self._raw.old_id),
            )
        )


def new_task_id(layout: Layout, old_id: str) -> str:
    """The id in v3: the old one where it is a UUID, else always the same one made of it."""
    try:
        return str(uuid.UUID(old_id))
    except ValueError:
        return str(uuid.uuid5(NAMESPACE, f"{layout}/{old_id}"))


def _settled(
    outcome: Outcome | None, progress: tuple[Progress, ...], approval: Approval | None
) -> Outcome | None:
    """The outcome, seen with the progress: a disk that was touched is never called untouched."""
    newest = progress[-1] if progress else None
    if outcome is Outcome.NOT_BEGUN and newest is not None and newest.percent > 0:
        outcome = Outcome.RUNNING
    if outcome is Outcome.RUNNING and newest is not None:
        done = newest.percent >= 100 and newest.step in _LAST_STEPS
        return Outcome.COMPLETED if done else outcome
    if outcome is Outcome.NOT_BEGUN and approval is not None and not approval.approved:
        return Outcome.REJECTED  # these layouts had no such status
    return outcome


def _words(problems: tuple[FieldProblem, ...] | list[FieldProblem]) -> str:
    return "; ".join(each.message for each in problems)
