"""A region: what its active client says of itself (S6)."""

from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from lpmos.model.fetching import Fetching
from lpmos.model.image import OfferedOs
from lpmos.model.standing import Ground, Standing


class OutboxState(msgspec.Struct, frozen=True, kw_only=True):
    """What a region keeps for the store (F2): nothing waits while the store can be reached.

    `offline_since` is None where the store answers; `oldest_at` is when the oldest word that waits
    was said. `handed_in` and `refused` count since the region was started.
    """

    offline_since: datetime | None = None
    waiting: int = 0
    size_bytes: int = 0
    oldest_at: datetime | None = None
    kept: int = 0
    handed_in: int = 0
    refused: int = 0


class DhcpNetworkState(msgspec.Struct, frozen=True, kw_only=True):
    """One network that a region serves by DHCP, and how many of its `size` addresses are leased.

    A proxy gives no addresses: its `size` is 0. `subnet` is null where only the range is known.
    """

    interface: str
    mode: Literal["full", "proxy", "relayed"]
    subnet: str | None = None
    range: str | None = None
    size: int = 0
    leases: int = 0


def outside(networks: Iterable[DhcpNetworkState], address: str) -> str | None:
    """Why a machine can be given `address` in none of these networks; None where it can.

    Nothing is said of a region that tells of no network, or of one that it knows only by its range;
    networks with IPv6 alone do not count.
    """
    giving = [each for each in networks if each.mode != "proxy" and ":" not in (each.range or "")]
    subnets = [IPv4Network(each.subnet, strict=False) for each in giving if each.subnet]
    if not subnets or len(subnets) < len(giving):
        return None
    wanted = IPv4Address(address)
    of = next((subnet for subnet in subnets if wanted in subnet), None)
    if of is None:
        return f"{address} is in none of the region's networks ({', '.join(map(str, subnets))})"
    if wanted in (of.network_address, of.broadcast_address):
        return f"{address} is not the address of a machine in {of}"
    return None


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bound to a lease: while it is there, the region is online.

    `api_url` is where the region answers machines; the control plane fetches task logs there.
    `since` is when it came on line; a region of an earlier version does not say so, and keeps no
    leases of agents (S4). `outbox` is what it has to hand in from a time without the store. `dhcp`
    are its networks. `fetching` is how its copy of the control plane's images stands; None where it
    fetches none.
    """

    idc: str
    identity: str
    at: datetime
    services: dict[str, str]
    api_url: str | None = None
    since: datetime | None = None
    outbox: OutboxState | None = None
    dhcp: tuple[DhcpNetworkState, ...] = ()
    fetching: Fetching | None = None


class HeldImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of the region, with the SHA-256 of its file; `first_boot` as in its manifest."""

    name: str
    os_type: str
    os_version: str
    sha256: str
    size_bytes: int
    built_at: datetime
    first_boot: bool = True


class HeldInstaller(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution's installer that the region has."""

    name: str
    family: str
    os_type: str
    os_version: str
    repository: str
    size_bytes: int
    added_at: datetime


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """How a service of the region answered when it was asked, and since when it does so.

    `off`: the region's settings leave it to others. `detail` says how it failed.
    """

    state: Literal["ok", "off", "failed"]
    detail: str = ""
    since: datetime | None = None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What the region can install; it stays while the region is away."""

    idc: str
    offered: tuple[OfferedOs, ...]
    images: tuple[HeldImage, ...] = ()
    installers: tuple[HeldInstaller, ...] = ()
    services: tuple[str, ...]
    version: str
    updated_at: datetime


class RegionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the region said last of itself; the heartbeat says whether it still lives."""

    idc: str
    status: Literal["online", "offline"]
    at: datetime
    services: dict[str, ServiceState] = {}


class RegionClient(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One regional client of a data center, as it says itself; bound to a lease.

    `address` is its own; `api_url` is where it answers people and control planes itself. `fetching`
    is as in the heartbeat.
    """

    idc: str
    identity: str
    standing: Standing
    since: datetime
    at: datetime
    address: str
    api_url: str
    version: str
    fetching: Fetching | None = None


class ClientState(msgspec.Struct, frozen=True, kw_only=True):
    """What a regional client is now, since when, and on what an active one serves.

    `promised_s`: for so long it has promised another client to serve no machine.
    """

    standing: Standing
    by: Ground | None
    since: datetime | None
    promised_s: float


class LastActive(msgspec.Struct, frozen=True, kw_only=True):
    """The client that answered a data center's machines last; `ended` where it gave way itself."""

    identity: str
    address: str
    port: int
    since: datetime
    ended: bool = False


def states_after(
    known: dict[str, ServiceState], services: dict[str, str], now: datetime
) -> dict[str, ServiceState]:
    """The states of services that answer as a heartbeat says; one that stays keeps its time."""
    found: dict[str, ServiceState] = {}
    for name, said in services.items():
        state: Literal["ok", "off", "failed"] = (
            "ok" if said == "ok" else "off" if said == "off" else "failed"
        )
        before = known.get(name)
        since = before.since if before and before.state == state else now
        detail = said.removeprefix("failed: ") if state == "failed" else ""
        found[name] = ServiceState(state=state, detail=detail, since=since)
    return found


def is_api_url(text: str) -> bool:
    """Whether a region's API may be reached at `text`: plain HTTP to an address, nothing else.

    Names, user names, paths and addresses that no region can have (link-local, multicast and the
    like) are not followed: what a region writes must not lead a control plane anywhere else.
    """
    try:
        url = urlsplit(text)
        address = ip_address(url.hostname or "")
        port = url.port
    except ValueError:
        return False
    if text != f"http://{url.netloc}" or "@" in url.netloc or not port:
        return False
    mapped = getattr(address, "ipv4_mapped", None) is not None
    barred = address.is_link_local or address.is_multicast or address.is_unspecified
    return not (barred or mapped or (address.is_reserved and not address.is_loopback))
