"""DHCP and TFTP of a region put together: dnsmasq with its files, leases, known machines, GRUB.

The rule: what it needs is looked at when the region starts, so that a standby does not find it
missing at a takeover; it serves only while its client is active.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from lpmos.core.fleet import Fleet
from lpmos.region.dhcp_events import DhcpEvent
from lpmos.region.dhcp_hosts import DhcpHosts
from lpmos.region.dhcp_metrics import DhcpMetrics
from lpmos.region.dhcp_networks import DhcpSettings
from lpmos.region.dhcp_state import DhcpState
from lpmos.region.dnsmasq import OWN_FILES, Place, render
from lpmos.region.evidence import EvidenceBook
from lpmos.region.grub import TFTP_PORT
from lpmos.region.grub_boot import GrubBoot
from lpmos.region.guarded import Until
from lpmos.region.interfaces import with_subnets
from lpmos.region.leases import Leases
from lpmos.region.settings import RegionSettings, check_interface
from lpmos.region.supervisor import Dnsmasq
from lpmos.region.tftp import prepare_root, prepare_signed
from lpmos.region.tftp_server import TftpServer
from lpmos.region.traced import MachineTraces
from lpmos.region.ula import ula_prefixes
from lpmos.store.api import Store

DISK_RETRY_S = 2.0


class DhcpService:
    """The networks of one region; `state` is how full they are, `metrics` what happened there."""

    def __init__(
        self,
        settings: RegionSettings,
        store: Store,
        fleet: Fleet,
        evidence: EvidenceBook,
        traces: MachineTraces,
        *,
        is_active: Callable[[], bool],
    ) -> None:
        """Without `settings.dhcp` it serves nothing."""
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._evidence = evidence
        self._traces = traces
        self._is_active = is_active
        self._dhcp = settings.dhcp
        self._loaders: frozenset[str] = frozenset()
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self.state = DhcpState((), idc=settings.idc)
        self.metrics = DhcpMetrics(is_active)

    async def prepare(self) -> None:
        """Make sure now of what it needs.

        Raises:
            SettingsError: an interface, a program or a file is missing.
        """
        settings = self._settings
        if settings.dhcp is None:
            return
        for interface in settings.dhcp.interfaces:
            check_interface(interface)
        self._dhcp = await with_subnets(settings.dhcp)
        self.state = DhcpState(self._dhcp.networks, idc=settings.idc)
        self._loaders = prepare_root(settings.tftp_root, settings.loaders_dir)
        if settings.dhcp.secure_boot:
            self._loaders |= prepare_signed(settings.tftp_root, settings.loaders_dir)
        for name in sorted(OWN_FILES - self._loaders):
            self._log.info(
                "a boot loader is not there: machines that need it get none",
                loader=name,
                hint=f"put it into {settings.loaders_dir}",
            )

    def signed_network(self, ip: str) -> str | None:
        """The name of an address's network where UEFI machines get shim and GRUB."""
        return self._dhcp.signed_network(ip) if self._dhcp else None

    async def run(self, url: str, port: int, until: Until | None, boot: GrubBoot) -> None:
        """Serve until cancelled.

        Args:
            url: where machines reach the region.
            port: that it listens on.
            until: up to when dnsmasq may serve; None: for ever.
            boot: what GRUB is given, where networks have Secure Boot.
        """
        if self._dhcp is None:
            return
        leases = Leases(
            self._store,
            self._settings.lease_file,
            idc=self._settings.idc,
            on_change=self.state.count,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve(self._dhcp, leases, url, port, until))
            if self._dhcp.secure_boot:
                group.create_task(self._grub(self._dhcp, boot).run())

    async def _serve(
        self, dhcp: DhcpSettings, leases: Leases, url: str, port: int, until: Until | None
    ) -> None:
        """DHCP and TFTP, from when the disk takes the files they begin with."""
        hosts = DhcpHosts(self._fleet, self._settings.hosts_dir, dhcp, idc=self._settings.idc)

        async def prepared() -> Dnsmasq:
            await leases.prepare()
            await hosts.prepare()
            return self._dnsmasq(dhcp, leases, url, port, until)

        dnsmasq = await self._once_the_disk_takes_it(prepared)
        async with asyncio.TaskGroup() as group:
            group.create_task(leases.run())
            group.create_task(dnsmasq.run())
            group.create_task(hosts.run(dnsmasq.reread))

    async def _once_the_disk_takes_it(self, prepared: Callable[[], Awaitable[Dnsmasq]]) -> Dnsmasq:
        """A full disk ends no client: agents at work go on, and nobody gets a lease twice."""
        while True:
            try:
                return await prepared()
            except OSError as error:
                self._log.error(
                    "DHCP and TFTP wait: the files that they begin with cannot be written",
                    error=str(error),
                    hint=f"make space in {self._settings.state_dir}; all else goes on",
                )
            await asyncio.sleep(DISK_RETRY_S)

    def _dnsmasq(
        self, dhcp: DhcpSettings, leases: Leases, url: str, port: int, until: Until | None
    ) -> Dnsmasq:
        settings = self._settings
        place = Place(
            url,
            settings.tftp_root,
            settings.lease_file,
            settings.service_address,
            settings.hosts_dir,
            port,
            self._loaders,
        )
        config = settings.state_dir / "dnsmasq.conf"
        prefixes = {interface: ula_prefixes(interface) for interface in dhcp.interfaces}
        new = config.with_suffix(".new")
        new.write_text(render(dhcp, place, prefixes))
        new.replace(config)
        dnsmasq = Dnsmasq(
            config,
            idc=settings.idc,
            until=until,
            on_lease=leases.given,
            on_event=self._hear,
        )
        self.metrics.follow(dnsmasq)
        return dnsmasq

    def _hear(self, event: DhcpEvent) -> None:
        self.metrics.hear(event)
        self._evidence.hear(event)

    def _sent_by_tftp(self, name: str, ip: str, size_bytes: int, done: bool) -> None:
        if done:
            self.metrics.sent()
        self._evidence.sent_by_tftp(name, ip, size_bytes, done)

    def _grub(self, dhcp: DhcpSettings, boot: GrubBoot) -> TftpServer:
        settings = self._settings
        addresses = {each.address for each in dhcp.networks if each.secure_boot}
        reached = [each or settings.service_address or settings.address for each in addresses]
        return TftpServer(
            sorted(set(reached)),
            TFTP_PORT,
            self._traces.find(boot.find),
            tell=self._sent_by_tftp,
            idc=settings.idc,
        )
