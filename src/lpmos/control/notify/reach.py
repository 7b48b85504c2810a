"""Which addresses a webhook may reach: who writes webhooks must not look into our own networks.

The provider's webhooks go anywhere. A tenant's go to public addresses, and to those networks that
the operator allows. That is decided for the very address that is connected to, when it is: a name
may stand for another address by then.
"""

import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Any

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

REFUSED = "a tenant's webhook reaches public addresses only"


class Reach:
    """What tenants' webhooks may connect to."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        """`networks` are allowed though they are not public."""
        self._networks = networks

    def allows(self, address: Address) -> bool:
        """Whether a tenant's webhook may connect to this address."""
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        address = mapped or address
        if any(address in network for network in self._networks):
            return True
        return address.is_global and not address.is_multicast and not _embeds_ipv4(address)

    def refuses_host(self, host: str) -> bool:
        """Whether it is seen from the host alone that it may not be reached."""
        try:
            return not self.allows(ip_address(host.strip("[]")))
        except ValueError:
            return host.rstrip(".").lower() == "localhost"

    def guarded_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address as `getaddrinfo` gives it.

        Raises:
            OSError: it may not be reached.
        """
        family, kind, protocol, _, address = info
        if not self.allows(ip_address(str(address[0]).partition("%")[0])):
            raise OSError(REFUSED)
        return socket.socket(family, kind, protocol)


def _embeds_ipv4(address: Address) -> bool:
    """Whether it is an IPv6 address that is translated to one of IPv4 (6to4, Teredo, NAT64)."""
    if isinstance(address, IPv4Address):
        return False
    nat64 = IPv6Network("64:ff9b::/96")
    return address.sixtofour is not None or address.teredo is not None or address in nat64
