"""Whether the region's services answer: each is asked, not assumed (B6).

A state is `ok`, `off` (the settings leave it to others) or `failed: …`. Answers are kept for
`FRESH_S`, and one round of questions serves all who ask meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

import msgspec

from lpmos.model.fetching import Fetching
from lpmos.model.region import ClientState, OutboxState
from lpmos.region.dhcp_networks import DhcpSettings
from lpmos.region.dnsmasq import PROBE_FILE
from lpmos.region.probes import ProbeFailed, probe_dhcp, probe_http, probe_proxy, probe_tftp

FRESH_S = 1.0
OK, OFF = "ok", "off"

Probe = Callable[[], Awaitable[None]]


class HealthDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /health`; `last_heartbeat` is None before the first one.

    `standing` is what this client is where there may be several; None where there cannot.
    `fetching` is how its copy of the control plane's images stands; None where it fetches none.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    region_id: str
    services: dict[str, str]
    etcd_connected: bool
    last_heartbeat: datetime | None
    outbox: OutboxState
    standing: ClientState | None = None
    fetching: Fetching | None = None


class OlderHealthDocument(HealthDocument, frozen=True, kw_only=True):
    """`GET /api/health` (B5)."""

    region_label: str


class Health:
    """Asks the services in `probes`; one that is None is off.

    All are off, and none is asked, while this client is a standby: `active` says no.
    """

    def __init__(
        self, probes: dict[str, Probe | None], active: Callable[[], bool] = lambda: True
    ) -> None:
        self._probes = probes
        self._active = active
        self._known: dict[str, str] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def services(self) -> dict[str, str]:
        """The state of each service by its name."""
        if not self._active():
            return dict.fromkeys(self._probes, OFF)
        async with self._asking:
            if time.monotonic() - self._asked_at > FRESH_S:
                states = await asyncio.gather(*map(_state, self._probes.values()))
                self._known = dict(zip(self._probes, states, strict=True))
                self._asked_at = time.monotonic()
            return dict(self._known)


def probes_for(
    address: str, http_host: str, http_port: int, *, dhcp: DhcpSettings | None
) -> dict[str, Probe | None]:
    """The questions of a region whose dnsmasq, where it runs one, serves `address`.

    Where all networks have IPv6 alone, that address may be on none of them.
    """
    if dhcp and all(network.ipv6_only for network in dhcp.networks):
        address = dhcp.networks[0].address6 or address
    return {
        "dhcp": _dhcp_probe(address, dhcp) if dhcp else None,
        "tftp": (lambda: probe_tftp(address, PROBE_FILE)) if dhcp else None,
        "http": lambda: probe_http(http_host, http_port, "/boot/boot.ipxe"),
    }


def _dhcp_probe(address: str, dhcp: DhcpSettings) -> Probe:
    """One network is asked for: dnsmasq is one process with one loop.

    So where all have IPv6 alone, TFTP answers for DHCP: an answer of DHCPv6 would come to a port of
    this host that its own client may have.
    """
    giving = next((network for network in dhcp.networks if network.range), None)
    if giving is not None:
        machine = giving.range[0]
        return lambda: probe_dhcp(address, machine)
    if ":" in address:
        return lambda: probe_tftp(address, PROBE_FILE)
    own = dhcp.networks[0].address or address
    return lambda: probe_proxy(own)


def failing(services: dict[str, str]) -> dict[str, str]:
    """Those of `services` that do not answer."""
    return {name: state for name, state in services.items() if state not in (OK, OFF)}


def overall(
    services: dict[str, str], store_connected: bool
) -> Literal["healthy", "degraded", "unhealthy"]:
    """`unhealthy` where a service does not answer, `degraded` where only the store is away."""
    if failing(services):
        return "unhealthy"
    return "healthy" if store_connected else "degraded"


async def _state(probe: Probe | None) -> str:
    if probe is None:
        return OFF
    try:
        await probe()
    except ProbeFailed as error:
        return f"failed: {error}"
    return OK
