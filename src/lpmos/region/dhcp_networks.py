"""The networks that a region serves by DHCP: what an operator writes of each, and what is refused.

Every text that will stand in dnsmasq's configuration is parsed here, so that rendering it needs no
quoting: an address is an address and an interface a plain name. All that is wrong is said together,
each with the name of its field.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import combinations
from typing import Literal

import msgspec

from lpmos.region.slaac import may_be_of_macs

INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}")
MIN_LEASE_S = 120
"""dnsmasq takes no shorter lease."""
MAX_LEASE_S = 31_536_000
NETWORKS_LIMIT = 200
IPV6_PREFIX = 64
"""dnsmasq announces no other."""

Mode = Literal["full", "proxy", "relayed"]


class DhcpNetwork(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network of machines.

    `full`: the region is the only DHCP server of the network on `interface`. `proxy`: another
    server gives the addresses of `subnet`, the region names the loader. `relayed`: requests come
    through `interface` from a relay that has an address in `subnet`.

    `range` is what is given to machines, `address` where machines of this network reach the region
    (its address everywhere where not given). Without a `router` machines get no default gateway.
    `range6` is given by DHCPv6 too, and `address6` is where machines reach the region then; with
    a `range6` and no `range` the network has IPv6 alone. With `secure_boot` UEFI machines get the
    signed shim and GRUB in place of iPXE.
    """

    interface: str
    mode: Mode = "full"
    subnet: str | None = None
    range: tuple[str, ...] = ()
    router: str | None = None
    dns: tuple[str, ...] = ()
    lease_s: int = 3600
    address: str | None = None
    range6: tuple[str, ...] = ()
    address6: str | None = None
    secure_boot: bool = False

    @property
    def network(self) -> IPv4Network | None:
        """The subnet; None where it is the interface's."""
        return IPv4Network(self.subnet) if self.subnet else None

    @property
    def ipv6_only(self) -> bool:
        """Whether machines of it have no IPv4."""
        return bool(self.range6) and not self.range and self.mode == "full"

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The first and the last address of the range, as numbers; None for a proxy."""
        if not self.range:
            return None
        first, last = map(IPv4Address, self.range)
        return int(first), int(last)

    def within(self, network: IPv4Network) -> bool:
        """Whether its whole range is in a network."""
        return bool(self.range) and all(IPv4Address(text) in network for text in self.range)

    @property
    def size(self) -> int:
        """How many addresses it has for machines."""
        bounds = self.bounds
        return bounds[1] - bounds[0] + 1 if bounds else 0

    @property
    def name(self) -> str:
        """What people call it: the subnet, else the range, on its interface."""
        return f"{self.subnet or '-'.join(self.range or self.range6)} on {self.interface}"

    def gives(self, ip: str) -> bool:
        """Whether an address is in the range for machines."""
        bounds = self.bounds
        return bounds is not None and bounds[0] <= int(IPv4Address(ip)) <= bounds[1]

    def reserves(self, ip: str) -> bool:
        """Whether it can give an address to the one machine that it is reserved for."""
        if self.mode == "proxy":
            return False
        return IPv4Address(ip) in self.network if self.network else self.gives(ip)


class DhcpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """DHCP and TFTP of one region; `known_only` leaves machines that it does not know alone."""

    networks: tuple[DhcpNetwork, ...]
    known_only: bool = False

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Each interface once."""
        return tuple(dict.fromkeys(network.interface for network in self.networks))

    @property
    def secure_boot(self) -> bool:
        """Whether any network is for machines with Secure Boot."""
        return any(network.secure_boot for network in self.networks)

    def signed_network(self, ip: str) -> str | None:
        """The name of the network of this address where its UEFI machines get GRUB, else None.

        By DHCPv6 such a network names no loader, so an address that is not IPv4 is in none.
        """
        if not is_address(ip):
            return None
        its = (net for net in self.networks if IPv4Address(ip) in (net.network or ()))
        return next((net.name for net in its if net.secure_boot), None)


