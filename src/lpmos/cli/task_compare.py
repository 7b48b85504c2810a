"""`lpmos task compare`: how a machine differs from what it reported for the task before."""

import argparse

from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display
from lpmos.cli.task_names import task_id

COLUMNS = (
    Column("CHANGE", lambda change: change["change"]),
    Column("WHAT", lambda change: change["what"]),
    Column("BEFORE", lambda change: change["before"] or ""),
    Column("NOW", lambda change: change["after"] or ""),
)


def run(chosen: argparse.Namespace) -> None:
    """Print every difference; `--quiet` prints their paths."""
    with connect(chosen) as client:
        found = task_id(client, chosen.task)
        view = client.get(f"tasks/{found}/hardware-changes")
    display = Display(chosen)
    if display.json:
        display.document(view)
        return
    nothing = "the hardware is what it was"
    if view["changes"] is None:
        nothing = "there are no two reports of this machine to compare"
    display.listing(
        {"changes": view["changes"] or []},
        "changes",
        COLUMNS,
        lambda change: str(change["path"]),
        nothing=nothing,
    )
