"""`lpmos task statistics`: how many tasks are how, and what was begun and ended lately."""

import argparse
from collections.abc import Mapping

from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display
from lpmos.cli.words import listed

REGIONS = (
    Column("IDC", lambda region: region["idc"]),
    Column("STATE", lambda region: "online" if region["online"] else "offline"),
    Column("TASKS", lambda region: region["total"], right=True),
    Column("BY STATUS", lambda region: _some(region["counts"])),
    Column("WITHOUT A TASK", lambda region: region["unmatched"], drop=1, right=True),
)
SYSTEMS = (
    Column("OS", lambda system: f"{system['os_type']} {system['os_version']}"),
    Column("TASKS", lambda system: system["total"], right=True),
    Column("BY STATUS", lambda system: _some(system["counts"])),
)


def run(chosen: argparse.Namespace) -> None:
    """Print the figures of all regions, and the sums of the last hours."""
    with connect(chosen) as client:
        found = client.get("statistics", hours=chosen.hours)
    display = Display(chosen)
    if not display.for_person(found, str(found["total"])):
        return
    happened = {
        name: sum(bucket[name] for bucket in found["throughput"])
        for name in ("created", "completed", "failed")
    }
    display.fields(
        [
            ("tasks", found["total"]),
            ("by status", _some(found["counts"])),
            (f"in the last {found['hours']} h", listed(happened)),
            ("reports without a task", found["unmatched"]),
        ]
    )
    for heading, name, columns in (
        ("Data centers", "regions", REGIONS),
        ("Systems", "systems", SYSTEMS),
    ):
        if found[name]:
            display.heading(heading)
            display.table(found[name], columns)


def _some(counts: Mapping[str, int]) -> str:
    return listed({name: count for name, count in counts.items() if count})
