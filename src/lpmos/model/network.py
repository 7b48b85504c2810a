"""How an installed machine gets its addresses; `"dhcp"` or one static configuration."""

from ipaddress import ip_address, ip_interface
from typing import Annotated, Literal

import msgspec

from lpmos.model.errors import FieldProblem

DNS_LIMIT = 8

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


class StaticNetwork(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fixed addresses on the NIC that booted; `address` carries its prefix: `192.0.2.10/24`."""

    address: Interface
    gateway: Gateway | None = None
    dns: NameServers = ()


NetworkConfig = Literal["dhcp"] | StaticNetwork


def network_problems(network: NetworkConfig, field: str = "network_config") -> list[FieldProblem]:
    """All that is wrong with the addresses; empty where nothing is."""
    if network == "dhcp":
        return []
    problems = [
        FieldProblem(f"{field}.{name}", "has a scope (%), which is no part of an address")
        for name, text in _addresses(network)
        if "%" in text
    ]
    try:
        interface = ip_interface(network.address)
        if "/" not in network.address:
            problems.append(FieldProblem(f"{field}.address", "the prefix length is missing"))
    except ValueError:
        interface = None
        problems.append(FieldProblem(f"{field}.address", f"{network.address!r} is no address"))
    try:
        gateway = ip_address(network.gateway) if network.gateway else None
        if gateway and interface and gateway not in interface.network:
            problems.append(FieldProblem(f"{field}.gateway", "is not in the address's network"))
    except ValueError:
        problems.append(FieldProblem(f"{field}.gateway", f"{network.gateway!r} is no address"))
    if len(network.dns) > DNS_LIMIT:
        problems.append(FieldProblem(f"{field}.dns", f"more than {DNS_LIMIT} name servers"))
    for number, server in enumerate(network.dns):
        try:
            ip_address(server)
        except ValueError:
            problems.append(FieldProblem(f"{field}.dns.{number}", f"{server!r} is no address"))
    return problems


def _addresses(network: StaticNetwork) -> list[tuple[str, str]]:
    named = [("address", network.address), ("gateway", network.gateway or "")]
    return named + [(f"dns.{number}", server) for number, server in enumerate(network.dns)]
