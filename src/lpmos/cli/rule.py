"""`lpmos rule`: what is approved or created without a person, and why it would be."""

import argparse
from functools import partial
from pathlib import Path
from urllib.parse import quote

from rich.text import Text

from lpmos.cli.client import Client, Document, stated
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Refused, Unfinished, Usage
from lpmos.cli.options import (
    add_at_revision,
    add_limit,
    add_yes,
    at_revision,
    command,
    group,
    limit,
    named_command,
)
from lpmos.cli.task_create import read_json
from lpmos.cli.words import ago, listed

KINDS = ("approve", "create")
ON_OFF = {True: "on", False: "off"}
FIELDS = (
    "kind", "condition", "description", "enabled", "priority", "idc", "tenant",
    "allow_overwrite", "jobs", "task",
)  # fmt: skip
"""What a person says of a rule: what `rule put` sends of what `rule show --json` printed."""

COLUMNS = (
    Column("RULE", lambda rule: rule["name"]),
    Column("KIND", lambda rule: rule["kind"]),
    Column("STATE", lambda rule: ON_OFF[rule["enabled"]]),
    Column("PRIORITY", lambda rule: rule["priority"], right=True, drop=3),
    Column("IDC", lambda rule: listed(rule["idc"]) or "all", drop=4),
    Column("TENANT", lambda rule: rule["tenant"] or "", drop=5),
    Column("CONDITION", lambda rule: rule["condition"], drop=1),
    Column("BY", lambda rule: rule["changed_by"], drop=2),
)

