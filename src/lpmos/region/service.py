"""One region, put together: its services live in one task group, and end together.

It starts nothing that it does not end: cancelling `run` stops dnsmasq, closes the sockets, takes
the heartbeat away, and answers who still waits with a 503.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.images.catalog import Catalog
from lpmos.model.errors import SettingsError
from lpmos.region import health
from lpmos.region.agent_api import AgentApi
from lpmos.region.answers import counting, error_middleware, only_while
from lpmos.region.boot import Boot
from lpmos.region.dnsmasq import Place, render
from lpmos.region.guarded import Until
from lpmos.region.leases import Leases
from lpmos.region.liveness import AgentLiveness
from lpmos.region.metrics import Metrics
from lpmos.region.operations import Operations
from lpmos.region.preparation import Preparation
from lpmos.region.presence import Presence
from lpmos.region.service_address import ServiceAddress
from lpmos.region.settings import DhcpSettings, RegionSettings, check, check_interface
from lpmos.region.standby import Standby
from lpmos.region.steady import SteadyAgents
from lpmos.region.supervisor import Dnsmasq
from lpmos.region.tasklog import TaskLogs
from lpmos.region.tftp import prepare_root
from lpmos.region.ula import ula_prefixes
from lpmos.store.api import Store

STOP_REQUESTS_S = 1.0
"""How long answers under way may take when the region stops."""
READY_POLL_S = 0.1
NOT_READY_LOG_S = 5.0
"""How often a region that does not get ready says why."""
BACKLOG = 1024


class Region:
    """The regional client of one data center.

    Args:
        settings: where and who it is.
        store: for its own keys, with the fence where there is a standby; tasks are changed
            through `agents`.
        fleet: what `agents` reads too.
        agents: the use cases.
        catalog: images.
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
        catalog: Catalog,
        clock: Clock,
        standby: Standby | None = None,
    ) -> None:
        check(settings)
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._agents = agents
        self._catalog = catalog
        self._clock = clock
        self._standby = standby
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self.ready = asyncio.Event()
        """Set once HTTP, DHCP and TFTP answer and the store knows the region."""
        self.port = settings.api_port
        """Where it listens; known for a port of 0 once it does."""

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
            _check_dhcp(self._settings, self._settings.dhcp)
        with self._listen() as listening:
            await self._serve(listening)

    async def _serve(self, listening: socket.socket) -> None:
        settings = self._settings
        metrics = Metrics()
        liveness = AgentLiveness(self._store, self._clock)
        api = self._agent_api(metrics, liveness)
        services = health.Health(self._probes(), self._is_active)
        presence = Presence(
            settings,
            self._store,
            self._catalog,
            self._clock,
            services.services,
            api_url=self.base_url,
            own_url=self.own_url,
            standby=self._standby,
            outbox=lambda: self._agents.outbox_state,
        )
        operations = Operations(
            services,
            presence,
            self._fleet,
            metrics,
            lambda: self._agents.outbox_state,
            idc=settings.idc,
        )
        app = web.Application(
            middlewares=[error_middleware(idc=settings.idc), only_while(self._is_active)]
        )
        app.on_response_prepare.append(counting(metrics))
        app.on_shutdown.append(api.end_polls)
        app.add_routes([*self._boot().routes(), *api.routes(), *operations.routes()])
        async with asyncio.TaskGroup() as group, _serving(app, listening):
            self._log.info("region listens", url=self.base_url, identity=settings.identity)
            group.create_task(self._answer_machines(liveness))
            group.create_task(api.progress_writer.run())
            group.create_task(presence.run())
            await self._become_ready(services, presence)
            await asyncio.Event().wait()

    def _is_active(self) -> bool:
        return self._standby is None or self._standby.active

    async def _answer_machines(self, liveness: AgentLiveness) -> None:
        """Do what only the active client does, for ever or while this is the one."""
        settings = self._settings
        address = _service_address(settings)
        if address:
            await address.release()
        if self._standby is None:
            await self._lead(address, lambda: float("inf"), liveness)
            return
        standby = self._standby
        await standby.run(lambda: self._lead(address, standby.until, liveness), self.port)

    async def _lead(
        self, address: ServiceAddress | None, until: Until, liveness: AgentLiveness
    ) -> None:
        """DHCP, TFTP and preparation at the service address, until cancelled."""
        settings = self._settings
        preparation = Preparation(self._fleet, self._agents, self._catalog, idc=settings.idc)
        leases = Leases(self._store, settings.lease_file, idc=settings.idc)
        async with (
            address.held(until) if address else contextlib.nullcontext(),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(preparation.run())
            group.create_task(liveness.run())
            if settings.dhcp:
                await leases.prepare()
                group.create_task(leases.run())
                guard = until if self._standby else None
                group.create_task(self._dnsmasq(settings.dhcp, leases, guard).run())

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
        host, port = self._settings.api_host, self._settings.api_port
        try:
            listening = socket.create_server((host, port), backlog=BACKLOG)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with --api-port"
            ) from error
        self.port = listening.getsockname()[1]
        return listening

    def _dnsmasq(self, dhcp: DhcpSettings, leases: Leases, until: Until | None) -> Dnsmasq:
        settings = self._settings
        place = Place(
            self.base_url, settings.tftp_root, settings.lease_file, settings.service_address
        )
        config = settings.state_dir / "dnsmasq.conf"
        config.write_text(render(dhcp, place, ula_prefixes(dhcp.interface)))
        return Dnsmasq(config, idc=settings.idc, until=until, on_lease=leases.given)

    def _probes(self) -> dict[str, health.Probe | None]:
        everywhere = self._settings.api_host in ("0.0.0.0", "::")  # noqa: S104 - compared only
        host = "127.0.0.1" if everywhere else self._settings.api_host
        return health.probes_for(
            self._settings.address, host, self.port, dhcp=self._settings.dhcp is not None
        )

    def _agent_api(self, metrics: Metrics, liveness: AgentLiveness) -> AgentApi:
        return AgentApi(
            self._agents,
            self._fleet,
            self._catalog,
            self._clock,
            idc=self._settings.idc,
            logs=TaskLogs(self._settings.log_dir),
            metrics=metrics,
            liveness=liveness,
        )

    def _boot(self) -> Boot:
        return Boot(
            self._agents,
            self._catalog,
            base_url=self.base_url,
            loader_dir=self._settings.tftp_root,
            idc=self._settings.idc,
        )


def _check_dhcp(settings: RegionSettings, dhcp: DhcpSettings) -> None:
    """Make sure now of what DHCP needs: a standby shall not find it missing when it takes over."""
    check_interface(dhcp.interface)
    prepare_root(settings.tftp_root)


def _service_address(settings: RegionSettings) -> ServiceAddress | None:
    address, interface = settings.service_address, settings.service_interface
    return ServiceAddress(address, interface) if address and interface else None


@contextlib.asynccontextmanager
async def _serving(app: web.Application, listening: socket.socket) -> AsyncIterator[None]:
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=STOP_REQUESTS_S
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listening, backlog=BACKLOG).start()
        yield
    finally:
        await runner.cleanup()