def dhcp_problems(dhcp: DhcpSettings) -> list[str]:
    """All that cannot work in these settings; empty where nothing is wrong."""
    networks = dhcp.networks
    if not 0 < len(networks) <= NETWORKS_LIMIT:
        return [f"dhcp_network: {len(networks)} networks; from 1 to {NETWORKS_LIMIT} can be"]
    problems: list[str] = []
    for number, network in enumerate(networks, 1):
        where = f"dhcp_network {number}: " if len(networks) > 1 else ""
        problems += [where + text for text in _network_problems(network)]
    return problems or list(_together_problems(networks))


def is_address(text: str) -> bool:
    """Whether it is an IPv4 address."""
    return _is(IPv4Address, text)


def not_address(name: str, text: str) -> str:
    """The words for one that is not."""
    return f"{name}: {text[:60]!r} is not an IPv4 address"


def _network_problems(network: DhcpNetwork) -> list[str]:
    problems = [*_text_problems(network)]
    if not problems:
        problems += _mode_problems(network)
    if not problems:
        problems += [*_range_problems(network), *_ipv6_problems(network)]
    return problems


def _text_problems(network: DhcpNetwork) -> Iterator[str]:
    """Texts that are not what they should be."""
    if not INTERFACE.fullmatch(network.interface):
        yield f"dhcp_interface: {network.interface!r} is not the name of an interface"
    named = [("dhcp_range", text) for text in network.range]
    named += [("dhcp_dns", text) for text in network.dns]
    named += [("dhcp_router", network.router)] if network.router is not None else []
    named += [("address", network.address)] if network.address is not None else []
    yield from (not_address(name, text) for name, text in named if not is_address(text))
    named6 = [("range6", text) for text in network.range6]
    named6 += [("address6", network.address6)] if network.address6 is not None else []
    for name, text in named6:
        if not _is(IPv6Address, text):
            yield f"{name}: {text[:60]!r} is not an IPv6 address"
    if network.subnet is not None and not _is(IPv4Network, network.subnet):
        yield f"subnet: {network.subnet[:60]!r} is not a network as 192.0.2.0/24"
    if not MIN_LEASE_S <= network.lease_s <= MAX_LEASE_S:
        yield f"lease_s: {network.lease_s} is not from {MIN_LEASE_S} to {MAX_LEASE_S} s"


def _mode_problems(network: DhcpNetwork) -> Iterator[str]:
    """What a mode needs, and what it has no use for."""
    if network.mode == "proxy":
        if network.subnet is None:
            yield "subnet: is missing; a proxy names the network whose addresses another gives"
        for name in ("range", "router", "dns", "range6", "address6"):
            if getattr(network, name):
                yield f"{name}: the other DHCP server gives it; leave it out beside mode proxy"
        return
    if network.ipv6_only:
        yield from _ipv6_only_problems(network)
    elif len(network.range) != 2:
        yield "dhcp_range: first and last address are needed, as 192.0.2.100,192.0.2.200"
    if network.mode == "relayed":
        if network.subnet is None:
            yield "subnet: is missing; a relayed network is known by it"
        if network.router is None:
            yield "router: is missing; machines behind a relay reach the region through it"
        if network.range6:
            yield "range6: DHCPv6 through a relay is not served; leave it out"


def _ipv6_only_problems(network: DhcpNetwork) -> Iterator[str]:
    for name in ("subnet", "router", "dns", "address"):
        if getattr(network, name):
            yield f"{name}: is of IPv4, which a network without a range does not have"
    if network.secure_boot:
        yield "secure_boot: GRUB asks over IPv4; give the network a range, or leave it out"


