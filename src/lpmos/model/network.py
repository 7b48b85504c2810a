"""How an installed machine gets its addresses: DHCP, one fixed address, or a whole set of links.

The rule: what is written here names network cards by their MAC and nothing else, as the names that
kernels give change with the hardware. How a target's own system says the same is the business of
`lpmos.install.network`; it sees a `Layout`, in which the shorter forms are links as well.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Literal

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.machine import Mac, parse_mac

DNS_LIMIT = 8
LINKS_LIMIT = 32
ADDRESSES_LIMIT = 16
ROUTES_LIMIT = 32
BOOT_LINK = "lpmos"
"""The name of the one link that the shorter forms are."""

LINK_PATTERN = "^[A-Za-z][A-Za-z0-9_-]{0,14}$"
"""What the kernel takes for an interface (IFNAMSIZ), without what has a meaning to some system."""
_LINK = re.compile(LINK_PATTERN)
_RESERVED = frozenset({"lo", "all", "default"})
_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}([.][A-Za-z0-9-]{1,63})*")

Interface = Annotated[
    str, msgspec.Meta(extra_json_schema={"format": "ip-interface", "examples": ["192.0.2.10/24"]})
]
Gateway = Annotated[
    str, msgspec.Meta(extra_json_schema={"format": "ip-gateway", "examples": ["192.0.2.1"]})
]
NameServer = Annotated[
    str, msgspec.Meta(extra_json_schema={"format": "ip-address", "examples": ["192.0.2.53"]})
]
NameServers = Annotated[
    tuple[NameServer, ...], msgspec.Meta(extra_json_schema={"maxItems": DNS_LIMIT})
]
"""Only what a pattern could not say is left to the formats: whether a text is such an address."""
LinkName = Annotated[str, msgspec.Meta(pattern=LINK_PATTERN)]
Members = Annotated[tuple[LinkName, ...], msgspec.Meta(min_length=1, max_length=LINKS_LIMIT)]
BondMode = Literal[
    "active-backup",
    "802.3ad",
    "balance-rr",
    "balance-xor",
    "broadcast",
    "balance-tlb",
    "balance-alb",
]
"""The modes of the kernel's bonding driver (Documentation/networking/bonding.rst)."""


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network that is reached by another way than the default one."""

    to: Annotated[str, msgspec.Meta(extra_json_schema={"examples": ["198.51.100.0/24"]})]
    via: Gateway


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every link has. One without `dhcp` and addresses carries others, or nothing."""

    name: LinkName
    dhcp: bool = False
    addresses: Annotated[tuple[Interface, ...], msgspec.Meta(max_length=ADDRESSES_LIMIT)] = ()
    gateways: Annotated[tuple[Gateway, ...], msgspec.Meta(max_length=2)] = ()
    routes: Annotated[tuple[Route, ...], msgspec.Meta(max_length=ROUTES_LIMIT)] = ()
    mtu: Annotated[int, msgspec.Meta(ge=1280, le=9216)] | None = None

    @property
    def below(self) -> tuple[str, ...]:
        """The names of the links that it is built on."""
        return ()

    @property
    def configured(self) -> bool:
        """Whether it gets an address."""
        return self.dhcp or bool(self.addresses)


