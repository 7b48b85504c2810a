"""What a region is started with: one value, checked before anything is started.

Every text that will stand in dnsmasq's configuration is parsed here, so that rendering it needs no
quoting: an address is an address and an interface a plain name.
"""

import re
import socket
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

import msgspec

from lpmos.model.errors import SettingsError

_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}")
MIN_LEASE_S = 120
"""dnsmasq takes no shorter lease."""


class DhcpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """DHCP and TFTP of one network; the region is its only DHCP server.

    `first` to `last` is given to machines. Without a `router` machines get no default gateway.
    """

    interface: str
    first: str
    last: str
    router: str | None = None
    dns: tuple[str, ...] = ()
    lease_s: int = 3600


class RegionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One client of a region; `dhcp` None leaves DHCP to others.

    `address` is its own. Machines reach the region at `service_address`, which the active client
    has on `service_interface`; without one, at the active client's own address.
    """

    idc: str
    address: str
    state_dir: Path
    identity: str
    version: str
    api_host: str = "0.0.0.0"  # noqa: S104 - a boot server answers whatever wire asks
    api_port: int = 8081
    dhcp: DhcpSettings | None = None
    service_address: str | None = None
    service_interface: str | None = None

    @property
    def tftp_root(self) -> Path:
        """Where the boot loaders are served from."""
        return self.state_dir / "tftp"

    @property
    def lease_file(self) -> Path:
        """Where dnsmasq keeps its leases."""
        return self.state_dir / "dhcp.leases"

    @property
    def log_dir(self) -> Path:
        """Where the full log of each task is."""
        return self.state_dir / "logs"


def check(settings: RegionSettings) -> None:
    """Refuse settings that cannot work, all reasons at once.

    Raises:
        SettingsError: lists every problem.
    """
    problems = [] if _is_address(settings.address) else [_not_address("address", settings.address)]
    problems += _service_address_problems(settings)
    if settings.dhcp is not None:
        problems += _dhcp_problems(settings.dhcp)
    if problems:
        raise SettingsError("; ".join(problems))


def check_interface(name: str) -> None:
    """Make sure that this machine has the interface.

    Raises:
        SettingsError: it does not; the text names those that are there.
    """
    there = [each for _, each in socket.if_nameindex()]
    if name not in there:
        raise SettingsError(f"dhcp_interface: there is no {name}; there are {', '.join(there)}")


def _service_address_problems(settings: RegionSettings) -> list[str]:
    address = settings.service_address
    if address is None:
        return []
    if not _is_address(address):
        return [_not_address("service_address", address)]
    if address == settings.address:
        return [f"service_address: {address} is this client's own address; take a free one"]
    if not _INTERFACE.fullmatch(settings.service_interface or ""):
        return ["service_address: needs service_interface (or dhcp_interface) to be put on"]
    return []


def _dhcp_problems(dhcp: DhcpSettings) -> list[str]:
    problems = []
    if not _INTERFACE.fullmatch(dhcp.interface):
        problems.append(f"dhcp_interface: {dhcp.interface!r} is not the name of an interface")
    named = [("dhcp_range", dhcp.first), ("dhcp_range", dhcp.last)]
    named += [("dhcp_dns", server) for server in dhcp.dns]
    if dhcp.router is not None:
        named.append(("dhcp_router", dhcp.router))
    problems += [_not_address(name, text) for name, text in named if not _is_address(text)]
    if not problems and IPv4Address(dhcp.first) > IPv4Address(dhcp.last):
        problems.append(f"dhcp_range: {dhcp.first} is beyond {dhcp.last}")
    if dhcp.lease_s < MIN_LEASE_S:
        problems.append(f"dhcp lease: {dhcp.lease_s} s is shorter than {MIN_LEASE_S} s")
    return problems


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _not_address(name: str, text: str) -> str:
    return f"{name}: {text[:60]!r} is not an IPv4 address"
