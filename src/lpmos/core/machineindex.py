"""All machines that are known, in memory: what a row of their list shows, in any order.

A machine is known by its own record (S3) or, before it ever reported, by the task that waits for
it. Its inventory is decoded only when somebody asks for it. An order is made when somebody first
asks for it, and moves with each change from then on.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from lpmos.core.duplicates import Duplicates, Mark, marks
from lpmos.core.ordered import Ordered, narrowed
from lpmos.core.taskindex import SORTED_LIMIT, has_tag, is_system
from lpmos.core.taskrow import TaskRow, seconds
from lpmos.model.fingerprint import known_serial, known_uuid
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed
from lpmos.store import records
from lpmos.store.api import KV

MachineSort = Literal["sn", "-sn", "updated_at", "-updated_at"]
Place = tuple[str, str]


class MachineRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A machine in a list; what only a report tells is None before the first.

    `name` is `IDC/SN`; `revision` is the store's of the machine's record, None where it has none.
    `serial` and `uuid` are its own, without placeholders (`lpmos.model.fingerprint`).
    """

    name: str
    idc: str
    sn: str
    macs: tuple[str, ...]
    vendor: str | None = None
    product: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    disks: int | None = None
    disk_bytes: int | None = None
    bmc_address: str | None = None
    tags: dict[str, str]
    tenant: str | None
    address: str | None = None
    installed: Installed | None = None
    first_seen_at: datetime | None = None
    reported_at: datetime | None = None
    updated_at: datetime
    revision: int | None
    words: str
    serial: str | None = None
    uuid: str | None = None

    @property
    def place(self) -> Place:
        """What names the machine."""
        return self.idc, self.sn


class MachineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which machines to list; None matches every machine.

    `text` is a part of the serial number, a MAC, the vendor, the product or the BMC's address,
    whatever the case; `tag` is a `key` or `key=value`; `os` is what is installed: a type, or a type
    and a version; `statuses` are of the machine's present task; `duplicate`: whether another that
    users of the tenant `seen_by` see (None: of the provider) has the same serial, UUID or MAC.
    """

    idc: str | None = None
    tenant: str | None = None
    text: str | None = None
    tag: str | None = None
    os: str | None = None
    statuses: frozenset[Status] | None = None
    duplicate: bool | None = None
    seen_by: str | None = None
    sort: MachineSort = "sn"
    limit: int = 50
    offset: int = 0


class _Cpu(msgspec.Struct, frozen=True):
    model: str | None = None
    cores: int = 1


class _Memory(msgspec.Struct, frozen=True):
    total_bytes: int


class _Disk(msgspec.Struct, frozen=True):
    size_bytes: int


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a row shows of an inventory."""

    product: Product = Product()
    cpu: _Cpu = _Cpu()
    memory: _Memory
    disks: tuple[_Disk, ...] = ()


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a machine's record that a row is made of."""

    idc: str
    sn: str
    macs: tuple[str, ...]
    inventory: _Found | None = None
    bmc_address: str | None = None
    tags: dict[str, str] = {}
    tenant: str | None = None
    address: str | None = None
    installed: Installed | None = None
    first_seen_at: datetime
    reported_at: datetime | None = None
    updated_at: datetime


class MachineIndex:
    """Machines by data center and serial number."""

    def __init__(self, duplicates: Duplicates) -> None:
        self._rows: dict[str, MachineRow] = {}
        self._orders: dict[str, Ordered] = {}
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._duplicates = duplicates

    def get(self, place: Place) -> MachineRow | None:
        """A machine by its place."""
        return self._rows.get("/".join(place))

    def rows(self) -> Iterator[MachineRow]:
        """Every machine, by serial number, as they are at this moment."""
        return iter([self._rows[name] for name in self._names("sn")])

    def put(self, row: MachineRow) -> None:
        """Take in a machine, or what it is now."""
        self.remove(row.place)
        self._rows[row.name] = row
        for field, order in self._orders.items():
            order.add(_ORDERS[field](row), 0.0, row.name)
        self._counts[row.idc, row.tenant] += 1
        self._duplicates.add(row.name, _marks(row), row.tenant)

    def remove(self, place: Place) -> None:
        """Forget a machine; no error where it is not known."""
        name = "/".join(place)
        row = self._rows.pop(name, None)
        if row is not None:
            for field, order in self._orders.items():
                order.remove(_ORDERS[field](row), 0.0, name)
            self._counts[row.idc, row.tenant] -= 1
            self._duplicates.remove(name, _marks(row), row.tenant)

    def count(self, idc: str | None = None, tenant: str | None = None) -> int:
        """How many machines a region and a tenant have."""
        return sum(
            count
            for (region, owner), count in self._counts.items()
            if idc in (None, region) and tenant in (None, owner)
        )

    def page(
        self, query: MachineQuery, task_of: Callable[[Place], TaskRow | None]
    ) -> tuple[list[MachineRow], int]:
        """One page of the matching machines, and how many match in all.

        Args:
            query: which.
            task_of: the present task of a machine.
        """
        conditions = _conditions(query, task_of)
        if (duplicate := query.duplicate) is not None:
            known = self._duplicates.members(query.seen_by)
            conditions.append(lambda row: (row.name in known) is duplicate)
        if conditions:
            rows = narrowed(self._candidates(query), (*_counted_conditions(query), *conditions))
            found = {row.name: row for row in rows}
            return _page(self._ordered(found, query.sort), query), len(found)
        rows = map(self._rows.__getitem__, self._names(query.sort))
        matching = narrowed(rows, _counted_conditions(query))
        total = self.count(query.idc, query.tenant)
        return _page(matching, query) if query.offset < total else [], total

    def _candidates(self, query: MachineQuery) -> Iterable[MachineRow]:
        """Where to look: those that share a name are few."""
        if not query.duplicate:
            return self._rows.values()
        members = self._duplicates.members(query.seen_by)
        return [self._rows[each] for each in members if isinstance(each, str)]

    def _ordered(self, found: Mapping[str, MachineRow], sort: MachineSort) -> Iterable[MachineRow]:
        """A few are sorted; for many, all are walked in their order as far as the page."""
        if len(found) > SORTED_LIMIT:
            return (found[name] for name in self._names(sort) if name in found)
        by_name = sorted(found.values(), key=lambda row: row.name)
        value = _ORDERS[sort.removeprefix("-")]
        return sorted(by_name, key=value, reverse=sort.startswith("-"))

    def _names(self, sort: MachineSort) -> Iterator[str]:
        order = self._order(sort.removeprefix("-"))
        return order.descending() if sort.startswith("-") else order.ids()

    def _order(self, field: str) -> Ordered:
        if field not in self._orders:
            order = self._orders[field] = Ordered()
            for row in self._rows.values():
                order.add(_ORDERS[field](row), 0.0, row.name)
        return self._orders[field]


