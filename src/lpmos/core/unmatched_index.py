"""All reports without a task, in memory: what a row of their list shows, in the order they came.

The order is that of when a machine first reported, which its later reports do not change; so a page
stays what it was while machines go on reporting.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

import msgspec

from lpmos.core.duplicates import Duplicates, Mark, Member, marks
from lpmos.core.ordered import Ordered
from lpmos.model.fingerprint import identity_of
from lpmos.model.inventory import Inventory
from lpmos.model.machine import UnmatchedReport


class UnmatchedRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A report in a list; `rest` is the last part of its key, `words` what a search looks in.

    `serial` and `uuid` are the machine's own, without placeholders; `same_mac`: it is another
    machine that uses a known one's MAC.
    """

    idc: str
    rest: str
    mac: str
    sn: str | None
    vendor: str | None
    model: str | None
    cpu_cores: int
    memory_bytes: int
    disk_sizes_bytes: tuple[int, ...]
    received_at: datetime
    error: str
    revision: int
    words: str
    serial: str | None = None
    uuid: str | None = None
    same_mac: bool = False

    @property
    def member(self) -> Member:
        """What it is called among those of the same name."""
        return self.idc, self.rest


class UnmatchedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which reports to list; `text` is a part of the serial number, MAC, vendor or model."""

    idc: str | None = None
    text: str | None = None
    limit: int = 50
    offset: int = 0


class UnmatchedIndex:
    """Rows by data center and the last part of their key."""

    def __init__(self, duplicates: Duplicates) -> None:
        self._duplicates = duplicates
        self._rows: dict[str, UnmatchedRow] = {}
        self._order = Ordered()
        self._counts: Counter[str] = Counter()

    def get(self, idc: str, rest: str) -> UnmatchedRow | None:
        """One row."""
        return self._rows.get(f"{idc}/{rest}")

    def put(self, row: UnmatchedRow) -> None:
        """Take in a report, or a machine's next one."""
        self.remove(row.idc, row.rest)
        name = f"{row.idc}/{row.rest}"
        self._rows[name] = row
        self._order.add(row.rest, 0.0, name)
        self._counts[row.idc] += 1
        self._duplicates.add(row.member, _marks(row), None)

    def remove(self, idc: str, rest: str) -> None:
        """Forget a report; no error where it is not known."""
        name = f"{idc}/{rest}"
        row = self._rows.pop(name, None)
        if row is not None:
            self._order.remove(rest, 0.0, name)
            self._counts[idc] -= 1
            self._duplicates.remove(row.member, _marks(row), None)

    def count(self, idc: str | None = None) -> int:
        """How many reports a data center has, or all have."""
        return len(self._rows) if idc is None else self._counts[idc]

    def counts(self) -> dict[str, int]:
        """How many reports each data center has that ever had one."""
        return dict(self._counts)

    def rows(self) -> Iterator[UnmatchedRow]:
        """Every report, the oldest first."""
        return (self._rows[name] for name in self._order.ids())

    def page(self, query: UnmatchedQuery) -> tuple[list[UnmatchedRow], int]:
        """One page of the reports that match, the newest first, and how many match in all."""
        idc, end = query.idc, query.offset + query.limit
        word = None if query.text is None else query.text.casefold()
        newest_first = (self._rows[name] for name in self._order.backwards())
        matching = (
            row
            for row in newest_first
            if idc in (None, row.idc) and (word is None or word in row.words)
        )
        if word is None:
            return list(islice(matching, query.offset, end)), self.count(idc)
        found = list(matching)
        return found[query.offset : end], len(found)


def row_of_report(idc: str, rest: str, report: UnmatchedReport, revision: int) -> UnmatchedRow:
    """The row of a report."""
    vendor, model = _named(report.hardware)
    identity = identity_of(report.hardware)
    words = (report.sn, report.mac_address, report.mac_address.replace(":", ""), vendor, model)
    return UnmatchedRow(
        idc=idc,
        rest=rest,
        mac=report.mac_address,
        sn=report.sn,
        vendor=vendor,
        model=model,
        cpu_cores=report.hardware.cpu.cores,
        memory_bytes=report.hardware.memory.total_bytes,
        disk_sizes_bytes=tuple(disk.size_bytes for disk in report.hardware.disks[:32]),
        received_at=report.received_at,
        error=report.error,
        revision=revision,
        words="\n".join(word for word in words if word).casefold(),
        serial=identity.serial,
        uuid=identity.uuid,
        same_mac=report.same_mac_as is not None,
    )


def _marks(row: UnmatchedRow) -> list[Mark]:
    # By its MAC alone a report is of the machine that a task is waiting for.
    return marks(row.serial, row.uuid, (row.mac,) if row.same_mac else ())


def _named(hardware: Inventory) -> tuple[str | None, str | None]:
    return hardware.product.vendor or hardware.board.vendor, (
        hardware.product.name or hardware.board.name
    )
