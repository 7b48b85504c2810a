"""NetworkManager: one keyfile for each link (nm-settings-keyfile(5)), private as it demands.

Connections name each other by UUID, made from their names: the same task gives the same files.
"""

from collections.abc import Iterator
from uuid import UUID, uuid5

from lpmos.model.installplan import PlannedFile
from lpmos.model.network import AnyLink, Bond, Bridge, Ethernet, Layout, Vlan

_PLACE = "/etc/NetworkManager/system-connections"
_NAMES = UUID("7b0c8a52-6a55-4f0c-9d2f-3f6c8d1e5a40")
"""The name space of the UUIDs, of this module alone (RFC 9562 section 5.5)."""
_KINDS = {Ethernet: "ethernet", Vlan: "vlan", Bond: "bond", Bridge: "bridge"}


def files(layout: Layout, *, no_ipv6: str = "disabled") -> tuple[PlannedFile, ...]:
    """The files of all links.

    `no_ipv6` is the method of a link without IPv6: before 1.20 NetworkManager knows `ignore` alone,
    and does not load a connection whose method it does not know.
    """
    return tuple(
        PlannedFile(
            path=f"{_PLACE}/{link.name}.nmconnection",
            content="\n".join(_connection(layout, link, no_ipv6)) + "\n",
            mode=0o600,
        )
        for link in layout.links
    )


def _connection(layout: Layout, link: AnyLink, no_ipv6: str) -> Iterator[str]:
    kind = _KINDS[type(link)]
    yield from ("[connection]", f"id={link.name}", f"uuid={_uuid(link.name)}", f"type={kind}")
    if not isinstance(link, Ethernet):
        yield f"interface-name={link.name}"
    carrier = next((each for each in layout.over(link.name) if not isinstance(each, Vlan)), None)
    if carrier is not None:
        yield from (f"master={_uuid(carrier.name)}", f"slave-type={_KINDS[type(carrier)]}")
    yield from _kind(layout, link)
    if carrier is None:
        yield from _family(layout, link, 4, "disabled")
        yield from _family(layout, link, 6, no_ipv6)


def _kind(layout: Layout, link: AnyLink) -> Iterator[str]:
    if isinstance(link, Vlan):
        yield from ("", "[vlan]", f"parent={_uuid(link.over)}", f"id={link.id}", "flags=1")
    elif isinstance(link, Bridge):
        yield from ("", "[bridge]", f"stp={str(link.stp).lower()}")
        yield from (f"mac-address={mac}" for mac in layout.macs(link)[:1])
    elif isinstance(link, Bond):
        yield from ("", "[bond]", f"mode={link.mode}", "miimon=100")
        if link.hash_policy:
            yield f"xmit_hash_policy={link.hash_policy}"
        if link.speaks_lacp_fast:
            yield "lacp_rate=fast"
    ethernet = [f"mac-address={link.mac}"] if isinstance(link, Ethernet) else []
    ethernet += [f"mtu={link.mtu}"] if link.mtu is not None else []
    if isinstance(link, Bond):
        ethernet += [f"cloned-mac-address={mac}" for mac in layout.macs(link)[:1]]
    if ethernet:
        yield from ("", "[ethernet]", *ethernet)


def _family(layout: Layout, link: AnyLink, version: int, off: str) -> Iterator[str]:
    """The addresses of one IP version; a version with none has the method `off`, but for DHCP."""

    def own(texts: tuple[str, ...]) -> list[str]:
        return [text for text in texts if (":" in text) == (version == 6)]

    addresses, gateways = own(link.addresses), own(link.gateways)
    method = "auto" if link.dhcp else "manual" if addresses else off
    yield from ("", f"[ipv{version}]", f"method={method}")
    if version == 4 and link.dhcp:
        yield "dhcp-client-id=mac"
    if method == off:
        return
    yield from (f"address{number}={text}" for number, text in enumerate(addresses, 1))
    yield from (f"gateway={gateway}" for gateway in gateways)
    routes = [route for route in link.routes if (":" in route.to) == (version == 6)]
    yield from (f"route{number}={route.to},{route.via}" for number, route in enumerate(routes, 1))
    if servers := own(layout.dns):
        yield f"dns={''.join(f'{server};' for server in servers)}"
    if layout.search:
        yield f"dns-search={''.join(f'{domain};' for domain in layout.search)}"


def _uuid(name: str) -> UUID:
    return uuid5(_NAMES, name)
