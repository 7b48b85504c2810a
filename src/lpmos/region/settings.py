"""What a region is started with: one value, checked before anything is started."""

import socket
from pathlib import Path
from typing import Literal

import msgspec

from lpmos.model.errors import SettingsError
from lpmos.region.dhcp_networks import (
    INTERFACE,
    DhcpSettings,
    dhcp_problems,
    is_address,
    not_address,
)
from lpmos.region.tls import TlsFiles


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
    agent_identity: Literal["required", "optional"] = "required"
    agent_tls: TlsFiles | None = None
    mirror_limit_bytes: int = 20 * 1024**3
    kernel_arguments: str = ""
    otlp_url: str | None = None

    @property
    def tftp_root(self) -> Path:
        """Where the boot loaders are served from."""
        return self.state_dir / "tftp"

    @property
    def lease_file(self) -> Path:
        """Where dnsmasq keeps its leases."""
        return self.state_dir / "dhcp.leases"

    @property
    def hosts_dir(self) -> Path:
        """Where dnsmasq reads which machines are known."""
        return self.state_dir / "dhcp.hosts"

    @property
    def loaders_dir(self) -> Path:
        """Boot loaders of the operator's own; they go before the distribution's."""
        return self.state_dir / "loaders"

    @property
    def mirror_dir(self) -> Path:
        """What was fetched from the installers' repositories."""
        return self.state_dir / "mirror"

    @property
    def log_dir(self) -> Path:
        """Where the full log of each task is."""
        return self.state_dir / "logs"


def check(settings: RegionSettings) -> None:
    """Refuse settings that cannot work, all reasons at once.

    Raises:
        SettingsError: lists every problem.
    """
    problems = [] if is_address(settings.address) else [not_address("address", settings.address)]
    problems += _service_address_problems(settings)
    if settings.dhcp is not None:
        problems += dhcp_problems(settings.dhcp)
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
    if not is_address(address):
        return [not_address("service_address", address)]
    if address == settings.address:
        return [f"service_address: {address} is this client's own address; take a free one"]
    if not INTERFACE.fullmatch(settings.service_interface or ""):
        return ["service_address: needs service_interface (or dhcp_interface) to be put on"]
    return []
