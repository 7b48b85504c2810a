"""`lpmos unmatched`: machines that reported themselves and have no task."""

import argparse
from typing import Any
from urllib.parse import quote

from lpmos.cli.client import Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished
from lpmos.cli.inventory import show_inventory
from lpmos.cli.options import add_limit, add_yes, command, group, limit
from lpmos.cli.task_create import add_fields, body_of
from lpmos.cli.task_names import FINDS, task_id
from lpmos.cli.words import ago, memory, size

COLUMNS = (
    Column("REPORT", lambda report: report["id"]),
    Column("SN", lambda report: report["sn"] or ""),
    Column("MAC", lambda report: report["mac"], drop=2),
    Column("PRODUCT", lambda report: f"{report['vendor'] or ''} {report['model'] or ''}", drop=3),
    Column("CORES", lambda report: report["cpu_cores"], right=True, drop=6),
    Column("MEMORY", lambda report: memory(report["memory_bytes"]), right=True, drop=5),
    Column("DISKS", lambda report: ", ".join(size(each) for each in report["disk_sizes_bytes"]),
           drop=4),
    Column("REPORTED", lambda report: ago(report["received_at"], utc_now()), drop=1),
)  # fmt: skip


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `unmatched`."""
    kinds = group(parser)
    listing = command(
        kinds, "list", _list, "list machines without a task, newest report first",
        calls=("GET /unmatched-reports",),
    )  # fmt: skip
    listing.add_argument("--idc", help="only of this data center")
    listing.add_argument("--text", help="in serial number, MAC, vendor or model")
    add_limit(listing)
    one = "/unmatched-reports/{report}"
    _one(kinds, "show", _show, "show a report, and what the rules say of it", (f"GET {one}",))
    match = _one(
        kinds, "match", _match, "give the machine a task that waits for one",
        (*FINDS, f"POST {one}/match"),
    )  # fmt: skip
    match.add_argument("task", metavar="TASK", help="id, its beginning, serial number or host")
    match.add_argument(
        "--force", action="store_true", help="although the serial number or disks contradict it"
    )
    create = _one(kinds, "create", _create, "make a task for the machine", (f"POST {one}/match",))
    add_fields(create)
    dismiss = _one(
        kinds, "dismiss", _dismiss, "delete reports; a machine that goes on reporting comes back",
        (f"DELETE {one}",), nargs="+",
    )  # fmt: skip
    add_yes(dismiss)


def _one(
    kinds: Any, name: str, run: Any, help_text: str, calls: tuple[str, ...], **more: Any
) -> argparse.ArgumentParser:
    parser = command(kinds, name, run, help_text, calls=calls)
    parser.add_argument("report", metavar="REPORT", help="as `unmatched list` shows it", **more)
    return parser


def _path(report: str) -> str:
    return f"unmatched-reports/{quote(report, safe='')}"


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages(
            "unmatched-reports", "reports", limit=limit(chosen), idc=chosen.idc, text=chosen.text
        )
    display = Display(chosen)
    display.listing(
        found, "reports", COLUMNS, lambda report: str(report["id"]),
        nothing="every machine that reported has a task",
    )  # fmt: skip
    if display.people and found["alert"]:
        display.note(f"a data center has more than {found['alert_over']} machines without a task")


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        report = client.get(_path(chosen.report))
    display = Display(chosen)
    if not display.for_person(report, report["id"]):
        return
    display.fields(
        [
            ("report", report["id"]),
            ("machine", f"{report['idc']} / {report['sn'] or '?'} / {report['mac']}"),
            ("reported", ago(report["received_at"], utc_now())),
            ("told", report["error"]),
            ("known as", report["known_as"]),
        ]
    )
    display.heading("hardware")
    show_inventory(display, report["hardware"])
    show_verdicts(display, report["rules"])


def show_verdicts(display: Display, verdicts: list[Document]) -> None:
    """What each rule says of a machine or task."""
    if not verdicts:
        return
    display.heading("what the rules say")
    columns = (
        Column("RULE", lambda each: each["rule"]),
        Column("", lambda each: "matches" if each["matched"] else "not"),
        Column("WHY", lambda each: each["reason"]),
    )
    display.table(verdicts, columns)


def _match(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        body: Document = {"task_id": task_id(client, chosen.task), "force": chosen.force}
        made = client.call("POST", f"{_path(chosen.report)}/match", body).document
    _matched(chosen, made)


def _create(chosen: argparse.Namespace) -> None:
    body = {"create": body_of(chosen)}
    with connect(chosen) as client:
        made = client.call("POST", f"{_path(chosen.report)}/match", body).document
    _matched(chosen, made)


def _matched(chosen: argparse.Namespace, made: Document) -> None:
    said = f"{made['sn']} ({made['mac']}) has the task {made['task_id']}: {made['status']}"
    Display(chosen).result(made, made["task_id"], said)


def _dismiss(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Dismiss {len(chosen.report)} reports?"):
        raise Unfinished("nothing was dismissed")
    display = Display(chosen)
    with connect(chosen) as client:

        def dismiss(report: str) -> None:
            client.call("DELETE", _path(report))
            display.done(report, f"dismissed {report}")

        display.each(chosen.report, dismiss)
