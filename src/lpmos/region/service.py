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

from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.images.catalog import Catalog
from lpmos.model.errors import SettingsError
from lpmos.region import health
from lpmos.region.agent_api import AgentApi
from lpmos.region.answers import counting, error_middleware
from lpmos.region.boot import Boot
from lpmos.region.dnsmasq import Place, render
from lpmos.region.metrics import Metrics
from lpmos.region.operations import Operations
from lpmos.region.preparation import Preparation
from lpmos.region.presence import Presence
from lpmos.region.settings import DhcpSettings, RegionSettings, check, check_interface
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
        store: for its own keys; tasks are changed through `agents`.
        fleet: what `agents` reads too.
        agents: the use cases.
        catalog: images.
        clock: the time.
    """

    def __init__(
        self,
        settings: RegionSettings,
        *,
        store: Store,
        fleet: Fleet,
        agents: Agents,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        check(settings)
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._agents = agents
        self._catalog = catalog
        self._clock = clock
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self.ready = asyncio.Event()
        """Set once HTTP, DHCP and TFTP answer and the store knows the region."""
        self.port = settings.api_port
        """Where it listens; known for a port of 0 once it does."""

    @property
    def base_url(self) -> str:
        """How machines reach the region."""
        return f"http://{self._settings.address}:{self.port}"

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            SettingsError: a program or file is missing, the state directory cannot be made, or the
                port is taken.
        """
        self._make_state_dir()
        with self._listen() as listening:
            await self._serve(listening)

    async def _serve(self, listening: socket.socket) -> None:
        settings = self._settings
        dnsmasq = self._dnsmasq(settings.dhcp) if settings.dhcp else None
        metrics = Metrics()
        api = self._agent_api(metrics)
        services = health.Health(self._probes())
        presence = Presence(settings, self._store, self._catalog, self._clock, services.services)
        operations = Operations(services, presence, self._fleet, metrics, idc=settings.idc)
        preparation = Preparation(self._fleet, self._agents, self._catalog, idc=settings.idc)
        app = web.Application(middlewares=[error_middleware(idc=settings.idc)])
        app.on_response_prepare.append(counting(metrics))
        app.on_shutdown.append(api.end_polls)
        app.add_routes([*self._boot().routes(), *api.routes(), *operations.routes()])
        async with asyncio.TaskGroup() as group, _serving(app, listening):
            self._log.info("region listens", url=self.base_url, identity=settings.identity)
            if dnsmasq:
                group.create_task(dnsmasq.run())
            group.create_task(api.progress_writer.run())
            group.create_task(presence.run())
            group.create_task(preparation.run())
            await self._become_ready(services, presence)
            await asyncio.Event().wait()

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

    def _dnsmasq(self, dhcp: DhcpSettings) -> Dnsmasq:
        settings = self._settings
        check_interface(dhcp.interface)
        prepare_root(settings.tftp_root)
        place = Place(self.base_url, settings.tftp_root, settings.lease_file)
        config = settings.state_dir / "dnsmasq.conf"
        config.write_text(render(dhcp, place, ula_prefixes(dhcp.interface)))
        return Dnsmasq(config, idc=settings.idc)

    def _probes(self) -> dict[str, health.Probe | None]:
        everywhere = self._settings.api_host in ("0.0.0.0", "::")  # noqa: S104 - compared only
        host = "127.0.0.1" if everywhere else self._settings.api_host
        return health.probes_for(
            self._settings.address, host, self.port, dhcp=self._settings.dhcp is not None
        )

    def _agent_api(self, metrics: Metrics) -> AgentApi:
        return AgentApi(
            self._agents,
            self._fleet,
            self._catalog,
            self._clock,
            idc=self._settings.idc,
            logs=TaskLogs(self._settings.log_dir),
            metrics=metrics,
        )

    def _boot(self) -> Boot:
        return Boot(
            self._agents,
            self._catalog,
            base_url=self.base_url,
            loader_dir=self._settings.tftp_root,
            idc=self._settings.idc,
        )


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
