"""`lpmos dlq`: failed tasks that were set aside, until somebody looks into them."""

import argparse
import uuid
from typing import Any

from lpmos.cli.client import Client
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished
from lpmos.cli.options import add_limit, add_yes, command, group, limit
from lpmos.cli.task_names import meant
from lpmos.cli.task_show import show
from lpmos.cli.words import ago

COLUMNS = (
    Column("TASK", lambda task: task["task_id"][:8]),
    Column("IDC", lambda task: task["idc"], drop=2),
    Column("SN", lambda task: task["sn"]),
    Column("OS", lambda task: f"{task['os_type']} {task['os_version']}", drop=4),
    Column("TRY", lambda task: task["attempt"], right=True, drop=3),
    Column("FAILED", lambda task: ago(task["updated_at"], utc_now()), drop=1),
    Column("WHY", lambda task: task["error"] or ""),
)
FINDS = ("GET /dlq",)
CANDIDATES = 500


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `dlq`."""
    kinds = group(parser)
    listing = command(
        kinds, "list", _list, "list failed tasks, the last failure first", calls=("GET /dlq",)
    )
    listing.add_argument("--idc", help="only of this data center")
    listing.add_argument("--text", help="in serial number, host name, MAC or task id")
    listing.add_argument("--tenant", help="only of this tenant")
    add_limit(listing)
    shown = command(
        kinds, "show", _show, "show a task as it was when it failed",
        calls=(*FINDS, "GET /dlq/{task_id}"),
    )  # fmt: skip
    _tasks(shown, nargs=None)
    requeue = command(
        kinds, "requeue", _requeue, "try tasks again, each as a new one",
        calls=(*FINDS, "POST /dlq/{task_id}/requeue"),
    )  # fmt: skip
    _tasks(requeue)
    dismiss = command(
        kinds, "dismiss", _dismiss, "leave tasks at that; they stay in the machine's history",
        calls=(*FINDS, "DELETE /dlq/{task_id}"),
    )  # fmt: skip
    _tasks(dismiss)
    add_yes(dismiss)


def _tasks(parser: argparse.ArgumentParser, nargs: Any = "+") -> None:
    parser.add_argument("task", nargs=nargs, metavar="TASK", help="id, its beginning, SN or host")


def _id(client: Client, name: str) -> str:
    return meant(name, lambda text: client.get("dlq", text=text, limit=CANDIDATES)["dead_letters"])


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages(
            "dlq", "dead_letters", limit=limit(chosen), idc=chosen.idc, text=chosen.text,
            tenant=chosen.tenant,
        )  # fmt: skip
    Display(chosen).listing(
        found, "dead_letters", COLUMNS, lambda task: str(task["task_id"]),
        nothing="no failed task is set aside",
    )  # fmt: skip


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        task = client.get(f"dlq/{_id(client, chosen.task)}")
    display = Display(chosen)
    if display.for_person(task, task["task_id"]):
        show(display, task)


def _requeue(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:

        def requeue(name: str) -> None:
            old, key = _id(client, name), f"cli-{uuid.uuid4()}"
            new = client.call("POST", f"dlq/{old}/requeue", idempotency_key=key).document
            display.result(new, new["task_id"], f"{old} is tried again as {new['task_id']}")

        display.each(chosen.task, requeue)


def _dismiss(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Dismiss {len(chosen.task)} failed tasks?"):
        raise Unfinished("nothing was dismissed")
    display = Display(chosen)
    with connect(chosen) as client:

        def dismiss(name: str) -> None:
            found = _id(client, name)
            client.call("DELETE", f"dlq/{found}")
            display.done(found, f"dismissed {found}")

        display.each(chosen.task, dismiss)
