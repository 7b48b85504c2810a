"""`lpmos task`: from a task's creation to its end.

A task is named by its id, the beginning of its id, the serial number or the host name of its
machine (then its newest unfinished task); what more than one task answers to is refused.
"""

import argparse
import uuid

from lpmos.cli import (
    task_bulk,
    task_compare,
    task_decide,
    task_logs,
    task_show,
    task_statistics,
    task_watch,
)
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, utc_now
from lpmos.cli.options import add_limit, command, group, limit, positive
from lpmos.cli.task_create import add_fields, add_place, body_of, place_of
from lpmos.cli.task_names import FINDS
from lpmos.cli.words import ago, size, with_zone
from lpmos.model.lifecycle import Status

SORTS = {
    "newest": "-created_at",
    "oldest": "created_at",
    "changed": "-updated_at",
    "sn": "sn",
    "status": "status",
    "idc": "idc",
    "os": "os",
}
COLUMNS = (
    Column("TASK", lambda task: task["task_id"][:8]),
    Column("IDC", lambda task: task["idc"], drop=2),
    Column("SN", lambda task: task["sn"]),
    Column("HOST", lambda task: task["hostname"], drop=6),
    Column("OS", lambda task: f"{task['os_type']} {task['os_version']}", drop=4),
    Column("STATUS", lambda task: task["status"]),
    Column("%", lambda task: f"{task['percentage']:.0f}", right=True),
    Column("STAGE", lambda task: task["stage"], drop=5),
    Column("RATE", lambda task: f"{size(task['bytes_per_second'])}/s" if task["bytes_per_second"]
           else "", drop=8),
    Column("CHANGED", lambda task: ago(task["updated_at"], utc_now()), drop=3),
    Column("BY", lambda task: task["created_by"], drop=7),
    Column("ERROR", lambda task: task["error"] or "", drop=9),
)  # fmt: skip


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `task`."""
    kinds = group(parser)
    create = command(
        kinds, "create", _create, "create a task: this machine shall get this OS",
        calls=("POST /tasks",),
    )  # fmt: skip
    add_place(create)
    add_fields(create)
    create.add_argument(
        "--idempotency-key",
        metavar="KEY",
        help="a name for this creation: repeated with the same one it makes nothing new",
    )
    _define_list(kinds)
    show = command(
        kinds, "show", task_show.run, "show a task: hardware, plan, timeline, progress",
        calls=(*FINDS, "GET /tasks/{task_id}"),
    )  # fmt: skip
    add_task(show)
    compare = command(
        kinds, "compare", task_compare.run, "show what changed in a machine since its task before",
        calls=(*FINDS, "GET /tasks/{task_id}/hardware-changes"),
    )  # fmt: skip
    add_task(compare)
    logs = command(
        kinds, "logs", task_logs.run, "print a task's log",
        calls=(*FINDS, "GET /tasks/{task_id}/log", "GET /tasks/{task_id}/log/download"),
    )  # fmt: skip
    add_task(logs)
    logs.add_argument("--full", action="store_true", help="the whole log, from the task's region")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the task has ended")
    task_decide.define(kinds)
    statistics = command(
        kinds, "statistics", task_statistics.run, "show how many tasks are how, and what ended",
        calls=("GET /statistics",),
    )  # fmt: skip
    statistics.add_argument(
        "--hours", type=positive, default=6, metavar="N", help="what happened in so many (6)"
    )
    watch = command(
        kinds, "watch", task_watch.run, "watch tasks live until they end",
        calls=(*FINDS, "GET /tasks/{task_id}"),
        more="Without a task: all that is under way. In a terminal bars, else a line for each"
        " change. Ends when every named task has ended: 0 where all are completed, else 1.",
    )  # fmt: skip
    watch.add_argument("tasks", nargs="*", metavar="TASK", help="id, its beginning, SN or host")
    watch.add_argument("--idc", help="only of this data center")
    bulk = command(
        kinds, "bulk", task_bulk.run, "create many tasks from a CSV or JSON file",
        calls=("POST /tasks/bulk",),
        more="The first line of a CSV names the fields. Sent in parts, each with a key made from"
        " the file's content: after Ctrl-C the same command makes what is missing, nothing twice.",
    )  # fmt: skip
    task_bulk.add_arguments(bulk)


def _define_list(kinds: object) -> None:
    listing = command(kinds, "list", _list, "list tasks, newest first", calls=("GET /tasks",))
    listing.add_argument("--idc", help="only of this data center")
    listing.add_argument(
        "--status", metavar="STATUS[,…]", help=", ".join(status.value for status in Status)
    )
    listing.add_argument("--text", help="in serial number, host name, MAC or task id")
    listing.add_argument("--tag", metavar="KEY[=VALUE]", help="only with this tag")
    listing.add_argument("--os", metavar="OS", help="`debian`, or `'debian 12'`")
    listing.add_argument("--tenant", help="only of this tenant")
    listing.add_argument("--sn", help="only of this machine")
    listing.add_argument("--by", metavar="NAME", help="only what this user or rule created")
    listing.add_argument("--since", metavar="TIME", help="created then or later, as 2026-01-02")
    listing.add_argument("--until", metavar="TIME", help="created before")
    listing.add_argument("--sort", choices=SORTS, default="newest")
    add_limit(listing)


def add_task(parser: argparse.ArgumentParser) -> None:
    """One task, by any of its names."""
    parser.add_argument("task", metavar="TASK", help="id, its beginning, serial number or host")


def _create(chosen: argparse.Namespace) -> None:
    body = {**body_of(chosen), **place_of(chosen)}
    with connect(chosen) as client:
        key = chosen.idempotency_key or f"cli-{uuid.uuid4()}"
        answer = client.call("POST", "tasks", body, idempotency_key=key)
    task = answer.document
    said = f"created {task['task_id']}; watch it: lpmos task watch {task['task_id'][:8]}"
    Display(chosen).result(task, task["task_id"], said)


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages(
            "tasks",
            "tasks",
            limit=limit(chosen),
            idc=chosen.idc,
            status=chosen.status,
            text=chosen.text,
            tag=chosen.tag,
            os=chosen.os,
            tenant=chosen.tenant,
            machine=chosen.sn,
            created_by=chosen.by,
            since=with_zone(chosen.since),
            until=with_zone(chosen.until),
            sort=SORTS[chosen.sort],
        )
    Display(chosen).listing(
        found, "tasks", COLUMNS, lambda task: str(task["task_id"]), nothing="no such tasks"
    )