def _range_problems(network: DhcpNetwork) -> Iterator[str]:
    bounds, subnet = network.bounds, network.network
    if bounds and bounds[0] > bounds[1]:
        yield f"dhcp_range: {network.range[0]} is beyond {network.range[1]}"
    if subnet is None:
        return
    named = [("dhcp_range", text) for text in network.range]
    named += [("dhcp_router", network.router)] if network.router else []
    for name, text in named:
        if IPv4Address(text) not in subnet:
            yield f"{name}: {text} is not in {subnet}"
        elif subnet.prefixlen < 31 and IPv4Address(text) in (subnet[0], subnet[-1]):
            yield f"{name}: {text} is no machine's: it is the network's or broadcast address"
    for name, own in (("dhcp_router", network.router), ("address", network.address)):
        if own and bounds and bounds[0] <= int(IPv4Address(own)) <= bounds[1]:
            yield f"{name}: {own} is in the range for machines"


def _ipv6_problems(network: DhcpNetwork) -> Iterator[str]:
    if not network.range6:
        if network.address6:
            yield "address6: has no use without range6"
        return
    if len(network.range6) != 2:
        yield "range6: first and last address are needed"
        return
    if network.address6 is None:
        yield "address6: is missing; machines with IPv6 alone reach the region there"
    first, last = map(IPv6Address, network.range6)
    if first > last:
        yield f"range6: {first} is beyond {last}"
    if int(first) >> IPV6_PREFIX != int(last) >> IPV6_PREFIX:
        yield f"range6: {first} and {last} are not in the same /{IPV6_PREFIX}"
        return
    if network.ipv6_only and network.address6 and not _beside(network.address6, first):
        yield f"address6: {network.address6} is not in the /{IPV6_PREFIX} of range6"
    # Beside IPv4 only what is plainly so: a region that serves a wide range6 has to go on.
    looked_at = [(first, last)] if network.ipv6_only else [(first, first), (last, last)]
    if any(may_be_of_macs(*each) for each in looked_at):
        yield (
            f"range6: {first}-{last} has addresses with ff:fe in the middle of the host part, which"
            " are those that machines make of their MACs; choose others, as ::1000 to ::1fff"
        )


def _beside(address: str, other: IPv6Address) -> bool:
    return int(IPv6Address(address)) >> IPV6_PREFIX == int(other) >> IPV6_PREFIX


def _together_problems(networks: Sequence[DhcpNetwork]) -> Iterator[str]:
    """Networks that cannot stand beside one another."""
    for (one, a), (other, b) in combinations(enumerate(networks, 1), 2):
        where = f"dhcp_network {one} and {other}: "
        if a.network and b.network and a.network.overlaps(b.network):
            yield f"{where}subnet: {a.subnet} and {b.subnet} overlap"
        elif (x := a.bounds) and (y := b.bounds) and x[0] <= y[1] and y[0] <= x[1]:
            yield f"{where}dhcp_range: {'-'.join(a.range)} and {'-'.join(b.range)} overlap"
        alone = a.ipv6_only or b.ipv6_only  # beside IPv4 a region goes on with what it had
        if alone and a.range6 and b.range6 and _overlap6(a, b):
            yield f"{where}range6: {'-'.join(a.range6)} and {'-'.join(b.range6)} overlap"
        if a.interface == b.interface and {a.mode, b.mode} == {"proxy", "full"}:
            yield f"{where}mode: {a.interface} cannot be both full and proxy"


def _overlap6(a: DhcpNetwork, b: DhcpNetwork) -> bool:
    (first, last), (other_first, other_last) = (
        tuple(map(IPv6Address, each.range6)) for each in (a, b)
    )
    return first <= other_last and other_first <= last


def _is(kind: type[IPv4Address] | type[IPv6Address] | type[IPv4Network], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return "%" not in text and (kind is not IPv4Network or "/" in text)


def parsed_networks(text: str) -> tuple[DhcpNetwork, ...]:
    """The networks of a JSON list.

    Raises:
        ValueError: it is none; the text names the field.
    """
    try:
        return msgspec.json.decode(text, type=tuple[DhcpNetwork, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"{error}; a list of networks is needed") from None
