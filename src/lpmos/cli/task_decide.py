"""`lpmos task approve|reject|cancel|retry|rollback`: what a person decides about a task.

Who approves has seen every disk that will be written: the approval carries the digest of the plan
that was shown, and holds for no other.
"""

import argparse
import uuid
from typing import Any

from lpmos.cli.client import Document
from lpmos.cli.connect import connect
from lpmos.cli.disk_plan import disks, plan_lines
from lpmos.cli.display import Display, confirm, get
from lpmos.cli.failures import Unfinished
from lpmos.cli.job import job_lines, question
from lpmos.cli.options import add_yes, command
from lpmos.cli.task_names import FINDS, task_id
from lpmos.cli.words import plain
from lpmos.model.errors import Conflict


def define(kinds: Any) -> None:
    """The subcommands."""
    approve = command(
        kinds, "approve", _approve, "allow an installation, after a look at the disk",
        calls=(*FINDS, "GET /tasks/{task_id}", "PUT /tasks/{task_id}/approve"),
        more="Shows the disk that will be written and asks. The approval holds for what was shown:"
        " where the machine has reported other hardware meanwhile, it is refused.",
    )  # fmt: skip
    _tasks(approve)
    approve.add_argument("--notes", help="kept with the approval")
    add_yes(approve)

    reject = command(
        kinds, "reject", _reject, "refuse an installation",
        calls=(*FINDS, "PUT /tasks/{task_id}/reject"),
    )  # fmt: skip
    _tasks(reject)
    reject.add_argument("--reason", required=True, help="why, for whoever asked")

    cancel = command(
        kinds, "cancel", _cancel, "cancel tasks, in whatever state they are",
        calls=(*FINDS, "DELETE /tasks/{task_id}"),
        more="More than one is asked about first. A machine that is being installed stops, and its"
        " agent leaves the disks blank.",
    )  # fmt: skip
    _tasks(cancel)
    add_yes(cancel)

    retry = command(
        kinds, "retry", _retry, "try finished tasks again, each as a new task",
        calls=(*FINDS, "POST /tasks/{task_id}/retry"),
    )  # fmt: skip
    _tasks(retry)

    rollback = command(
        kinds, "rollback", _rollback, "give the machine of a failed task back to what it was",
        calls=(*FINDS, "POST /tasks/{task_id}/rollback"),
        more="The machine boots the system that it had, or is one without a task again. Refused"
        " where the disk with that system was being written.",
    )  # fmt: skip
    _tasks(rollback)


def _tasks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", metavar="TASK", help="id, its beginning, SN or host")


def _approve(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:

        def approve(name: str) -> None:
            task = client.get(f"tasks/{task_id(client, name)}")
            _check_waiting(task)
            _show_what_is_written(display, task)
            if not confirm(chosen, _question(task)):
                raise Unfinished("not approved")
            body = {"approved": True, "notes": chosen.notes, "plan_digest": task["plan_digest"]}
            if seen := task.get("hardware_fingerprint"):  # an older control plane shows none
                body["fingerprint"] = seen
            answer = client.call("PUT", f"tasks/{task['task_id']}/approve", body)
            display.result(answer.document, task["task_id"], f"approved {task['task_id']}")

        display.each(chosen.tasks, approve)


def _check_waiting(task: Document) -> None:
    if task["plan"] is None and get(task, "job_plan") is None:
        raise Conflict(
            f"task {task['task_id']} is {task['status']}: {task['meaning']}"
            " It can be approved when its machine has reported its hardware."
        )


def _question(task: Document) -> str:
    if task["plan"] is None:
        return question(task)
    devices = ", ".join(plain(disk["device"]) for disk in disks(task["plan"]))
    return f"Write {devices} of {task['sn']}?"


def _show_what_is_written(display: Display, task: Document) -> None:
    """On standard error, so that `--json` and `--quiet` stay what they are."""
    plan = task["plan"]
    if plan is None:
        display.note(f"{task['sn']} ({task['idc']}, {task['mac']}) does a job")
        for line in job_lines(task["job_plan"]):
            display.note(f"  {line}")
        return
    display.note(
        f"{task['sn']} ({task['idc']}, {task['mac']}) gets {task['os_type']}"
        f" {task['os_version']} as {task['hostname']}"
    )
    for line in plan_lines(plan):
        display.note(f"  {line}")


def _reject(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:

        def reject(name: str) -> None:
            found = task_id(client, name)
            answer = client.call("PUT", f"tasks/{found}/reject", {"reason": chosen.reason})
            display.result(answer.document, found, f"rejected {found}")

        display.each(chosen.tasks, reject)


def _cancel(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    if len(chosen.tasks) > 1 and not confirm(chosen, f"Cancel these {len(chosen.tasks)} tasks?"):
        raise Unfinished("nothing was cancelled")
    with connect(chosen) as client:

        def cancel(name: str) -> None:
            found = task_id(client, name)
            client.call("DELETE", f"tasks/{found}")
            display.done(found, f"cancelled {found}")

        display.each(chosen.tasks, cancel)


def _retry(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:

        def retry(name: str) -> None:
            old, key = task_id(client, name), f"cli-{uuid.uuid4()}"
            new = client.call("POST", f"tasks/{old}/retry", idempotency_key=key).document
            said = f"{old} is tried again as {new['task_id']}"
            display.result(new, new["task_id"], said)

        display.each(chosen.tasks, retry)


def _rollback(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    with connect(chosen) as client:

        def roll_back(name: str) -> None:
            found = task_id(client, name)
            answer = client.call("POST", f"tasks/{found}/rollback").document
            display.result(answer, found, f"rolled back {found}: {answer['next_boot']}")

        display.each(chosen.tasks, roll_back)
