"""Netplan: one YAML file, version 2 (netplan-yaml(5)), for whatever renderer the system has."""

import json
from collections.abc import Iterator, Mapping

from lpmos.model.installplan import PlannedFile
from lpmos.model.network import AnyLink, Bond, Bridge, Ethernet, Layout, Vlan

_SECTIONS = {Ethernet: "ethernets", Bond: "bonds", Bridge: "bridges", Vlan: "vlans"}


def files(layout: Layout) -> tuple[PlannedFile, ...]:
    """The one file; private, as netplan demands of a file that may hold passwords."""
    network: dict[str, object] = {"version": 2}
    for kind, section in _SECTIONS.items():
        links = {link.name: _link(layout, link) for link in layout.links if isinstance(link, kind)}
        if links:
            network[section] = links
    text = "\n".join(_yaml({"network": network})) + "\n"
    return (PlannedFile(path="/etc/netplan/50-lpmos.yaml", content=text, mode=0o600),)


def _link(layout: Layout, link: AnyLink) -> dict[str, object]:
    found: dict[str, object] = _kind(layout, link)
    if link.mtu is not None:
        found["mtu"] = link.mtu
    found["dhcp4"] = found["dhcp6"] = link.dhcp
    if link.dhcp:
        found["dhcp-identifier"] = "mac"
    if layout.only_carries(link):
        found["optional"] = True  # the boot would wait two minutes for its address
    if not link.configured:
        return found | {"link-local": []}
    if link.addresses:
        found["addresses"] = list(link.addresses)
    routes = [{"to": "default", "via": gateway} for gateway in link.gateways]
    routes += [{"to": route.to, "via": route.via} for route in link.routes]
    if routes:
        found["routes"] = routes
    servers = {"addresses": list(layout.dns), "search": list(layout.search)}
    if names := {name: values for name, values in servers.items() if values}:
        found["nameservers"] = names
    return found


def _kind(layout: Layout, link: AnyLink) -> dict[str, object]:
    if isinstance(link, Ethernet):
        # A match by MAC alone would catch what is built on the card as well: so it gets its name.
        return {"match": {"macaddress": link.mac}, "set-name": link.name}
    if isinstance(link, Vlan):
        return {"id": link.id, "link": link.over}
    found: dict[str, object] = {"interfaces": list(link.members)}
    if macs := layout.macs(link):
        found["macaddress"] = macs[0]
    if isinstance(link, Bridge):
        return found | {"parameters": {"stp": link.stp}}
    parameters: dict[str, object] = {"mode": link.mode, "mii-monitor-interval": 100}
    if link.hash_policy:
        parameters["transmit-hash-policy"] = link.hash_policy
    if link.speaks_lacp_fast:
        parameters["lacp-rate"] = "fast"
    return found | {"parameters": parameters}


def _yaml(value: Mapping[str, object], indent: str = "") -> Iterator[str]:
    """Mappings as blocks, all else as JSON, which YAML 1.2 is made to read."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield f"{indent}{json.dumps(name)}:"
            yield from _yaml(part, indent + "  ")
        else:
            yield f"{indent}{json.dumps(name)}: {json.dumps(part)}"
