"""Unique local IPv6 networks (RFC 4193) of an interface: those which a region may announce.

A global prefix is left alone: where there is one, its own router announces it.
"""

from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

IF_INET6 = Path("/proc/net/if_inet6")
_ULA = IPv6Network("fc00::/7")


def parse_ula_prefixes(text: str, interface: str) -> tuple[str, ...]:
    """The /64 networks below fc00::/7 on `interface`, as `fd78::`.

    Args:
        text: proc(5) `/proc/net/if_inet6`: address in 32 hex digits, interface number, prefix
            length, scope and flags in hex, interface name.
        interface: its name.
    """
    prefixes: dict[str, None] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != 6 or fields[5] != interface or fields[2] != "40":
            continue
        address = IPv6Address(bytes.fromhex(fields[0]))
        if address in _ULA:
            network = IPv6Network((address, 64), strict=False)
            prefixes[str(network.network_address)] = None
    return tuple(prefixes)


def ula_prefixes(interface: str) -> tuple[str, ...]:
    """The networks of an interface of this machine; none where the kernel has no IPv6."""
    try:
        return parse_ula_prefixes(IF_INET6.read_text(), interface)
    except FileNotFoundError:
        return ()
