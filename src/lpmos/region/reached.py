"""Where a machine reached the region: what it is told to ask next stays on its own network.

The rule: only an address that the settings name is ever told; whatever a request says of itself is
not looked at.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from aiohttp import web

from lpmos.region.dhcp_networks import DhcpSettings


class Reached:
    """The base URLs of one region: its own, and one for each address of a served network."""

    def __init__(self, base_url: str, addresses: Iterable[str] = ()) -> None:
        self._base_url = base_url
        port = base_url.rpartition(":")[2]
        known = map(ip_address, addresses)
        self._urls = {
            each: f"http://[{each}]:{port}" if each.version == 6 else f"http://{each}:{port}"
            for each in known
        }

    def url(self, request: web.Request) -> str:
        """The base URL at which this request came."""
        transport = request.transport
        place = transport.get_extra_info("sockname") if transport else None
        if not place:  # the connection is gone
            return self._base_url
        return self.url_at(place[0])

    def url_at(self, address: str) -> str:
        """The base URL of one of this host's addresses."""
        return self._urls.get(ip_address(address), self._base_url)


def served_addresses(dhcp: DhcpSettings | None, version: int | None = None) -> list[str]:
    """Where machines of networks with an address of their own reach the region, each once.

    Args:
        dhcp: the networks.
        version: 4 or 6 for those of one version of IP.
    """
    networks = dhcp.networks if dhcp else ()
    places = (place for each in networks for place in (each.address, each.address6) if place)
    wanted = (each for each in places if version in (None, ip_address(each).version))
    return list(dict.fromkeys(wanted))
