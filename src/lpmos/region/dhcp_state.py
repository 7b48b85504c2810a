"""How full the networks of a region are: counted from leases, told before there is none left."""

from collections.abc import Iterable

import structlog

from lpmos.model.region import DhcpNetworkState
from lpmos.region.dhcp_networks import DhcpNetwork

LOW_AT = 0.9
"""From this share of its addresses on, a network is low."""
ENOUGH_AT = 0.8
"""Below this one it is so no more: a lease more or less says nothing new."""


class DhcpState:
    """The networks of one region and the leases in each."""

    def __init__(self, networks: Iterable[DhcpNetwork], *, idc: str) -> None:
        self._leases = dict.fromkeys(networks, 0)
        self._low: set[DhcpNetwork] = set()
        self._log = structlog.get_logger().bind(idc=idc)

    def count(self, addresses: Iterable[str]) -> None:
        """Take in which addresses have leases; says of each network when it becomes low."""
        counts = dict.fromkeys(self._leases, 0)
        networks = [network for network in counts if network.size]
        for ip in addresses:
            for network in networks:
                if network.gives(ip):
                    counts[network] += 1
                    break
        self._leases = counts
        for network in networks:
            self._say(network, counts[network] / network.size)

    @property
    def networks(self) -> tuple[DhcpNetworkState, ...]:
        """Each network as it is now."""
        return tuple(
            DhcpNetworkState(
                interface=network.interface,
                mode=network.mode,
                subnet=network.subnet,
                range="-".join(network.range or network.range6) or None,
                size=network.size,
                leases=leases,
            )
            for network, leases in self._leases.items()
        )

    def _say(self, network: DhcpNetwork, used: float) -> None:
        if used >= LOW_AT and network not in self._low:
            self._low.add(network)
            self._log.warning(
                "a network has few addresses left",
                network=network.name,
                free=network.size - self._leases[network],
                hint="give it a larger dhcp_range, or shorter leases",
            )
        elif used < ENOUGH_AT:
            self._low.discard(network)
