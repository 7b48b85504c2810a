"""`lpmos machine`: what is known of each machine, apart from any task.

A machine is named by its serial number, or by `IDC/SN` where several data centers have that one.
"""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lpmos.cli.client import Client, Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, get, utc_now
from lpmos.cli.failures import Unfinished, Usage
from lpmos.cli.inventory import show_inventory
from lpmos.cli.options import (
    add_at_revision,
    add_limit,
    add_yes,
    at_revision,
    command,
    group,
    limit,
    pair,
)
from lpmos.cli.task import COLUMNS as TASK_COLUMNS
from lpmos.cli.task_create import read_text
from lpmos.cli.words import ago, listed, memory, plain, size, stamp
from lpmos.model.errors import NotFound

SORTS = {"sn": "sn", "changed": "-updated_at"}
ONLINE = {True: "online", False: "offline", None: ""}
COLUMNS = (
    Column("IDC", lambda machine: machine["idc"]),
    Column("SN", lambda machine: machine["sn"]),
    Column("MAC", lambda machine: (machine["macs"] or [""])[0], drop=4),
    Column("PRODUCT", lambda machine: f"{machine['vendor'] or ''} {machine['product'] or ''}",
           drop=6),
    Column("CORES", lambda machine: machine["cores"] or "", right=True, drop=7),
    Column("MEMORY", lambda machine: memory(machine["memory_bytes"]), right=True, drop=5),
    Column("DISK", lambda machine: size(machine["disk_bytes"]), right=True, drop=8),
    Column("INSTALLED", lambda machine: _system(machine["installed"]), drop=3),
    Column("AGENT", lambda machine: ONLINE[machine["online"]], drop=2),
    Column("TASK", lambda machine: get(machine, "task", "status") or ""),
    Column("TENANT", lambda machine: machine["tenant"] or "", drop=9),
    Column("TAGS", lambda machine: listed(machine["tags"]), drop=1),
    Column("DUPLICATE", lambda machine: "yes" if machine.get("duplicate") else "", drop=10),
)  # fmt: skip
DUPLICATE_COLUMNS = (
    Column("SAME", lambda other: other["field"]),
    Column("VALUE", lambda other: other["value"]),
    Column("IDC", lambda other: other["idc"]),
    Column("MACHINE", lambda other: other["sn"] or f"unmatched report {other['unmatched']}"),
)
FINDS = ("GET /machines",)
CANDIDATES = 500
ONE = "/machines/{idc}/{sn}"


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `machine`."""
    kinds = group(parser)
    listing = command(kinds, "list", _list, "list machines", calls=FINDS)
    listing.add_argument("--idc", help="only of this data center")
    listing.add_argument("--text", help="in serial number, MACs, vendor, product or BMC address")
    listing.add_argument("--tag", metavar="KEY[=VALUE]", help="only with this tag")
    listing.add_argument("--os", metavar="OS", help="what is installed: `debian`, `'debian 12'`")
    listing.add_argument("--status", metavar="STATUS[,…]", help="of the present task")
    listing.add_argument("--tenant", help="only of this tenant")
    listing.add_argument(
        "--duplicate",
        action="store_true",
        help="only those that share a serial number, UUID or MAC with another",
    )
    listing.add_argument("--sort", choices=SORTS, default="sn")
    add_limit(listing)
    _one(kinds, "show", _show, "show a machine: inventory, task, past tasks", (f"GET {ONE}",))
    tag = _one(
        kinds, "tag", _tag, "set and remove tags, or change whose the machine is", (f"PATCH {ONE}",)
    )
    tag.add_argument("tags", nargs="*", type=pair, metavar="KEY=VALUE", help="set this tag")
    tag.add_argument("--remove", action="append", default=[], metavar="KEY", help="repeatable")
    owner = tag.add_mutually_exclusive_group()
    owner.add_argument("--tenant", help="give it to this tenant")
    owner.add_argument("--no-tenant", action="store_true", help="make it the provider's")
    add_at_revision(tag)
    reserve = _one(
        kinds, "reserve", _reserve, "reserve an IPv4 address for a machine, by DHCP",
        (f"PATCH {ONE}",),
    )  # fmt: skip
    which = reserve.add_mutually_exclusive_group(required=True)
    which.add_argument("--address", metavar="ADDRESS", help="no other machine gets it")
    which.add_argument("--none", action="store_true", help="any address will do again")
    add_at_revision(reserve)
    forget = _one(
        kinds, "forget", _forget, "forget a machine with its history, where no task is under way",
        (f"DELETE {ONE}",),
    )  # fmt: skip
    add_at_revision(forget)
    add_yes(forget)
    bmc = _one(
        kinds, "bmc", _bmc, "show, set or remove the credentials of a machine's BMC",
        (f"GET {ONE}/bmc", f"PUT {ONE}/bmc", f"DELETE {ONE}/bmc"),
    )  # fmt: skip
    bmc.add_argument("--address", metavar="HOST", help="set it: IP address or host name")
    bmc.add_argument("--user", metavar="NAME", help="with --address")
    bmc.add_argument(
        "--password-file", type=Path, metavar="FILE", help="with --address (else asked for)"
    )
    bmc.add_argument("--remove", action="store_true", help="forget the credentials")
    add_at_revision(bmc)
    add_yes(bmc)


def _one(
    kinds: Any, name: str, run: Any, help_text: str, calls: tuple[str, ...]
) -> argparse.ArgumentParser:
    parser = command(kinds, name, run, help_text, calls=(*FINDS, *calls))
    parser.add_argument("machine", metavar="MACHINE", help="serial number, or IDC/SN")
    return parser


def _path(client: Client, name: str) -> str:
    """Where the machine is in the API.

    Raises:
        NotFound: no data center has one of this serial number.
        Usage: several have.
    """
    idc, slash, sn = name.partition("/")
    if not slash:
        page = client.get("machines", text=name[:128], limit=CANDIDATES)
        places = [each["idc"] for each in page["machines"] if each["sn"] == name]
        if not places and page["total"] > CANDIDATES:
            raise Usage(f"too many machines have {plain(name)!r} in their names: name it as IDC/SN")
        if not places:
            raise NotFound(f"there is no machine {plain(name)}")
        if len(places) > 1:
            several = ", ".join(f"{each}/{plain(name)}" for each in places)
            raise Usage(f"several data centers have it; name one: {several}")
        idc, sn = places[0], name
    return f"machines/{quote(idc, safe='')}/{quote(sn, safe='')}"


def _system(installed: Document | None) -> str:
    return f"{installed['os_type']} {installed['os_version']}" if installed else ""


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.pages(
            "machines", "machines", limit=limit(chosen), idc=chosen.idc, text=chosen.text,
            tag=chosen.tag, os=chosen.os, status=chosen.status, tenant=chosen.tenant,
            sort=SORTS[chosen.sort], duplicate="true" if chosen.duplicate else None,
        )  # fmt: skip
    Display(chosen).listing(
        found, "machines", COLUMNS, lambda machine: f"{machine['idc']}/{machine['sn']}",
        nothing="no such machines",
    )  # fmt: skip


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        machine = client.get(_path(client, chosen.machine))
    display = Display(chosen)
    if not display.for_person(machine, f"{machine['idc']}/{machine['sn']}"):
        return
    now = utc_now()
    installed = machine["installed"]
    display.fields(
        [
            ("machine", f"{machine['idc']} / {machine['sn']}"),
            ("MACs", listed(machine["macs"])),
            ("tenant", machine["tenant"]),
            ("placeholder", machine.get("placeholder_serial")),
            ("tags", listed(machine["tags"])),
            ("BMC", machine["bmc_address"]),
            ("reserved address", machine.get("address")),
            ("agent", ONLINE[machine["online"]]),
            ("installed", f"{_system(installed)}, {ago(installed['installed_at'], now)}"
                          if installed else ""),
            ("seen first", stamp(machine["first_seen_at"])),
            ("reported", ago(machine["reported_at"], now)),
            ("revision", machine["revision"]),
        ]
    )  # fmt: skip
    if machine.get("duplicates"):
        display.heading("others of the same name")
        display.table(machine["duplicates"], DUPLICATE_COLUMNS)
    if machine["inventory"]:
        display.heading("hardware")
        show_inventory(display, machine["inventory"])
    tasks = [*([machine["task"]] if machine["task"] else []), *machine["past_tasks"]]
    if tasks:
        display.heading("tasks")
        display.table(tasks, TASK_COLUMNS)


def _tag(chosen: argparse.Namespace) -> None:
    tags: dict[str, str | None] = {**dict(chosen.tags), **dict.fromkeys(chosen.remove)}
    body: Document = {"tags": tags} if tags else {}
    if chosen.tenant or chosen.no_tenant:
        body["tenant"] = chosen.tenant
    if not body:
        raise Usage("nothing to change: give KEY=VALUE, --remove, --tenant or --no-tenant")
    with connect(chosen) as client:
        path = _path(client, chosen.machine)
        machine = client.call("PATCH", path, body, if_match=at_revision(chosen)).document
    name = f"{machine['idc']}/{machine['sn']}"
    Display(chosen).result(machine, name, f"{name}: {listed(machine['tags']) or 'no tags'}")


def _reserve(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        path = _path(client, chosen.machine)
        body = {"address": chosen.address}
        machine = client.call("PATCH", path, body, if_match=at_revision(chosen)).document
    name = f"{machine['idc']}/{machine['sn']}"
    Display(chosen).result(machine, name, f"{name}: {machine['address'] or 'no reserved address'}")


def _forget(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        path = _path(client, chosen.machine)
        if not confirm(chosen, f"Forget {chosen.machine}, with its history and BMC credentials?"):
            raise Unfinished("nothing was forgotten")
        client.call("DELETE", path, if_match=at_revision(chosen))
    Display(chosen).done(chosen.machine, f"forgot {chosen.machine}")


def _bmc(chosen: argparse.Namespace) -> None:
    if chosen.address and (chosen.remove or not chosen.user):
        raise Usage("--address needs --user, and is not for --remove")
    display = Display(chosen)
    with connect(chosen) as client:
        path = f"{_path(client, chosen.machine)}/bmc"
        if chosen.remove:
            if not confirm(chosen, f"Forget the BMC credentials of {chosen.machine}?"):
                raise Unfinished("nothing was removed")
            client.call("DELETE", path, if_match=at_revision(chosen))
            display.done(chosen.machine, f"forgot the BMC credentials of {chosen.machine}")
            return
        if chosen.address:
            body = {
                "address": chosen.address,
                "username": chosen.user,
                "password": _password(chosen.password_file),
            }
            bmc = client.call("PUT", path, body, if_match=at_revision(chosen)).document
        else:
            bmc = client.get(path)
    said = f"{bmc['username']} at {bmc['address']}, set {stamp(bmc['password_set_at'])}"
    display.result(bmc, f"{bmc['idc']}/{bmc['sn']}", said)


def _password(file: Path | None) -> str:
    if file is not None:
        return read_text(file).rstrip("\n")
    if not sys.stdin.isatty():
        raise Usage("there is nobody to ask here: give --password-file")
    return getpass.getpass("Password of the BMC: ")