class Ethernet(Link, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ethernet"):
    """A network card; without a `mac` the one that booted."""

    mac: str | None = None


class Vlan(Link, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="vlan"):
    """An IEEE 802.1Q network over another link."""

    over: LinkName
    id: Annotated[int, msgspec.Meta(ge=1, le=4094)]

    @property
    def below(self) -> tuple[str, ...]:
        """See `Link`."""
        return (self.over,)


class Bond(Link, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bond"):
    """Several cards as one; `lacp_fast` is for mode 802.3ad alone."""

    members: Members
    mode: BondMode = "active-backup"
    hash_policy: Literal["layer2", "layer2+3", "layer3+4"] | None = None
    lacp_fast: bool = False

    @property
    def speaks_lacp_fast(self) -> bool:
        """Whether it does, of which only one mode is capable: earlier versions took it with all."""
        return self.lacp_fast and self.mode == "802.3ad"

    @property
    def below(self) -> tuple[str, ...]:
        """See `Link`."""
        return self.members


class Bridge(Link, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bridge"):
    """A bridge (IEEE 802.1D) for virtual machines or containers."""

    members: Members
    stp: bool = False

    @property
    def below(self) -> tuple[str, ...]:
        """See `Link`."""
        return self.members


AnyLink = Ethernet | Vlan | Bond | Bridge


class Network(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One fixed `address` with its prefix on the card that booted, or `links`; never both.

    What is not set is not written: the version before knows `address`, `gateway` and `dns` alone.
    """

    address: Interface | None = None
    gateway: Gateway | None = None
    dns: NameServers = ()
    search: Annotated[tuple[str, ...], msgspec.Meta(max_length=DNS_LIMIT)] = ()
    links: Annotated[tuple[AnyLink, ...], msgspec.Meta(max_length=LINKS_LIMIT)] = ()


NetworkConfig = Literal["dhcp"] | Network


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A network in one form: each card with its MAC, what is below a link before the link."""

    links: tuple[AnyLink, ...]
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    def over(self, name: str) -> tuple[AnyLink, ...]:
        """The links that are built on this one."""
        return tuple(link for link in self.links if name in link.below)

    def only_carries(self, link: AnyLink) -> bool:
        """Whether it gets no address and belongs to no bond or bridge: nobody waits for it."""
        member = any(isinstance(each, Bond | Bridge) for each in self.over(link.name))
        return not link.configured and not member

    def macs(self, link: AnyLink) -> tuple[str, ...]:
        """The cards below a link, its own one where it is a card."""
        if isinstance(link, Ethernet):
            return (link.mac,) if link.mac else ()
        named = {each.name: each for each in self.links}
        return tuple(mac for name in link.below for mac in self.macs(named[name]))


def layout(network: NetworkConfig, boot_mac: str) -> Layout:
    """The links of a checked configuration; `boot_mac` is of the card that booted."""
    if network == "dhcp":
        return Layout(links=(Ethernet(name=BOOT_LINK, mac=boot_mac, dhcp=True),))
    if network.address is not None:
        gateways = (network.gateway,) if network.gateway else ()
        only = Ethernet(
            name=BOOT_LINK, mac=boot_mac, addresses=(network.address,), gateways=gateways
        )
        return Layout(links=(only,), dns=network.dns, search=network.search)
    links = tuple(
        msgspec.structs.replace(link, mac=parse_mac(link.mac) if link.mac else Mac(boot_mac))
        if isinstance(link, Ethernet)
        else link
        for link in _in_order(network.links)
    )
    return Layout(links=links, dns=network.dns, search=network.search)


def network_problems(network: NetworkConfig, field: str = "network_config") -> list[FieldProblem]:
    """All that is wrong with a configuration; empty where nothing is."""
    if network == "dhcp":
        return []
    found = [FieldProblem(f"{field}.{name}", text) for name, text in _problems(network)]
    return list(dict.fromkeys(found))


def _problems(network: Network) -> Iterator[tuple[str, str]]:
    if network.links:
        if network.address is not None or network.gateway is not None:
            yield "links", "cannot stand beside address and gateway: these are a link's"
        yield from _links_problems(network.links)
    elif network.address is None:
        yield "address", "is missing: give it, or links, or the word dhcp in place of all"
    else:
        gateways = () if network.gateway is None else (("gateway", network.gateway),)
        yield from _address_problems((("address", network.address),), gateways)
    if len(network.dns) > DNS_LIMIT:
        yield "dns", f"more than {DNS_LIMIT} name servers"
    for number, server in enumerate(network.dns):
        if _parsed(server) is None:
            yield f"dns.{number}", _not_an_address(server)
    for number, domain in enumerate(network.search):
        if len(domain) > 253 or not _DOMAIN.fullmatch(domain):
            yield f"search.{number}", f"{domain[:80]!r} is no domain"


def _address_problems(
    addresses: Sequence[tuple[str, str]], gateways: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """What is wrong with one link's addresses and gateways, each with its field."""
    interfaces = []
    for field, text in addresses:
        interface = _interface(text)
        if interface is None:
            yield field, _not_an_address(text)
        elif "/" not in text:
            yield field, "the prefix length is missing"
        else:
            interfaces.append(interface)
    versions: Counter[int] = Counter()
    for field, text in gateways:
        gateway = _parsed(text)
        if gateway is None:
            yield field, _not_an_address(text)
            continue
        versions[gateway.version] += 1
        if versions[gateway.version] > 1:
            yield field, f"is the second one for IPv{gateway.version}"
        inside = any(gateway in each.network for each in interfaces)
        if not inside and len(interfaces) == len(addresses) and not gateway.is_link_local:
            yield field, "is not in the address's network"


def _links_problems(links: Sequence[AnyLink]) -> Iterator[tuple[str, str]]:
    names = Counter(link.name for link in links)
    kinds = {link.name: link for link in links}
    carried = Counter(
        name for link in links if not isinstance(link, Vlan) for name in dict.fromkeys(link.below)
    )
    macs = Counter(_mac(link) for link in links if isinstance(link, Ethernet))
    for number, link in enumerate(links):
        at = f"links.{number}"
        if not _LINK.fullmatch(link.name) or link.name in _RESERVED:
            yield f"{at}.name", f"{link.name[:40]!r} is no name of an interface"
        elif names[link.name] > 1:
            yield f"{at}.name", f"{link.name} stands twice"
        if isinstance(link, Ethernet):
            yield from ((f"{at}.mac", text) for text in _mac_problems(link, macs))
        if isinstance(link, Bond) and link.lacp_fast and not link.speaks_lacp_fast:
            yield f"{at}.lacp_fast", f"is for mode 802.3ad; this bond's is {link.mode}"
        yield from ((f"{at}.{name}", text) for name, text in _below_problems(link, kinds))
        if carried[link.name] > 1:
            yield f"{at}.name", f"{link.name} is a member of more than one link"
        if carried[link.name] and link.configured:
            yield (
                f"{at}.addresses",
                "a member has none: give them to what it belongs to",
            )
        yield from ((f"{at}.{name}", text) for name, text in _link_address_problems(link))
    if not any(link.configured for link in links):
        yield "links", "none gets an address: nobody could reach the machine"
    defaults = Counter(
        gateway.version for link in links for text in link.gateways if (gateway := _parsed(text))
    )
    for version, count in sorted(defaults.items()):
        if count > 1:
            yield "links", f"more than one default gateway for IPv{version}; name routes instead"
    yield from _cycle(links)


def _link_address_problems(link: AnyLink) -> Iterator[tuple[str, str]]:
    yield from _address_problems(
        [(f"addresses.{number}", text) for number, text in enumerate(link.addresses)],
        [(f"gateways.{number}", text) for number, text in enumerate(link.gateways)],
    )
    for number, route in enumerate(link.routes):
        try:
            network = ip_network(route.to)
        except ValueError:
            yield f"routes.{number}.to", f"{route.to[:60]!r} is no network, as 198.51.100.0/24"
            continue
        via = _parsed(route.via)
        if via is None:
            yield f"routes.{number}.via", _not_an_address(route.via)
        elif via.version != network.version:
            yield f"routes.{number}.via", f"is IPv{via.version}, the network IPv{network.version}"


def _mac(link: Ethernet) -> str | None:
    """Its normalised MAC; None where it has none, or none that can be read."""
    try:
        return parse_mac(link.mac) if link.mac is not None else None
    except InvalidInput:
        return link.mac


def _mac_problems(link: Ethernet, macs: Counter[str | None]) -> Iterator[str]:
    if link.mac is not None:
        try:
            parse_mac(link.mac)
        except InvalidInput as error:
            yield from (problem.message for problem in error.problems)
            return
    if macs[_mac(link)] > 1:
        yield ("stands twice" if link.mac else "one card only can be left without: the booted one")


_CARRIES = {"Vlan": (Ethernet, Bond, Bridge), "Bond": (Ethernet,), "Bridge": (Ethernet, Bond, Vlan)}
"""What each kind of link may be built on."""


def _below_problems(link: AnyLink, kinds: dict[str, AnyLink]) -> Iterator[tuple[str, str]]:
    field = "over" if isinstance(link, Vlan) else "members"
    for name in link.below:
        if name not in kinds:
            yield field, f"there is no link {name[:40]!r}"
        elif not isinstance(kinds[name], _CARRIES[type(link).__name__]):
            kind = type(kinds[name]).__name__.lower()
            yield field, f"{name} is a {kind}, and a {type(link).__name__.lower()} cannot be on one"
    if len(set(link.below)) < len(link.below):
        yield field, "a link stands twice"


def _cycle(links: Sequence[AnyLink]) -> Iterator[tuple[str, str]]:
    known = {link.name for link in links}
    placed = {link.name for link in _in_order(links)}
    for number, link in enumerate(links):
        if link.name not in placed and set(link.below) <= known:
            yield f"links.{number}", f"{link.name} is built on itself"


def _in_order(links: Sequence[AnyLink]) -> list[AnyLink]:
    """The links with those below first, else as given; who is in a circle is left out."""
    placed: list[AnyLink] = []
    names: set[str] = set()
    waiting = list(links)
    while ready := [link for link in waiting if set(link.below) <= names]:
        placed += ready
        names |= {link.name for link in ready}
        waiting = [link for link in waiting if link.name not in names]
    return placed


def _interface(text: str) -> IPv4Interface | IPv6Interface | None:
    try:
        return None if "%" in text else ip_interface(text)
    except ValueError:
        return None


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _not_an_address(text: str) -> str:
    if "%" in text:
        return "has a scope (%), which is no part of an address"
    return f"{text[:60]!r} is no address"
