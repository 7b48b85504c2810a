"""`lpmos region`: the data centers and what they offer; without a subcommand, serving one."""

import argparse
from urllib.parse import quote

from lpmos.cli import parts, region_alone
from lpmos.cli.client import Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, utc_now
from lpmos.cli.options import command, group
from lpmos.cli.words import ago, listed, plain, size

COLUMNS = (
    Column("IDC", lambda region: region["idc"]),
    Column("STATE", lambda region: "online" if region["online"] else "offline"),
    Column("HEARTBEAT", lambda region: ago(region["last_heartbeat"], utc_now()), drop=2),
    Column("SERVICES", lambda region: listed(region["services"]), drop=3),
    Column("OFFERS", lambda region: listed(offers(region)), drop=1),
    Column("VERSION", lambda region: region["version"] or "", drop=4),
)


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands, beside the flags with which the regional client itself is started."""
    parts.define(parser)
    kinds = group(parser, required=False)
    command(kinds, "list", _list, "list the data centers", calls=("GET /regions",))
    show = command(
        kinds, "show", _show, "show what a data center can do, and how it is",
        calls=("GET /regions/{idc}",),
    )  # fmt: skip
    show.add_argument("name", metavar="IDC", help="the data center")
    region_alone.define(
        kinds.add_parser(
            "serve-alone", help="on a client's host: the other client is off, and the store away"
        )
    )


def offers(region: Document) -> list[str]:
    """The systems that a region can install."""
    return [f"{each['os_type']} {each['os_version']}" for each in region["offered"]]


def _client(client: Document) -> str:
    return f"{client['identity']} at {client['address']} since {ago(client['since'], utc_now())}"


def _outbox(outbox: Document | None) -> str:
    """The words that wait for the store; none where there are none, or they are not known."""
    if not outbox or not outbox["waiting"]:
        return ""
    return f"{outbox['waiting']} words, the oldest of {ago(outbox['oldest_at'], utc_now())}"


def _network(network: Document) -> str:
    """A network that DHCP serves, and how many addresses it has left."""
    name = f"{network['subnet'] or network['range']} on {network['interface']}, {network['mode']}"
    if not network["size"]:
        return name
    return f"{name}: {network['size'] - network['leases']} of {network['size']} addresses free"


def fetched(fetching: Document | None) -> list[tuple[str, str]]:
    """How the region's copy of the control plane's images stands; nothing where it has none."""
    if not fetching:
        return []
    asked = ago(fetching["listed_at"], utc_now()) or "never"
    rows = [("images from", f"{fetching['source']}, asked {asked}")]
    if fetching["error"]:
        rows.append(("cannot fetch", plain(fetching["error"])))
    rows += [("fetches", _arrival(each, fetching)) for each in fetching["arriving"]]
    if fetching["more"]:
        rows.append(("fetches", f"and {fetching['more']} more"))
    if fetching["own"]:
        rows.append(("put by hand", f"{listed(fetching['own'])}: not those of the control plane"))
    return rows


def _arrival(item: Document, fetching: Document) -> str:
    far = f"{item['kind']} {item['name']}: {size(item['done_bytes'])} of {size(item['size_bytes'])}"
    if item["name"] == fetching["current"]:
        far += f", {size(fetching['rate_bytes_per_s'])}/s"
    return f"{far}; {plain(item['error'])}" if item["error"] else far


def _list(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        found = client.get("regions")
    Display(chosen).listing(
        found, "regions", COLUMNS, lambda region: str(region["idc"]), nothing="no regions yet"
    )


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        region = client.get(f"regions/{quote(chosen.name, safe='')}")
    display = Display(chosen)
    if not display.for_person(region, region["idc"]):
        return
    display.fields(
        [
            ("data center", region["idc"]),
            ("state", "online" if region["online"] else "offline"),
            ("heartbeat", ago(region["last_heartbeat"], utc_now())),
            ("active", _client(region["active"]) if region["active"] else ""),
            ("standby", listed([_client(each) for each in region["standby"]])),
            *((f"service {name}", state) for name, state in region["services"].items()),
            ("to hand in", _outbox(region["outbox"])),
            *(("network", _network(each)) for each in region.get("dhcp", ())),
            ("offers", listed(offers(region))),
            (
                "images",
                listed([f"{each['name']} {each['sha256'][:12]}" for each in region["images"]]),
            ),
            *fetched(region.get("fetching")),
            ("machines", region["machines"]),
            ("tasks", listed({name: count for name, count in region["counts"].items() if count})),
            ("without a task", region["unmatched"]),
            ("version", region["version"]),
        ]
    )
