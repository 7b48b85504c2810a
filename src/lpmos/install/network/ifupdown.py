"""ifupdown: stanzas of interfaces(5), and systemd.link(5) files that give each card its name.

The stanzas of bonds and bridges are those of Debian's packages ifenslave(8) and
bridge-utils-interfaces(5), which the image must hold. VLANs are made by ip-link(8): the package
vlan takes their number from their name.
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
    methods = _methods(link) or [("inet manual", [])]
    methods[0][1].extend(_own(layout, link, dhcp=link.dhcp))
    methods[-1][1].extend(_last(link))
    for method, lines in methods:
        yield f"iface {link.name} {method}"
        yield from (f"    {line}" for line in lines)


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


def _own(layout: Layout, link: AnyLink, *, dhcp: bool) -> Iterator[str]:
    """What stands in a link's first stanza; `dhcp`: where the method of that one is DHCP."""
    if isinstance(link, Vlan):
        made = f"ip link add link {link.over} name {link.name} type vlan id {link.id}"
        yield f"pre-up ip link set dev {link.over} up"
        yield f"pre-up [ -e /sys/class/net/{link.name} ] || {made}"
    if link.mtu is not None:
        yield f"up ip link set dev {link.name} mtu {link.mtu}" if dhcp else f"mtu {link.mtu}"
    if isinstance(link, Bridge):
        yield from (f"bridge_ports {' '.join(link.members)}", f"bridge_stp {_on(link.stp)}")
        yield from (f"bridge_hw {mac}" for mac in layout.macs(link)[:1])
    elif isinstance(link, Bond):
        yield from (f"bond-slaves {' '.join(link.members)}", f"bond-mode {link.mode}")
        yield "bond-miimon 100"
        if link.hash_policy:
            yield f"bond-xmit-hash-policy {link.hash_policy}"
        if link.speaks_lacp_fast:
            yield "bond-lacp-rate fast"
    yield from (
        f"bond-master {each.name}" for each in layout.over(link.name) if isinstance(each, Bond)
    )
    if link.configured and layout.dns:
        yield f"dns-nameservers {' '.join(layout.dns)}"
    if link.configured and layout.search:
        yield f"dns-search {' '.join(layout.search)}"


def _last(link: AnyLink) -> Iterator[str]:
    """What stands in a link's last stanza: ifdown, too, begins with the first.

    A route may go through the last of the addresses, and one that fails ends the whole link.
    """
    for route in link.routes:
        family = "-6 " if ip_network(route.to).version == 6 else ""
        yield f"up ip {family}route add {route.to} via {route.via} dev {link.name}"
    if isinstance(link, Vlan):
        yield f"post-down ip link del dev {link.name} || true"


def _on(value: bool) -> str:
    return "on" if value else "off"
