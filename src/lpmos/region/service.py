"""One region, put together: its services live in one task group, and end together.

It starts nothing that it does not end: cancelling `run` stops dnsmasq, closes the sockets, takes
the heartbeat away, and answers who still waits with a 503.
"""

import asyncio
import contextlib
import socket
import time

import structlog
from aiohttp import web

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.logproof import LogReaders
from lpmos.core.tasksecrets import ReadRing, TaskSecretReader, no_ring
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.model.errors import SettingsError
from lpmos.model.fetching import Fetching
from lpmos.region import health
from lpmos.region.admission import Admission
from lpmos.region.agent_api import AgentApi
from lpmos.region.agent_door import Door, agent_door, agent_tls
from lpmos.region.agent_gate import AgentGate
from lpmos.region.agent_metrics import AgentMetrics
from lpmos.region.answers import counting, error_middleware, only_while
from lpmos.region.boot import Boot
from lpmos.region.dhcp_service import DhcpService
from lpmos.region.evidence import EvidenceBook
from lpmos.region.grub_boot import GrubBoot
from lpmos.region.guarded import Until
from lpmos.region.handover_plans import HandoverPlans
from lpmos.region.image_fetching import ImageFetching
from lpmos.region.image_metrics import ImageMetrics
from lpmos.region.installed_api import InstalledApi
from lpmos.region.installer_api import InstallerApi
from lpmos.region.installer_templates import InstallerTemplates
from lpmos.region.installer_tokens import InstallerTokens
from lpmos.region.liveness import AgentLiveness
from lpmos.region.metrics import Metrics
from lpmos.region.mirror_cache import MirrorCache
from lpmos.region.operations import Operations
from lpmos.region.peer_calls import SignedCalls
from lpmos.region.preparation import Preparation
from lpmos.region.presence import Presence
from lpmos.region.reached import Reached, served_addresses
from lpmos.region.service_address import ServiceAddress
from lpmos.region.settings import RegionSettings, check
from lpmos.region.sites import Site, listen, serving
from lpmos.region.sources import Sources, nothing_comes
from lpmos.region.standby import Standby
from lpmos.region.steady import SteadyAgents
from lpmos.region.taken import Ledger
from lpmos.region.tasklog import TaskLogs
from lpmos.region.tls import AgentTls
from lpmos.region.traced import MachineTraces
from lpmos.store.api import Store
from lpmos.store.calls import COLLECTORS

READY_POLL_S = 0.1
NOT_READY_LOG_S = 5.0
"""How often a region that does not get ready says why."""


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
        fetching: ImageFetching | None = None,
    ) -> None:
        """`read_ring` reads the keys that secrets of tasks are sealed with; `fetching` brings the
        images of a control plane.
        """
        check(settings)
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._agents = agents
        self._secrets = TaskSecretReader(fleet.stored, read_ring, lambda: fleet.connected)
        self._sources = Sources(
            catalog,
            installers,
            lambda address: self._dhcp.signed_network(address),
            brings=fetching.brings if fetching else nothing_comes,
        )
        self._task_logs = TaskLogs(settings.log_dir)
        self._clock = clock
        self._standby = standby
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self._evidence = evidence
        self._fetching = fetching
        self._traces = MachineTraces(settings.otlp_url, clock, idc=settings.idc)
        self._dhcp = DhcpService(
            settings, store, fleet, evidence, self._traces, is_active=self._is_active
        )
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
        await self._dhcp.prepare()
        tls = await agent_tls(self._settings, self._clock)
        with contextlib.ExitStack() as stack:
            listening = self._listen_on(self._settings.api_port, "--api-port")
            self.port = listening.getsockname()[1]
            sites = [Site(stack.enter_context(listening))]
            over_ipv6 = served_addresses(self._settings.dhcp, version=6)
            for address in over_ipv6:
                also = self._listen_on(self.port, "--api-port", address)
                sites.append(Site(stack.enter_context(also)))
            if tls and self._settings.agent_tls:
                port, flag = self._settings.agent_tls.port, "--agent-tls-port"
                for host in (None, *tls.also):
                    also = stack.enter_context(self._listen_on(port, flag, host))
                    self.tls_port = port = also.getsockname()[1]
                    sites.append(Site(also, tls.context))
            await self._serve(sites, tls)

    async def _serve(self, sites: list[Site], tls: AgentTls | None) -> None:
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

    async def _serve_with(self, door: Door, sites: list[Site], metrics: Metrics) -> None:
        settings = self._settings
        liveness = AgentLiveness(self._store, self._clock)
        agents = AgentMetrics(liveness, idc=settings.idc)
        for collector in (*COLLECTORS, self._dhcp.metrics, agents, *self._traces.collectors):
            metrics.add(collector)
        if self._fetching:
            metrics.add(ImageMetrics(self._fetching))
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
            dhcp=lambda: self._dhcp.state.networks,
            fetching=self._fetching_state,
        )
        operations = Operations(
            services,
            presence,
            self._fleet,
            metrics,
            lambda: self._agents.outbox_state,
            idc=settings.idc,
            dhcp=lambda: self._dhcp.state.networks,
            standing=lambda: self._standby.state if self._standby else None,
            fetching=self._fetching_state,
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
        async with asyncio.TaskGroup() as group, serving(app, sites):
            self._log.info("region listens", url=self.base_url, identity=settings.identity)
            group.create_task(self._answer_machines(liveness, door.taken, calls, boot))
            group.create_task(door.signers.publish(self._unfenced))
            group.create_task(api.progress_writer.run())
            group.create_task(presence.run())
            group.create_task(agents.run(self._fleet))
            group.create_task(self._traces.run())
            if self._fetching:
                group.create_task(self._fetching.run())
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
        guard = until if self._standby else None
        grub = GrubBoot(boot, self._reached(), self._evidence, self._is_active)
        async with (
            address.held(until) if address else contextlib.nullcontext(),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(preparation.run())
            group.create_task(liveness.run())
            group.create_task(taken.run())
            group.create_task(self._evidence.run())
            group.create_task(self._dhcp.run(self.base_url, self.port, guard, grub))

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

    def _fetching_state(self) -> Fetching | None:
        return self._fetching.state if self._fetching else None

    def _make_state_dir(self) -> None:
        directory = self._settings.state_dir
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"cannot make the directory {directory}: {error.strerror};"
                " choose another with --state-dir"
            ) from error

    def _listen_on(self, port: int, flag: str, address: str | None = None) -> socket.socket:
        return listen(address or self._settings.api_host, port, flag)

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
