"""One region, put together: its services live in one task group, and end together.

It starts nothing that it does not end: cancelling `run` stops dnsmasq, closes the sockets, takes
the heartbeat away, and answers who still waits with a 503.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import structlog
from aiohttp import web

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.logproof import LogReaders
from lpmos.core.tasksecrets import ReadRing, TaskSecretReader, no_ring
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.model.errors import SettingsError
from lpmos.region import health
from lpmos.region.admission import Admission
from lpmos.region.agent_api import AgentApi
from lpmos.region.agent_door import Door, agent_door, agent_tls
from lpmos.region.agent_gate import AgentGate
from lpmos.region.agent_metrics import AgentMetrics
from lpmos.region.answers import counting, error_middleware, only_while
from lpmos.region.boot import Boot
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
from lpmos.region.handover_plans import HandoverPlans
from lpmos.region.installed_api import InstalledApi
from lpmos.region.installer_api import InstallerApi
from lpmos.region.installer_templates import InstallerTemplates
from lpmos.region.installer_tokens import InstallerTokens
from lpmos.region.interfaces import with_subnets
from lpmos.region.leases import Leases
from lpmos.region.liveness import AgentLiveness
from lpmos.region.metrics import Metrics
from lpmos.region.mirror_cache import MirrorCache
from lpmos.region.operations import Operations
from lpmos.region.peer_calls import SignedCalls
from lpmos.region.preparation import Preparation
from lpmos.region.presence import Presence
from lpmos.region.reached import Reached, served_addresses
from lpmos.region.service_address import ServiceAddress
from lpmos.region.settings import RegionSettings, check, check_interface
from lpmos.region.sources import Sources
from lpmos.region.standby import Standby
from lpmos.region.steady import SteadyAgents
from lpmos.region.supervisor import Dnsmasq
from lpmos.region.taken import Ledger
from lpmos.region.tasklog import TaskLogs
from lpmos.region.tftp import prepare_root, prepare_signed
from lpmos.region.tftp_server import TftpServer
from lpmos.region.tls import AgentTls
from lpmos.region.traced import MachineTraces
from lpmos.region.ula import ula_prefixes
from lpmos.store.api import Store
from lpmos.store.calls import COLLECTORS

STOP_REQUESTS_S = 1.0
"""How long answers under way may take when the region stops."""
READY_POLL_S = 0.1
NOT_READY_LOG_S = 5.0
"""How often a region that does not get ready says why."""
BACKLOG = 1024
ACCEPT_TURNS = 4
"""Of the loop, after which who was let in at the last moment is known, and closed as the others."""
DISK_RETRY_S = 2.0


class _Site(NamedTuple):
    """A socket to serve at, and its TLS."""

    listening: socket.socket
    context: ssl.SSLContext | None = None


class Region:
    """The regional client of one data center.

    Args:
        settings: where and who it is.
        store: for its own keys, with the fence where there is a standby; tasks are changed
            through `agents`.
        fleet: what `agents` reads too.
        agents: the use cases.
        evidence: what is seen of machines' boots, where `agents` look.
        catalog: images.
        installers: the distributions' own.
        clock: the time.
        standby: its part in the election; None where it is the only one there can be.
    """

    def __init__(
        self,
        settings: RegionSettings,
        *,
        store: Store,
        fleet: Fleet,
        agents: SteadyAgents,
        evidence: EvidenceBook,
        catalog: Catalog,
        installers: Installers,
        clock: Clock,
        standby: Standby | None = None,
        read_ring: ReadRing = no_ring,
    ) -> None:
        """`read_ring` reads the keys that secrets of tasks are sealed with."""
        check(settings)
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._agents = agents
        self._secrets = TaskSecretReader(fleet.stored, read_ring, lambda: fleet.connected)
        self._sources = Sources(catalog, installers, self._signed_network)
        self._task_logs = TaskLogs(settings.log_dir)
        self._clock = clock
        self._standby = standby
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self._dhcp = settings.dhcp
        self._dhcp_state = DhcpState((), idc=settings.idc)
        self._loaders: frozenset[str] = frozenset()
        self._evidence = evidence
        self._dhcp_metrics = DhcpMetrics(self._is_active)
        self._traces = MachineTraces(settings.otlp_url, clock, idc=settings.idc)
        self.ready = asyncio.Event()
        """Set once HTTP, DHCP and TFTP answer and the store knows the region."""
        self.port = settings.api_port
        """Where it listens; known for a port of 0 once it does."""
        self.tls_port: int | None = None
        """Where agents are answered by TLS, where they are."""

    @property
    def base_url(self) -> str:
        """How machines reach the region."""
        return f"http://{self._settings.service_address or self._settings.address}:{self.port}"

    @property
    def own_url(self) -> str:
        """How this client of the region itself is reached, active or not."""
        return f"http://{self._settings.address}:{self.port}"

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            SettingsError: a program or file is missing, the state directory cannot be made, or the
                port is taken.
        """
        self._make_state_dir()
        if self._settings.dhcp:
            await self._prepare_dhcp(self._settings.dhcp)
        tls = await agent_tls(self._settings, self._clock)
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(self._listen())
            sites = [_Site(listening)]
            over_ipv6 = served_addresses(self._settings.dhcp, version=6)
            for address in over_ipv6:
                also = self._listen_on(self.port, "--api-port", address)
                sites.append(_Site(stack.enter_context(also)))
            if tls and self._settings.agent_tls:
                port, flag = self._settings.agent_tls.port, "--agent-tls-port"
                for host in (None, *tls.also):
                    also = stack.enter_context(self._listen_on(port, flag, host))
                    self.tls_port = port = also.getsockname()[1]
                    sites.append(_Site(also, tls.context))
            await self._serve(sites, tls)

    async def _serve(self, sites: "list[_Site]", tls: AgentTls | None) -> None:
        """Let agents in, and serve what is asked at the sites."""
        metrics = Metrics()
        async with agent_door(
            self._settings,
            self._store,
            self._fleet,
            self._clock,
            metrics,
            tls=tls,
            tls_port=self.tls_port,
        ) as door:
            await self._serve_with(door, sites, metrics)

    async def _serve_with(self, door: Door, sites: "list[_Site]", metrics: Metrics) -> None:
        settings = self._settings
        liveness = AgentLiveness(self._store, self._clock)
        agents = AgentMetrics(liveness, idc=settings.idc)
        for collector in (*COLLECTORS, self._dhcp_metrics, agents, *self._traces.collectors):
            metrics.add(collector)
        handovers = self._handovers(door)
        api = self._agent_api(metrics, liveness, door.gate, handovers)
        services = health.Health(self._probes(), self._is_active)
        presence = Presence(
            settings,
            self._store,
            self._sources,
            self._clock,
            services.services,
            api_url=self.base_url,
            own_url=self.own_url,
            standby=self._standby,
            outbox=lambda: self._agents.outbox_state,
            dhcp=lambda: self._dhcp_state.networks,
        )
        operations = Operations(
            services,
            presence,
            self._fleet,
            metrics,
            lambda: self._agents.outbox_state,
            idc=settings.idc,
            dhcp=lambda: self._dhcp_state.networks,
            standing=lambda: self._standby.state if self._standby else None,
        )
        app = web.Application(
            middlewares=[
                self._traces.middleware(),
                self._evidence.middleware(),
                error_middleware(idc=settings.idc),
                only_while(self._is_active),
                door.gate.middleware(),
            ]
        )
        app.on_response_prepare.append(door.gate.sign_answer)
        app.on_response_prepare.append(counting(metrics))
        app.on_shutdown.append(api.end_polls)
        installed = InstalledApi(self._agents, idc=settings.idc)
        boot = self._boot(door.admission, handovers)
        app.add_routes([*boot.routes(), *api.routes(), *operations.routes()])
        mirror = MirrorCache(
            self._sources.installers, settings.mirror_dir, limit_bytes=settings.mirror_limit_bytes
        )
        app.cleanup_ctx.append(mirror.session)
        installer = self._installer_api(handovers, api)
        app.add_routes([*installed.routes(), *installer.routes(), *mirror.routes()])
        calls = SignedCalls(door.signer, door.signers)
        if self._standby:
            app.add_routes([calls.route(self._standby.answer)])
        async with asyncio.TaskGroup() as group, _serving(app, sites):
            self._log.info("region listens", url=self.base_url, identity=settings.identity)
            group.create_task(self._answer_machines(liveness, door.taken, calls, boot))
            group.create_task(door.signers.publish(self._unfenced))
            group.create_task(api.progress_writer.run())
            group.create_task(presence.run())
            group.create_task(agents.run(self._fleet))
            group.create_task(self._traces.run())
            await self._become_ready(services, presence)
            await asyncio.Event().wait()

    def _is_active(self) -> bool:
        return self._standby is None or self._standby.active

    @property
    def _unfenced(self) -> Store:
        return self._standby.store if self._standby else self._store

    async def _answer_machines(
        self, liveness: AgentLiveness, taken: Ledger, calls: SignedCalls, boot: Boot
    ) -> None:
        """Do what only the active client does, for ever or while this is the one."""
        settings = self._settings
        address = _service_address(settings)
        if address:
            await address.release()
        if self._standby is None:
            await self._lead(address, lambda: float("inf"), liveness, taken, boot)
            return
        standby = self._standby
        lead = lambda: self._lead(address, standby.until, liveness, taken, boot)  # noqa: E731
        await standby.run(lead, self.port, calls)

    async def _lead(
        self,
        address: ServiceAddress | None,
        until: Until,
        liveness: AgentLiveness,
        taken: Ledger,
        boot: Boot,
    ) -> None:
        """DHCP, TFTP and preparation at the service address, until cancelled."""
        settings = self._settings
        preparation = Preparation(
            self._fleet, self._agents, self._sources, idc=settings.idc, secrets=self._secrets
        )
        leases = Leases(
            self._store,
            settings.lease_file,
            idc=settings.idc,
            on_change=self._dhcp_state.count,
        )
        async with (
            address.held(until) if address else contextlib.nullcontext(),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(preparation.run())
            group.create_task(liveness.run())
            group.create_task(taken.run())
            group.create_task(self._evidence.run())
            if self._dhcp:
                guard = until if self._standby else None
                group.create_task(self._serve_dhcp(self._dhcp, leases, guard))
            if self._dhcp and self._dhcp.secure_boot:
                group.create_task(self._grub(self._dhcp, boot).run())

    async def _serve_dhcp(self, dhcp: DhcpSettings, leases: Leases, until: Until | None) -> None:
        """DHCP and TFTP until cancelled, from when the disk takes the files they begin with."""
        hosts = DhcpHosts(self._fleet, self._settings.hosts_dir, dhcp, idc=self._settings.idc)

        async def prepared() -> Dnsmasq:
            await leases.prepare()
            await hosts.prepare()
            return self._dnsmasq(dhcp, leases, until)

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

    async def _become_ready(self, services: health.Health, presence: Presence) -> None:
        await presence.announced.wait()
        said_at = time.monotonic()
        while failing := health.failing(await services.services()):
            if time.monotonic() - said_at > NOT_READY_LOG_S:
                said_at = time.monotonic()
                self._log.warning("the region is not ready: a service does not answer", **failing)
            await asyncio.sleep(READY_POLL_S)  # what is waited for is another process
        self.ready.set()
        self._log.info("region ready")

    async def _prepare_dhcp(self, dhcp: DhcpSettings) -> None:
        """Make sure now of what DHCP needs: a standby shall not find it missing at a takeover."""
        settings = self._settings
        for interface in dhcp.interfaces:
            check_interface(interface)
        self._dhcp = await with_subnets(dhcp)
        self._dhcp_state = DhcpState(self._dhcp.networks, idc=settings.idc)
        self._loaders = prepare_root(settings.tftp_root, settings.loaders_dir)
        if dhcp.secure_boot:
            self._loaders |= prepare_signed(settings.tftp_root, settings.loaders_dir)
        for name in sorted(OWN_FILES - self._loaders):
            self._log.info(
                "a boot loader is not there: machines that need it get none",
                loader=name,
                hint=f"put it into {settings.loaders_dir}",
            )

    def _signed_network(self, ip: str) -> str | None:
        return self._dhcp.signed_network(ip) if self._dhcp else None

    def _make_state_dir(self) -> None:
        directory = self._settings.state_dir
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"cannot make the directory {directory}: {error.strerror};"
                " choose another with --state-dir"
            ) from error

    def _listen(self) -> socket.socket:
        listening = self._listen_on(self._settings.api_port, "--api-port")
        self.port = listening.getsockname()[1]
        return listening

    def _listen_on(self, port: int, flag: str, address: str | None = None) -> socket.socket:
        host = address or self._settings.api_host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with {flag}"
            ) from error

    def _dnsmasq(self, dhcp: DhcpSettings, leases: Leases, until: Until | None) -> Dnsmasq:
        settings = self._settings
        place = Place(
            self.base_url,
            settings.tftp_root,
            settings.lease_file,
            settings.service_address,
            settings.hosts_dir,
            self.port,
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
        self._dhcp_metrics.follow(dnsmasq)
        return dnsmasq

    def _hear(self, event: DhcpEvent) -> None:
        self._dhcp_metrics.hear(event)
        self._evidence.hear(event)

    def _sent_by_tftp(self, name: str, ip: str, size_bytes: int, done: bool) -> None:
        if done:
            self._dhcp_metrics.sent()
        self._evidence.sent_by_tftp(name, ip, size_bytes, done)

    def _grub(self, dhcp: DhcpSettings, boot: Boot) -> TftpServer:
        settings = self._settings
        addresses = {each.address for each in dhcp.networks if each.secure_boot}
        reached = [each or settings.service_address or settings.address for each in addresses]
        found = GrubBoot(boot, self._reached(), self._evidence, self._is_active)
        return TftpServer(
            sorted(set(reached)),
            TFTP_PORT,
            self._traces.find(found.find),
            tell=self._sent_by_tftp,
            idc=settings.idc,
        )

    def _probes(self) -> dict[str, health.Probe | None]:
        everywhere = self._settings.api_host in ("0.0.0.0", "::")  # noqa: S104 - compared only
        host = "127.0.0.1" if everywhere else self._settings.api_host
        return health.probes_for(self._settings.address, host, self.port, dhcp=self._settings.dhcp)

    def _reached(self) -> Reached:
        return Reached(self.base_url, served_addresses(self._settings.dhcp))

    def _handovers(self, door: Door) -> HandoverPlans:
        tokens = InstallerTokens(
            door.signer,
            door.signers,
            self._fleet.task,
            door.admission.holder,
            lambda: self._fleet.connected,
        )
        return HandoverPlans(
            tokens,
            InstallerTemplates(self._unfenced),
            self._secrets.opened,
            self._settings.kernel_arguments,
        )

    def _installer_api(self, handovers: HandoverPlans, api: AgentApi) -> InstallerApi:
        return InstallerApi(
            self._agents,
            self._sources,
            handovers,
            self._clock,
            idc=self._settings.idc,
            reached=self._reached(),
            logs=self._task_logs,
            progress=api.progress_writer,
        )

    def _agent_api(
        self,
        metrics: Metrics,
        liveness: AgentLiveness,
        gate: AgentGate,
        handovers: HandoverPlans,
    ) -> AgentApi:
        return AgentApi(
            self._agents,
            self._fleet,
            self._sources,
            self._clock,
            idc=self._settings.idc,
            reached=self._reached(),
            logs=self._task_logs,
            log_readers=LogReaders(
                self._fleet.stored,
                self._clock,
                idc=self._settings.idc,
                listed=lambda: self._fleet.listed,
            ),
            metrics=metrics,
            liveness=liveness,
            gate=gate,
            handovers=handovers,
            secrets=self._secrets,
        )

    def _boot(self, admission: Admission, handovers: HandoverPlans) -> Boot:
        return Boot(
            self._agents,
            self._sources,
            handovers,
            admission=admission,
            reached=self._reached(),
            loader_dir=self._settings.tftp_root,
            idc=self._settings.idc,
            kernel_arguments=self._settings.kernel_arguments,
        )


def _service_address(settings: RegionSettings) -> ServiceAddress | None:
    address, interface = settings.service_address, settings.service_interface
    return ServiceAddress(address, interface) if address and interface else None


@contextlib.asynccontextmanager
async def _serving(app: web.Application, sites: list[_Site]) -> AsyncIterator[None]:
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=STOP_REQUESTS_S
    )
    await runner.setup()
    try:
        for site in sites:
            await web.SockSite(
                runner, site.listening, backlog=BACKLOG, ssl_context=site.context
            ).start()
        yield
    finally:
        for each in tuple(runner.sites):
            await each.stop()
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        await runner.cleanup()
