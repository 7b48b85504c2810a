"""`lpmos webhook`: who is told of what happens, and how the telling goes."""

import argparse
import getpass
import json
import sys
from typing import Any
from urllib.parse import quote

from lpmos.cli.client import Document, stated
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished, Usage
from lpmos.cli.options import (
    add_at_revision,
    add_limit,
    add_yes,
    at_revision,
    command,
    group,
    limit,
)
from lpmos.cli.words import ago, listed, stamp

ON_OFF = {True: "on", False: "off"}
STATES = ("pending", "sent", "failed")
COLUMNS = (
    Column("WEBHOOK", lambda hook: hook["webhook_id"]),
    Column("NAME", lambda hook: hook["name"]),
    Column("URL", lambda hook: hook["url"], drop=2),
    Column("EVENTS", lambda hook: listed(hook["events"]), drop=3),
    Column("STATE", lambda hook: ON_OFF[hook["enabled"]]),
    Column("WAITING", lambda hook: hook["waiting"], right=True, drop=1),
    Column("", lambda hook: hook["disabled_reason"] or "", drop=4),
)
DELIVERIES = (
    Column("EVENT", lambda delivery: delivery["event_id"]),
    Column("TYPE", lambda delivery: delivery["type"]),
    Column("STATE", lambda delivery: delivery["status"]),
    Column("TRIES", lambda delivery: delivery["tries"], right=True),
    Column("SINCE", lambda delivery: ago(delivery["created_at"], utc_now()), drop=2),
    Column("NEXT", lambda delivery: ago(delivery["next_at"], utc_now()), drop=3),
    Column("LAST ANSWER", lambda delivery: _last(delivery), drop=1),
)


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `webhook`."""
    kinds = group(parser)
    add_limit(command(kinds, "list", _list, "list webhooks", calls=("GET /webhooks",)))
    one = "/webhooks/{webhook_id}"
    _one(kinds, "show", _show, "show a webhook", f"GET {one}")
    create = command(
        kinds, "create", _create, "make a webhook", calls=("POST /webhooks",),
        more="The secret that its messages are signed with is shown this once.",
    )  # fmt: skip
    create.add_argument("name", metavar="NAME", help="for people")
    create.add_argument("--tenant", help="hears of this tenant only")
    create.add_argument("--off", action="store_true", help="not yet in use")
    _fields(create)
    change = _one(kinds, "change", _change, "change a webhook", f"PATCH {one}")
    change.add_argument("--name", help="for people")
    change.add_argument("--any-idc", action="store_true", help="of all data centers again")
    switch = change.add_mutually_exclusive_group()
    switch.add_argument("--on", action="store_true", help="use it")
    switch.add_argument("--off", action="store_true", help="tell it nothing")
    _fields(change)
    add_at_revision(change)
    delete = _one(
        kinds, "delete", _delete, "delete a webhook and what waits for it", f"DELETE {one}"
    )
    add_at_revision(delete)
    add_yes(delete)
    _one(kinds, "test", _test, "send a test message now", f"POST {one}/test")
    rotate = _one(
        kinds, "rotate-secret", _rotate, "make a new signing secret", f"POST {one}/rotate-secret"
    )
    add_at_revision(rotate)
    deliveries = _one(
        kinds, "deliveries", _deliveries, "list what was and will be sent",
        f"GET {one}/deliveries",
    )  # fmt: skip
    deliveries.add_argument("--status", choices=STATES)
    add_limit(deliveries)
    again = _one(
        kinds, "redeliver", _redeliver, "send a delivery again",
        f"POST {one}/deliveries/{{event_id}}/redeliver",
    )  # fmt: skip
    again.add_argument("event", metavar="EVENT", help="as `webhook deliveries` shows it")


def _one(kinds: Any, name: str, run: Any, help_text: str, call: str) -> argparse.ArgumentParser:
    parser = command(kinds, name, run, help_text, calls=(call,))
    parser.add_argument("webhook", metavar="WEBHOOK", help="its id")
    return parser


def _fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", help="where to; `-` reads it from standard input (a URL may hold a secret)"
    )
    parser.add_argument(
        "--event", action="append", metavar="EVENT", help="as `task.failed`, `task.*`; repeatable"
    )
    parser.add_argument("--idc", help="only of this data center")


def _path(chosen: argparse.Namespace, *below: str) -> str:
    return "/".join(["webhooks", quote(chosen.webhook, safe=""), *below])


def _given(chosen: argparse.Namespace) -> Document:
    url = chosen.url
    if url == "-":
        url = getpass.getpass("URL: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
    return stated({"url": url, "events": chosen.event, "idc": chosen.idc, "name": chosen.name})


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages("webhooks", "webhooks", limit=limit(chosen))
    Display(chosen).listing(
        found, "webhooks", COLUMNS, lambda hook: str(hook["webhook_id"]), nothing="no webhooks"
    )


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        hook = client.get(_path(chosen))
    display = Display(chosen)
    if not display.for_person(hook, hook["webhook_id"]):
        return
    display.fields(
        [
            ("webhook", hook["webhook_id"]),
            ("name", hook["name"]),
            ("url", hook["url"]),
            ("events", listed(hook["events"])),
            ("data center", hook["idc"]),
            ("tenant", hook["tenant"]),
            ("state", ON_OFF[hook["enabled"]]),
            ("why off", hook["disabled_reason"]),
            ("waiting", hook["waiting"]),
            ("signed", "yes" if hook["signed"] else "no"),
            ("secret of", stamp(hook["secret_set_at"])),
            ("old secret until", stamp(hook["previous_secret_until"])),
            ("created", f"{ago(hook['created_at'], utc_now())} by {hook['created_by']}"),
            ("revision", hook["revision"]),
        ]
    )


def _create(chosen: argparse.Namespace) -> None:
    body = _given(chosen)
    missing = [flag for flag, name in (("--url", "url"), ("--event", "events")) if name not in body]
    if missing:
        raise Usage(f"{' and '.join(missing)} missing")
    if chosen.tenant:
        body["tenant"] = chosen.tenant
    body["enabled"] = not chosen.off
    with connect(chosen) as client:
        made = client.call("POST", "webhooks", body).document
    _show_secret(chosen, made, f"made the webhook {made['webhook_id']}")


def _change(chosen: argparse.Namespace) -> None:
    body = _given(chosen)
    if chosen.any_idc:
        body["idc"] = None
    if chosen.on or chosen.off:
        body["enabled"] = chosen.on
    if not body:
        raise Usage("nothing to change: give --name, --url, --event, --idc, --on or --off")
    with connect(chosen) as client:
        made = client.call("PATCH", _path(chosen), body, if_match=at_revision(chosen)).document
    Display(chosen).result(made, made["webhook_id"], f"changed {made['name']}")


def _delete(chosen: argparse.Namespace) -> None:
    if not confirm(chosen, f"Delete the webhook {chosen.webhook}, with all that waits for it?"):
        raise Unfinished("nothing was deleted")
    with connect(chosen) as client:
        client.call("DELETE", _path(chosen), if_match=at_revision(chosen))
    Display(chosen).done(chosen.webhook, f"deleted {chosen.webhook}")


def _test(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.call("POST", _path(chosen, "test")).document
    display = Display(chosen)
    said = f"taken in {found['duration_ms']} ms ({found['status'] or 'sent'})"
    if found["accepted"] or display.json:
        display.result(found, chosen.webhook, said)
    if not found["accepted"]:
        raise Unfinished(f"not taken: {found['error'] or found['status']}")


def _rotate(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        made = client.call(
            "POST", _path(chosen, "rotate-secret"), if_match=at_revision(chosen)
        ).document
    until = stamp(made["previous_secret_until"])
    _show_secret(chosen, made, f"until {until} the old secret signs too")


def _show_secret(chosen: argparse.Namespace, made: Document, said: str) -> None:
    display = Display(chosen)
    if not display.for_person(made, made["webhook_id"]):
        return
    display.note(said)
    if made["secret"] is not None:
        print(made["secret"])
        display.note("this is the signing secret; it is not shown again")


def _deliveries(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages(
            _path(chosen, "deliveries"), "deliveries", limit=limit(chosen), status=chosen.status
        )
    Display(chosen).listing(
        found, "deliveries", DELIVERIES, lambda delivery: str(delivery["event_id"]),
        nothing="no deliveries",
    )  # fmt: skip


def _redeliver(chosen: argparse.Namespace) -> None:
    below = "deliveries", quote(chosen.event, safe=""), "redeliver"
    with connect(chosen) as client:
        again = client.call("POST", _path(chosen, *below)).document
    Display(chosen).result(again, chosen.event, f"{chosen.event} is sent again")


def _last(delivery: Document) -> str:
    attempts = delivery["attempts"]
    if not attempts:
        return ""
    newest = attempts[-1]
    return str(newest.get("error") or newest.get("status") or json.dumps(newest))
