"""ifupdown: stanzas of interfaces(5), and systemd.link(5) files that give each card its name.

The stanzas of bonds, bridges and VLANs are those of Debian's packages ifenslave(8),
bridge-utils-interfaces(5) and vlan-interfaces(5), which the image must hold.
"""

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from lpmos.model.installplan import PlannedFile
from lpmos.model.network import AnyLink, Bond, Bridge, Ethernet, Layout, Vlan

_HEADER = "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n"


def files(layout: Layout) -> tuple[PlannedFile, ...]:
    """The stanzas in one file, the names of the cards in one each."""
    stanzas = "\n\n".join("\n".join(_stanzas(layout, link)) for link in layout.links)
    return (
        PlannedFile(path="/etc/network/interfaces", content=_HEADER),
        PlannedFile(path="/etc/network/interfaces.d/lpmos", content=stanzas + "\n"),
        *(_name(link) for link in layout.links if isinstance(link, Ethernet)),
    )


def _name(link: Ethernet) -> PlannedFile:
    return PlannedFile(
        path=f"/etc/systemd/network/10-lpmos-{link.name}.link",
        content=f"[Match]\nPermanentMACAddress={link.mac}\n\n[Link]\nName={link.name}\n",
    )


def _stanzas(layout: Layout, link: AnyLink) -> Iterator[str]:
    yield f"auto {link.name}"
    own = [f"    {line}" for line in _own(layout, link)]
    for number, (method, lines) in enumerate(_methods(link) or [("inet manual", [])]):
        yield f"iface {link.name} {method}"
        yield from (f"    {line}" for line in lines)
        yield from own if number == 0 else ()


def _methods(link: AnyLink) -> list[tuple[str, list[str]]]:
    """A stanza for each way to an address; the gateway stands with the first of its family."""
    found: list[tuple[str, list[str]]] = []
    if link.dhcp:
        found += [("inet dhcp", []), ("inet6 auto", [])]
    gateways = {ip_address(gateway).version: gateway for gateway in link.gateways}
    for text in link.addresses:
        version = ip_interface(text).version
        gateway = gateways.pop(version, None)
        lines = [f"address {text}", *([f"gateway {gateway}"] if gateway else [])]
        found.append(("inet6 static" if version == 6 else "inet static", lines))
    return found


def _own(layout: Layout, link: AnyLink) -> Iterator[str]:
    """What stands in a link's first stanza, whatever its method."""
    if link.mtu is not None:
        yield f"mtu {link.mtu}"
    if isinstance(link, Vlan):
        yield from (f"vlan-raw-device {link.over}", f"vlan-id {link.id}")
    elif isinstance(link, Bridge):
        yield from (f"bridge_ports {' '.join(link.members)}", f"bridge_stp {_on(link.stp)}")
    elif isinstance(link, Bond):
        yield from (f"bond-slaves {' '.join(link.members)}", f"bond-mode {link.mode}")
        yield "bond-miimon 100"
        if link.hash_policy:
            yield f"bond-xmit-hash-policy {link.hash_policy}"
        if link.lacp_fast:
            yield "bond-lacp-rate fast"
    yield from (
        f"bond-master {each.name}" for each in layout.over(link.name) if isinstance(each, Bond)
    )
    if link.configured and layout.dns:
        yield f"dns-nameservers {' '.join(layout.dns)}"
    if link.configured and layout.search:
        yield f"dns-search {' '.join(layout.search)}"
    for route in link.routes:
        family = "-6 " if ip_network(route.to).version == 6 else ""
        yield f"up ip {family}route add {route.to} via {route.via} dev {link.name}"


def _on(value: bool) -> str:
    return "on" if value else "off"