_ORDERS: Mapping[str, Callable[[MachineRow], Any]] = MappingProxyType(
    {"sn": lambda row: row.sn, "updated_at": lambda row: seconds(row.updated_at)}
)


def _page(rows: Iterable[MachineRow], query: MachineQuery) -> list[MachineRow]:
    return list(islice(rows, query.offset, query.offset + query.limit))


def row_of_machine(kv: KV) -> MachineRow:
    """The row of a machine's record.

    Raises:
        DamagedRecord: it is no machine.
    """
    machine = records.decode(kv, _Head)
    found = machine.inventory
    return MachineRow(
        name=f"{machine.idc}/{machine.sn}",
        idc=sys.intern(machine.idc),
        sn=machine.sn,
        macs=machine.macs,
        vendor=_shared(found.product.vendor) if found else None,
        product=_shared(found.product.name) if found else None,
        cpu=_shared(found.cpu.model) if found else None,
        cores=found.cpu.cores if found else None,
        memory_bytes=found.memory.total_bytes if found else None,
        disks=len(found.disks) if found else None,
        disk_bytes=sum(disk.size_bytes for disk in found.disks) if found else None,
        bmc_address=machine.bmc_address,
        tags=machine.tags,
        tenant=machine.tenant,
        address=machine.address,
        installed=machine.installed,
        first_seen_at=machine.first_seen_at,
        reported_at=machine.reported_at,
        updated_at=machine.updated_at,
        revision=kv.mod_revision,
        words=_words(machine),
        serial=known_serial(found.product.serial) if found else None,
        uuid=known_uuid(found.product.uuid) if found else None,
    )


def row_of_unseen(task: TaskRow) -> MachineRow:
    """The row of a machine that is known only by its task."""
    return MachineRow(
        name=f"{task.idc}/{task.sn}",
        idc=task.idc,
        sn=task.sn,
        macs=(task.mac,),
        tags=task.tags,
        tenant=task.tenant,
        updated_at=task.created_at,
        revision=None,
        words=f"{task.sn}\n{task.mac}".casefold(),
    )


def _shared(text: str | None) -> str | None:
    """Text that thousands of machines have alike is kept once."""
    return sys.intern(text) if text is not None else None


def _marks(row: MachineRow) -> list[Mark]:
    return marks(row.serial, row.uuid, row.macs)


def _words(machine: _Head) -> str:
    product = machine.inventory.product if machine.inventory else None
    words = [machine.sn, *machine.macs, machine.bmc_address, machine.address]
    words += [product.vendor, product.name] if product else []
    return "\n".join(word for word in words if word).casefold()


def _counted_conditions(query: MachineQuery) -> list[Callable[[MachineRow], bool]]:
    """Those that the counts know of."""
    found: list[Callable[[MachineRow], bool]] = []
    if (idc := query.idc) is not None:
        found.append(lambda row: row.idc == idc)
    if (tenant := query.tenant) is not None:
        found.append(lambda row: row.tenant == tenant)
    return found


def _conditions(
    query: MachineQuery, task_of: Callable[[Place], TaskRow | None]
) -> list[Callable[[MachineRow], bool]]:
    found: list[Callable[[MachineRow], bool]] = []
    if query.text is not None:
        text = query.text.casefold()
        found.append(lambda row: text in row.words)
    if query.tag is not None:
        tagged = has_tag(query.tag)
        found.append(lambda row: tagged(row.tags))
    if query.os is not None:
        system = is_system(query.os)
        found.append(lambda row: _is_installed(row.installed, system))
    if (statuses := query.statuses) is not None:
        found.append(lambda row: _is_in(task_of(row.place), statuses))
    return found


def _is_in(task: TaskRow | None, statuses: frozenset[Status]) -> bool:
    return task is not None and task.status in statuses


def _is_installed(installed: Installed | None, system: Callable[[str, str], Any]) -> bool:
    return installed is not None and bool(system(installed.os_type, installed.os_version))
