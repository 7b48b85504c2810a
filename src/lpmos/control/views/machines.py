"""Machines as the API shows them: in a list from memory, one by one with its inventory."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from lpmos.control.views.tasks import PageLinks, TaskSummary, machine_place, summary
from lpmos.core.duplicates import Duplicate
from lpmos.core.machineindex import MachineRow
from lpmos.core.machines import StoredMachine
from lpmos.core.taskrow import TaskRow
from lpmos.model.fingerprint import is_placeholder
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed


class MachineLinks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a machine is, and its present task."""

    self: str
    task: str | None = None


class TaskNow(msgspec.Struct, frozen=True):
    """A machine's present task in a few words."""

    task_id: str
    status: Status
    percentage: float
    os_type: str
    os_version: str


class MachineSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A machine in a list; what only a report tells is null before the first one, as `revision`.

    `online` is whether its agent lives: null where the region never said so. `duplicate`: another
    has the same serial number, UUID or MAC.
    """

    idc: str
    sn: str
    macs: tuple[str, ...]
    vendor: str | None
    product: str | None
    cpu: str | None
    cores: int | None
    memory_bytes: int | None
    disks: int | None
    disk_bytes: int | None
    bmc_address: str | None
    tags: dict[str, str]
    tenant: str | None
    address: str | None
    installed: Installed | None
    online: bool | None
    duplicate: bool
    first_seen_at: datetime | None
    reported_at: datetime | None
    updated_at: datetime
    task: TaskNow | None
    revision: int | None
    links: MachineLinks


class MachineList(msgspec.Struct, frozen=True):
    """One page of machines; `total` match in all."""

    machines: list[MachineSummary]
    total: int
    limit: int
    offset: int
    links: PageLinks


class MachineView(msgspec.Struct, frozen=True, kw_only=True):
    """One machine in full; `revision` is that of the ETag, null before its first report.

    `online` is whether its agent lives: null where the region never said so. `duplicates` are
    others of the same serial number, UUID or MAC, at most 100. `placeholder_serial` is what its
    firmware says in place of a serial number, so that its MAC names it.
    """

    idc: str
    sn: str
    macs: tuple[str, ...]
    placeholder_serial: str | None
    duplicates: list[Duplicate]
    inventory: Inventory | None
    bmc_address: str | None
    tags: dict[str, str]
    tenant: str | None
    address: str | None
    installed: Installed | None
    online: bool | None
    first_seen_at: datetime | None
    reported_at: datetime | None
    updated_at: datetime | None
    task: TaskSummary | None
    past_tasks: list[TaskSummary]
    revision: int | None
    links: MachineLinks


def machine_summary(
    row: MachineRow, task: TaskRow | None, *, online: bool | None, duplicate: bool
) -> MachineSummary:
    """The machine as a row of a list."""
    known = msgspec.structs.asdict(row)
    del known["words"], known["name"], known["serial"], known["uuid"]
    return MachineSummary(
        **known,
        online=online,
        duplicate=duplicate,
        task=_now(task) if task else None,
        links=_links(row.idc, row.sn, task),
    )


def machine_full(
    idc: str,
    sn: str,
    found: StoredMachine,
    task: TaskRow | None,
    past: Iterable[TaskRow],
    *,
    online: bool | None,
    duplicates: list[Duplicate],
) -> MachineView:
    """The machine with all that is known of it, its tasks as the caller may see them."""
    machine = found.machine
    unseen = (found.task.mac,) if found.task else ()
    owner = found.task.tags if found.task else {}
    return MachineView(
        idc=idc,
        sn=sn,
        macs=machine.macs if machine else unseen,
        placeholder_serial=_placeholder(machine.inventory if machine else None),
        duplicates=duplicates,
        inventory=machine.inventory if machine else None,
        bmc_address=machine.bmc_address if machine else None,
        tags=machine.tags if machine else owner,
        tenant=found.tenant,
        address=machine.address if machine else None,
        installed=machine.installed if machine else None,
        online=online,
        first_seen_at=machine.first_seen_at if machine else None,
        reported_at=machine.reported_at if machine else None,
        updated_at=machine.updated_at if machine else None,
        task=summary(task) if task else None,
        past_tasks=[summary(row) for row in past],
        revision=found.revision or None,
        links=_links(idc, sn, task),
    )


def _placeholder(inventory: Inventory | None) -> str | None:
    serial = inventory.product.serial if inventory else None
    return serial if serial and is_placeholder(serial) else None


def _now(task: TaskRow) -> TaskNow:
    return TaskNow(task.task_id, task.status, task.percent, task.os_type, task.os_version)


def _links(idc: str, sn: str, task: TaskRow | None) -> MachineLinks:
    place = machine_place(idc, sn)
    return MachineLinks(self=place, task=f"/api/v1/tasks/{task.task_id}" if task else None)
