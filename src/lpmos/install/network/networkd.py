"""systemd-networkd: systemd.network(5) and systemd.netdev(5), one file or two for each link.

A card below a bond is matched by its permanent address, since the bond gives all its cards one; a
bond or bridge gets the address of its first card, so that DHCP knows the machine by it.
"""

from collections.abc import Iterator

from lpmos.model.installplan import PlannedFile
from lpmos.model.network import AnyLink, Bond, Bridge, Ethernet, Layout, Vlan

_PLACE = "/etc/systemd/network"


def files(layout: Layout) -> tuple[PlannedFile, ...]:
    """The files of all links."""
    return tuple(file for link in layout.links for file in _link_files(layout, link))


def _link_files(layout: Layout, link: AnyLink) -> Iterator[PlannedFile]:
    name = link.name if link.name.startswith("lpmos") else f"lpmos-{link.name}"
    if not isinstance(link, Ethernet):
        yield _file(f"{_PLACE}/10-{name}.netdev", _netdev(layout, link))
    yield _file(f"{_PLACE}/10-{name}.network", _network(layout, link))


def _file(path: str, lines: Iterator[str]) -> PlannedFile:
    return PlannedFile(path=path, content="\n".join(lines).strip() + "\n")


def _netdev(layout: Layout, link: Vlan | Bond | Bridge) -> Iterator[str]:
    yield from ("[NetDev]", f"Name={link.name}", f"Kind={type(link).__name__.lower()}")
    if not isinstance(link, Vlan) and (macs := layout.macs(link)):
        yield f"MACAddress={macs[0]}"
    if isinstance(link, Vlan):
        yield from ("", "[VLAN]", f"Id={link.id}")
    elif isinstance(link, Bridge):
        yield from ("", "[Bridge]", f"STP={_yes(link.stp)}")
    else:
        yield from ("", "[Bond]", f"Mode={link.mode}", "MIIMonitorSec=100ms")
        if link.hash_policy:
            yield f"TransmitHashPolicy={link.hash_policy}"
        if link.speaks_lacp_fast:
            yield "LACPTransmitRate=fast"


def _network(layout: Layout, link: AnyLink) -> Iterator[str]:
    above = layout.over(link.name)
    yield "[Match]"
    if isinstance(link, Ethernet):
        bonded = any(isinstance(each, Bond) for each in above)
        yield f"{'PermanentMACAddress' if bonded else 'MACAddress'}={link.mac}"
        yield "Type=ether"
    else:
        yield f"Name={link.name}"
    properties = [f"MTUBytes={link.mtu}"] if link.mtu is not None else []
    if layout.only_carries(link):
        # Without an address it never comes as far as the boot would wait for it, for two minutes.
        properties.append("RequiredForOnline=no")
    if properties:
        yield from ("", "[Link]", *properties)
    yield from ("", "[Network]")
    yield from (f"{type(each).__name__.upper() if isinstance(each, Vlan) else type(each).__name__}"
                f"={each.name}" for each in above)  # fmt: skip
    if not link.configured:
        yield "LinkLocalAddressing=no"
        return
    if link.dhcp:
        yield "DHCP=yes"
    yield from (f"Address={address}" for address in link.addresses)
    yield from (f"Gateway={gateway}" for gateway in link.gateways)
    yield from (f"DNS={server}" for server in layout.dns)
    if layout.search:
        yield f"Domains={' '.join(layout.search)}"
    for route in link.routes:
        yield from ("", "[Route]", f"Destination={route.to}", f"Gateway={route.via}")
    if link.dhcp:
        yield from ("", "[DHCPv4]", "ClientIdentifier=mac")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
