"""v2.1 (M3): tasks below their region, reports without a task, raw words of the regions."""

import re
from collections import defaultdict
from collections.abc import Iterable

from lpmos.core.migration.entries import (
    PART_NAMES,
    Entry,
    Layout,
    RawReport,
    RawTask,
    Reading,
    Unreadable,
    object_of,
    parts_of,
)

PREFIX = "/os/install/"
_TASK = re.compile(rf"/os/install/task/([^/]+)/([^/]+)/({'|'.join(PART_NAMES)})")
_REGION = re.compile(r"/os/region/[^/]+/(heartbeat|status|capabilities)")
_REPORT = re.compile(r"/os/unmatched_reports/([^/]+)/([^/]+)")
_V3_REPORT = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{12}")


def belongs(entry: Entry) -> bool:
    """Whether an entry is of this layout: v3 has JSON where this one had a word."""
    if entry.key.startswith(PREFIX):
        return True
    if _REGION.fullmatch(entry.key):
        return not entry.value.lstrip().startswith(b"{")
    report = _REPORT.fullmatch(entry.key)
    return report is not None and not _V3_REPORT.fullmatch(report[2])


def read(entries: Iterable[Entry], reading: Reading) -> None:
    """Sort the entries of this layout into `reading`."""
    tasks: dict[tuple[str, str], list[tuple[str, Entry]]] = defaultdict(list)
    for entry in entries:
        if match := _TASK.fullmatch(entry.key):
            tasks[match[1], match[2]].append((match[3], entry))
        elif match := _REPORT.fullmatch(entry.key):
            _read_report(match[1], entry, reading)
        elif _REGION.fullmatch(entry.key):
            reading.replaced.append(entry.key)
        else:
            reading.damaged(entry.key, "is no key of this layout", kind="unknown-key")
    for (idc, task_id), found in tasks.items():
        parts = parts_of(found, reading)
        if parts is None:
            reading.lost += 1
        else:
            reading.tasks.append(
                RawTask(
                    layout=Layout.V21,
                    old_id=task_id,
                    place=f"/os/install/task/{idc}/{task_id}/",
                    sources=tuple(entry.key for _, entry in found),
                    parts=parts,
                    idc=idc,
                )
            )


def _read_report(idc: str, entry: Entry, reading: Reading) -> None:
    try:
        report = RawReport(idc=idc, source=entry.key, document=object_of(entry))
    except Unreadable as error:
        reading.damaged(entry.key, f"the report {error}")
    else:
        reading.reports.append(report)
