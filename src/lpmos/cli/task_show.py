"""`lpmos task show` and `task logs`: one task for a person to read."""

import argparse
import json

from lpmos.cli.client import Document
from lpmos.cli.connect import connect
from lpmos.cli.disk_plan import show_plan
from lpmos.cli.display import Column, Display, get, utc_now
from lpmos.cli.inventory import show_inventory
from lpmos.cli.job import show_job
from lpmos.cli.task_names import task_id
from lpmos.cli.words import ago, listed, span, stamp

LOG_LINES = 10
TIMELINE = (
    Column("TIME", lambda entry: stamp(entry["timestamp"])),
    Column("", lambda entry: ago(entry["timestamp"], utc_now()), drop=1),
    Column("AFTER", lambda entry: span(entry["after_s"]) if "after_s" in entry else "", right=True),
    Column("EVENT", lambda entry: entry["event"]),
    Column("BY", lambda entry: entry.get("by", "")),
    Column("", lambda entry: entry.get("detail", "")),
)


def run(chosen: argparse.Namespace) -> None:
    """Show one task."""
    with connect(chosen) as client:
        task = client.get(f"tasks/{task_id(client, chosen.task)}")
    display = Display(chosen)
    if display.for_person(task, task["task_id"]):
        show(display, task)


def show(display: Display, task: Document) -> None:
    """All of a task, the most needed first."""
    now = utc_now()
    display.fields(
        [
            ("task", task["task_id"]),
            ("machine", f"{task['idc']} / {task['sn']} / {task['mac']}"),
            ("host name", task["hostname"]),
            ("system", f"{task['os_type']} {task['os_version']}"),
            ("status", task["status"]),
            ("", task["meaning"]),
            ("waits for", waiting(task["waits_for"])),
            ("waits until", task["waits_until"]),
            ("done", f"{task['percentage']:.0f} %" if task["progress"] else ""),
            ("created", f"{ago(task['created_at'], now)} by {task['created_by']}"),
            ("changed", ago(task["updated_at"], now)),
            ("network", network(task["network_config"])),
            ("disk layout", disk_layout(task["disk_layout"])),
            ("root disk", listed(given(task["root_disk"]))),
            ("kernel arguments", get(task, "kernel_arguments")),
            ("setup", setup(get(task, "setup"))),
            ("tags", listed(task["tags"])),
            ("tenant", task["tenant"]),
            ("tries again", task["retry_of"]),
        ]
    )
    show_error(display, task)
    show_plan(display, task["plan"])
    show_job(display, task)
    if task["hardware"]:
        display.heading("hardware")
        show_inventory(display, task["hardware"])
    display.heading("timeline")
    display.table(task["timeline"], TIMELINE)
    if task["logs"]:
        display.heading(f"log (lpmos task logs {task['task_id'][:8]} shows all)")
        for line in task["logs"][-LOG_LINES:]:
            display.line(line)


def show_error(display: Display, task: Document) -> None:
    """Why it failed, and what to do."""
    failure = task["failure"]
    if not failure:
        return
    display.heading("error")
    display.line(failure["reason"], "red")
    display.fields(
        [
            (
                "where",
                listed([failure["during"], *([failure["stage"]] if failure["stage"] else [])]),
            ),
            ("command", failure["command"]),
            ("what to do", failure["what_to_do"]),
        ]
    )
    for line in (failure["output"] or "").splitlines():
        display.line(f"  {line}")


def waiting(waits_for: Document | None) -> str:
    """Who has to do something next, and since when."""
    if waits_for is None:
        return ""
    return f"{waits_for['who']} ({ago(waits_for['since'], utc_now())}): {waits_for['what']}"


def disk_layout(layout: object) -> str:
    """How the disks were asked to be laid out."""
    return layout if isinstance(layout, str) else json.dumps(layout)


def setup(said: object) -> str:
    """What is made of the system beyond its disk."""
    if not isinstance(said, dict):
        return ""
    users = [user["name"] for user in get(said, "users") or ()]
    commands = len(get(said, "commands") or ())
    hooks = [name for name in ("cloud_init", "ansible", "puppet") if get(said, name)]
    parts = {
        "users": " ".join(users),
        "packages": " ".join(get(said, "packages") or ()),
        "commands": str(commands or ""),
        "at the first boot": " ".join(hooks),
        "secrets": " ".join(get(said, "secret_names") or ()),
    }
    return listed({name: text for name, text in parts.items() if text})


def network(config: object) -> str:
    """The addresses that the installed system gets."""
    if not isinstance(config, dict):
        return str(config)
    dns = listed(get(config, "dns"))
    links = [_link(link) for link in get(config, "links") or ()]
    parts = (config.get("address"), config.get("gateway") and f"via {config['gateway']}",
             "; ".join(links), dns and f"DNS {dns}")  # fmt: skip
    return " ".join(str(part) for part in parts if part)


def _link(link: Document) -> str:
    """One link of a network: what it is, what it is built on, its addresses."""
    below = link.get("over") or "+".join(get(link, "members") or ()) or link.get("mac")
    addresses = ["DHCP"] if link.get("dhcp") else []
    addresses += get(link, "addresses") or ()
    kind = link["kind"] if link["kind"] != "vlan" else f"vlan {link['id']}"
    words = (link["name"], f"({kind}{f' on {below}' if below else ''})", *addresses)
    return " ".join(words)


def given(document: Document) -> Document:
    """What of a document says something."""
    return {name: value for name, value in document.items() if value not in (None, False)}
