"""What people and monitors ask a region: health (B6, and B5 by its older name) and metrics."""

from collections.abc import Callable

from aiohttp import web

from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.model.fetching import Fetching
from lpmos.model.region import ClientState, DhcpNetworkState, OutboxState
from lpmos.region.answers import json_answer
from lpmos.region.health import Health, HealthDocument, OlderHealthDocument, overall
from lpmos.region.metrics import Metrics
from lpmos.region.presence import Presence


class Operations:
    """The handlers for operation.

    `GET /health` answers 503 where a service of the region does not, so that a load balancer or a
    monitor needs no JSON; a store that is away is the status `degraded` with 200, for the region
    itself goes on.
    """

    def __init__(
        self,
        health: Health,
        presence: Presence,
        fleet: Fleet,
        metrics: Metrics,
        outbox: Callable[[], OutboxState],
        *,
        idc: str,
        dhcp: Callable[[], tuple[DhcpNetworkState, ...]] = tuple,
        standing: Callable[[], ClientState | None] = lambda: None,
        fetching: Callable[[], Fetching | None] = lambda: None,
    ) -> None:
        self._health = health
        self._presence = presence
        self._fleet = fleet
        self._metrics = metrics
        self._outbox = outbox
        self._idc = idc
        self._dhcp = dhcp
        self._standing = standing
        self._fetching = fetching

    def routes(self) -> list[web.RouteDef]:
        """The table of this part."""
        return [
            web.get("/health", self.health),
            web.get("/api/v1/health", self.health),
            web.get("/api/health", self.older_health),
            web.get("/metrics", self.metrics),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """B6."""
        return _answer(await self._document())

    async def older_health(self, _: web.Request) -> web.Response:
        """B5: the same with `region_label`."""
        found = await self._document()
        return _answer(
            OlderHealthDocument(
                status=found.status,
                region_id=found.region_id,
                region_label=found.region_id,
                services=found.services,
                etcd_connected=found.etcd_connected,
                last_heartbeat=found.last_heartbeat,
                outbox=found.outbox,
                standing=found.standing,
                fetching=found.fetching,
            )
        )

    async def metrics(self, _: web.Request) -> web.Response:
        """O1."""
        self._metrics.show_outbox(self._outbox(), utc_now())
        self._metrics.show_dhcp(self._dhcp())
        self._metrics.show_standing(self._standing())
        headers = {"Content-Type": self._metrics.content_type}
        return web.Response(body=self._metrics.text(), headers=headers)

    async def _document(self) -> HealthDocument:
        services = await self._health.services()
        connected = self._fleet.connected
        return HealthDocument(
            status=overall(services, connected),
            region_id=self._idc,
            services=services,
            etcd_connected=connected,
            last_heartbeat=self._presence.last_heartbeat,
            outbox=self._outbox(),
            standing=self._standing(),
            fetching=self._fetching(),
        )


def _answer(document: HealthDocument) -> web.Response:
    return json_answer(document, status=503 if document.status == "unhealthy" else 200)