DRY_RUN = (
    Column("", lambda each: Text("matches", "green") if each["matched"] else Text("not", "dim")),
    Column("IDC", lambda each: each["idc"]),
    Column("SN", lambda each: each["sn"] or ""),
    Column("MAC", lambda each: each["mac"] or "", drop=1),
    Column("", lambda each: "no task" if each["unmatched"] else "", drop=2),
    Column("WHY", lambda each: each["reason"]),
)
_named = partial(named_command, what="the rule")


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `rule`."""
    kinds = group(parser)
    listing = command(
        kinds, "list", _list, "list rules, in the order in which they are asked",
        calls=("GET /rules",),
    )  # fmt: skip
    listing.add_argument("--kind", choices=KINDS)
    add_limit(listing)
    one = "/rules/{name}"
    _named(kinds, "show", _show, "show a rule", (f"GET {one}",))
    put = _named(
        kinds, "put", _put, "make a rule, or put other fields in its place",
        (f"GET {one}", "POST /rules", f"PUT {one}"),
    )  # fmt: skip
    _fields(put)
    add_at_revision(put)
    delete = _named(kinds, "delete", _delete, "delete a rule", (f"DELETE {one}",))
    add_at_revision(delete)
    add_yes(delete)
    for name, enabled in (("enable", True), ("disable", False)):
        switch = _named(
            kinds, name, _switch, f"switch a rule {ON_OFF[enabled]}", (f"GET {one}", f"PUT {one}")
        )
        switch.set_defaults(enabled=enabled)
    test = command(
        kinds, "test", _test, "show what a rule would decide now, without doing it",
        calls=(f"GET {one}", "POST /rules/dry-run"),
        more="A stored rule by its name, or a new one by flags or --from.",
    )  # fmt: skip
    test.add_argument("name", nargs="?", metavar="NAME", help="a stored rule")
    _fields(test)


def _fields(parser: argparse.ArgumentParser) -> None:
    fields = parser.add_argument_group("the rule")
    fields.add_argument(
        "--from", dest="file", type=Path, metavar="FILE",
        help="the rule as JSON (as `rule show --json` prints it); flags go before what it says",
    )  # fmt: skip
    fields.add_argument("--kind", choices=KINDS)
    fields.add_argument("--condition", metavar="CONDITION", help="on the inventory")
    fields.add_argument("--description", metavar="TEXT")
    fields.add_argument("--priority", type=int, metavar="N", help="the highest is asked first")
    fields.add_argument("--idc", action="append", help="only here; repeatable")
    fields.add_argument("--tenant", help="only for this tenant's tasks")
    fields.add_argument(
        "--allow-overwrite", action="store_true", default=None,
        help="approve also where data on the disk is lost",
    )  # fmt: skip
    fields.add_argument(
        "--jobs", choices=("none", "reading", "writing"),
        help="approve also tasks that are jobs: those that only read, or also those that write",
    )  # fmt: skip


def _path(name: str) -> str:
    return f"rules/{quote(name, safe='')}"


def _given(chosen: argparse.Namespace) -> Document:
    """What the file and the flags say of the rule."""
    document = read_json(chosen.file) if chosen.file else {}
    if not isinstance(document, dict):
        raise Usage(f"{chosen.file} holds no JSON object")
    shown = {"name", "revision", "created_at", "changed_at", "changed_by"}
    body = {name: value for name, value in document.items() if name not in shown}
    flags = (name for name in FIELDS if name not in ("enabled", "task"))
    return {**body, **stated({name: getattr(chosen, name, None) for name in flags})}


def _said(rule: Document) -> Document:
    """What a person said of a stored rule."""
    return {name: rule[name] for name in FIELDS if name in rule}


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages("rules", "rules", limit=limit(chosen), kind=chosen.kind)
    Display(chosen).listing(
        found, "rules", COLUMNS, lambda rule: str(rule["name"]), nothing="no rules"
    )


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        rule = client.get(_path(chosen.name))
    display = Display(chosen)
    if not display.for_person(rule, rule["name"]):
        return
    task = rule["task"] or {}
    display.fields(
        [
            ("rule", rule["name"]),
            ("", rule["description"]),
            ("kind", rule["kind"]),
            ("state", ON_OFF[rule["enabled"]]),
            ("condition", rule["condition"]),
            ("priority", rule["priority"]),
            ("data centers", listed(rule["idc"]) or "all"),
            ("tenant", rule["tenant"]),
            ("data is lost", "allowed" if rule["allow_overwrite"] else ""),
            ("approves jobs", "" if rule.get("jobs", "none") == "none" else rule["jobs"]),
            ("then installs", " ".join(task[n] for n in ("os_type", "os_version") if n in task)),
            ("acts for", f"{rule['changed_by']}, who changed it"
                         f" {ago(rule['changed_at'], utc_now())}"),
            ("revision", rule["revision"]),
        ]
    )  # fmt: skip


def _put(chosen: argparse.Namespace) -> None:
    body = _given(chosen)
    with connect(chosen) as client:
        known = _stored(client, chosen.name)
        if known is None:
            made = client.call("POST", "rules", {**body, "name": chosen.name}).document
        else:
            whole = body if chosen.file else {**_said(known), **body}
            made = client.call(
                "PUT",
                _path(chosen.name),
                whole,
                if_match=at_revision(chosen) or f'"{known["revision"]}"',
            ).document
    said = f"{'made' if known is None else 'changed'} the rule {made['name']}"
    Display(chosen).result(made, made["name"], said)


def _stored(client: Client, name: str) -> Document | None:
    try:
        rule: Document = client.get(_path(name))
    except Refused as error:
        if error.status != 404:
            raise
        return None
    return rule


def _delete(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Delete the rule {chosen.name}?"):
        raise Unfinished("nothing was deleted")
    with connect(chosen) as client:
        client.call("DELETE", _path(chosen.name), if_match=at_revision(chosen))
    Display(chosen).done(chosen.name, f"deleted {chosen.name}; what it has decided stays")


def _switch(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        rule = client.get(_path(chosen.name))
        body = {**_said(rule), "enabled": chosen.enabled}
        made = client.call(
            "PUT", _path(chosen.name), body, if_match=f'"{rule["revision"]}"'
        ).document
    Display(chosen).result(made, made["name"], f"{made['name']} is {ON_OFF[made['enabled']]}")


def _test(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        stored = _said(client.get(_path(chosen.name))) if chosen.name else {}
        body = {"rule": {**stored, **_given(chosen)}}
        found = client.call("POST", "rules/dry-run", body).document
    show_dry_run(Display(chosen), found)


def show_dry_run(display: Display, found: Document) -> None:
    """What a rule would say, machine by machine."""
    if display.json:
        display.document(found)
        return
    if display.quiet:
        display.ids(str(each["sn"] or each["mac"]) for each in found["machines"] if each["matched"])
        return
    display.line(
        f"matches {found['matched']} of {found['looked_at']} machines"
        + ("" if found["complete"] else f" (there are {found['total']}: the time was over)")
    )
    if found["machines"]:
        display.table(found["machines"], DRY_RUN)
