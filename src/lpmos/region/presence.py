"""The region's own entry in the store (S6): that it lives, how its services are, what it offers.

The heartbeat is bound to a lease, so it goes by itself where the region does. A lease that was
lost is replaced; an orderly stop takes the heartbeat away at once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

import structlog

from lpmos.core.clock import Clock
from lpmos.images.catalog import Catalog
from lpmos.model.image import OfferedOs
from lpmos.model.region import Capabilities, Heartbeat, RegionStatus
from lpmos.region.health import failing
from lpmos.region.settings import RegionSettings
from lpmos.store import keys, records
from lpmos.store.api import Lease, LeaseNotFound, Store, StoreError

LEASE_TTL_S = 30
HEARTBEAT_S = 5.0
HEARTBEAT_AGAIN_S = 1.0
"""The next heartbeat where a service did not answer: people see soon that it does."""
RETRY_S = 2.0
LEAVE_TIMEOUT_S = 1.0

Services = Callable[[], Awaitable[dict[str, str]]]


class Presence:
    """Keeps one region's keys; `announced` is set once the store has them all."""

    def __init__(
        self,
        settings: RegionSettings,
        store: Store,
        catalog: Catalog,
        clock: Clock,
        services: Services,
    ) -> None:
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._services = services
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self._offered: tuple[OfferedOs, ...] | None = None
        self.announced = asyncio.Event()
        self.last_heartbeat: datetime | None = None

    async def run(self) -> None:
        """Be present until cancelled."""
        while True:
            try:
                await self._hold_lease()
                self._log.warning("the region's lease was lost; taking a new one")
            except (StoreError, OSError) as error:
                self._log.warning("the region cannot announce itself", error=str(error))
            await asyncio.sleep(RETRY_S)

    async def _hold_lease(self) -> None:
        """Renew the heartbeat until the lease is lost; the last act takes the heartbeat away."""
        lease = await self._store.grant(LEASE_TTL_S)
        try:
            await self._put_status("online")
            while not lease.lost.is_set():
                next_in_s = HEARTBEAT_AGAIN_S
                try:
                    if not failing(await self._tell(lease)):
                        next_in_s = HEARTBEAT_S
                except LeaseNotFound:
                    return
                except (StoreError, OSError) as error:
                    self._log.warning("heartbeat not written", error=str(error))
                    next_in_s = HEARTBEAT_S
                await _set_within(lease.lost, next_in_s)
        finally:
            await self._leave(lease)

    async def _tell(self, lease: Lease) -> dict[str, str]:
        """Write what has changed and the heartbeat; the services' states in it."""
        await self._put_capabilities()
        now = self._clock()
        heartbeat = Heartbeat(
            idc=self._settings.idc,
            identity=self._settings.identity,
            at=now,
            services=await self._services(),
        )
        key = keys.heartbeat(self._settings.idc)
        await self._store.put(key, records.encode(heartbeat), lease=lease.id)
        self.last_heartbeat = now
        self.announced.set()
        return heartbeat.services

    async def _put_capabilities(self) -> None:
        """Write what is offered where it changed."""
        offered = offered_systems(self._catalog)
        if offered == self._offered:
            return
        capabilities = Capabilities(
            idc=self._settings.idc,
            offered=offered,
            services=("http", *(("dhcp", "tftp") if self._settings.dhcp else ())),
            version=self._settings.version,
            updated_at=self._clock(),
        )
        key = keys.capabilities(self._settings.idc)
        await self._store.put(key, records.encode(capabilities))
        self._offered = offered
        names = [f"{each.os_type} {each.os_version}" for each in offered]
        self._log.info("the region offers", systems=names)

    async def _put_status(self, status: Literal["online", "offline"]) -> None:
        document = RegionStatus(idc=self._settings.idc, status=status, at=self._clock())
        await self._store.put(keys.region_status(self._settings.idc), records.encode(document))

    async def _leave(self, lease: Lease) -> None:
        self._offered = None
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await lease.revoke()
                await self._put_status("offline")


def offered_systems(catalog: Catalog) -> tuple[OfferedOs, ...]:
    """Each OS of the catalog once, with the size of its newest image."""
    newest = sorted(catalog.manifests(), key=lambda manifest: manifest.built_at)
    systems = {
        (m.os_type, m.os_version): OfferedOs(
            os_type=m.os_type, os_version=m.os_version, unpacked_bytes=m.unpacked_bytes
        )
        for m in newest
    }
    return tuple(systems[name] for name in sorted(systems))


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
