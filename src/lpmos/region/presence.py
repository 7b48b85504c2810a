"""The region's own entry in the store (S6): that it lives, how its services are, what it offers.

The heartbeat is bound to a lease, so it goes by itself where the region does. A lease that was
lost is replaced; an orderly stop takes the heartbeat away at once. Of an active client and its
standby, each has a key of its own, and only the active one speaks for the region.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

import structlog

from lpmos.core.clock import Clock
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.model.fetching import Fetching
from lpmos.model.region import (
    Capabilities,
    DhcpNetworkState,
    Heartbeat,
    HeldImage,
    HeldInstaller,
    OutboxState,
    RegionClient,
    RegionStatus,
    ServiceState,
    states_after,
)
from lpmos.region.health import failing
from lpmos.region.settings import RegionSettings
from lpmos.region.sources import Sources
from lpmos.region.standby import Standby
from lpmos.store import keys, records
from lpmos.store.api import Lease, LeaseNotFound, Store, StoreError

LEASE_TTL_S = 30
HEARTBEAT_S = 5.0
HEARTBEAT_AGAIN_S = 1.0
"""The next heartbeat where a service did not answer: people see soon that it does."""
RETRY_S = 2.0
LEAVE_TIMEOUT_S = 1.0
STANDING_POLL_S = 0.2
"""A client that is active now, or no more, says so as soon."""

Services = Callable[[], Awaitable[dict[str, str]]]


class Presence:
    """Keeps one region's keys; `announced` is set once the store has them all."""

    def __init__(
        self,
        settings: RegionSettings,
        store: Store,
        sources: Sources,
        clock: Clock,
        services: Services,
        *,
        api_url: str,
        own_url: str = "",
        standby: Standby | None = None,
        outbox: Callable[[], OutboxState] = OutboxState,
        dhcp: Callable[[], tuple[DhcpNetworkState, ...]] = tuple,
        fetching: Callable[[], Fetching | None] = lambda: None,
    ) -> None:
        """`services` asks how they are; `api_url` is where the region answers, `own_url` this
        client of it; `standby` says whether it is active, None: always; `outbox` what it keeps;
        `dhcp` how full its networks are; `fetching` how its copy of the images stands.
        """
        self._settings = settings
        self._store = store
        self._sources = sources
        self._clock = clock
        self._services = services
        self._api_url = api_url
        self._own_url = own_url
        self._standby = standby
        self._outbox = outbox
        self._dhcp = dhcp
        self._fetching = fetching
        self._speaks = False
        self._states: dict[str, ServiceState] = {}
        self._log = structlog.get_logger().bind(idc=settings.idc)
        self._held: tuple[tuple[HeldImage, ...], tuple[HeldInstaller, ...]] | None = None
        self._since: datetime | None = None
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
        self._speaks = False
        try:
            while not lease.lost.is_set():
                next_in_s = HEARTBEAT_AGAIN_S
                try:
                    await self._tell_of_client(lease)
                    await self._begin_to_speak()
                    if not self._speaks or not failing(await self._tell(lease)):
                        next_in_s = HEARTBEAT_S
                except LeaseNotFound:
                    return
                except (StoreError, OSError) as error:
                    self._log.warning("heartbeat not written", error=str(error))
                    next_in_s = HEARTBEAT_S
                await self._pause(lease, next_in_s)
        finally:
            await self._leave(lease)

    @property
    def _active(self) -> bool:
        return self._standby is None or self._standby.active

    async def _pause(self, lease: Lease, longest_s: float) -> None:
        """Wait until the next heartbeat is due, or this client becomes active or a standby."""
        until = time.monotonic() + longest_s
        was = self._active
        while self._active == was and (left_s := until - time.monotonic()) > 0:
            if lease.lost.is_set():
                return
            await _set_within(lease.lost, min(left_s, STANDING_POLL_S))

    async def _begin_to_speak(self) -> None:
        """Say all anew where this client has become active; nothing where it stands by."""
        if not self._active:
            self._speaks = False
            self.announced.set()
        elif not self._speaks:
            self._held, self._since = None, self._clock()
            await self._put_status("online", self._states)
            self._speaks = True

    async def _tell_of_client(self, lease: Lease) -> None:
        """Write this client's own key, which the standby has too."""
        standby = self._standby
        if standby is None:
            return
        now = self._clock()
        client = RegionClient(
            idc=self._settings.idc,
            identity=self._settings.identity,
            standing=standby.standing,
            since=standby.since or now,
            at=now,
            address=self._settings.address,
            api_url=self._own_url,
            version=self._settings.version,
            fetching=self._fetching(),
        )
        key = keys.region_client(self._settings.idc, self._settings.identity)
        await standby.store.put(key, records.encode(client), lease=lease.id)

    async def _tell(self, lease: Lease) -> dict[str, str]:
        """Write what has changed and the heartbeat; the services' states in it."""
        await self._put_capabilities()
        services = await self._services()
        now = self._clock()
        await self._put_states(states_after(self._states, services, now))
        heartbeat = Heartbeat(
            idc=self._settings.idc,
            identity=self._settings.identity,
            at=now,
            services=services,
            api_url=self._api_url,
            since=self._since,
            outbox=self._outbox(),
            dhcp=self._dhcp(),
            fetching=self._fetching(),
        )
        key = keys.heartbeat(self._settings.idc)
        await self._store.put(key, records.encode(heartbeat), lease=lease.id)
        self.last_heartbeat = now
        self.announced.set()
        return heartbeat.services

    async def _put_capabilities(self) -> None:
        """Write what is offered where it changed."""
        held = held_images(self._sources.catalog), held_installers(self._sources.installers)
        if held == self._held:
            return
        offered = self._sources.offered()
        capabilities = Capabilities(
            idc=self._settings.idc,
            offered=offered,
            images=held[0],
            installers=held[1],
            services=("http", *(("dhcp", "tftp") if self._settings.dhcp else ())),
            version=self._settings.version,
            updated_at=self._clock(),
        )
        key = keys.capabilities(self._settings.idc)
        await self._store.put(key, records.encode(capabilities))
        self._held = held
        names = [f"{each.os_type} {each.os_version}" for each in offered]
        self._log.info("the region offers", systems=names)

    async def _put_states(self, states: dict[str, ServiceState]) -> None:
        """Write how the services are where it changed."""
        if states == self._states:
            return
        await self._put_status("online", states)
        self._states = states

    async def _put_status(
        self, status: Literal["online", "offline"], states: dict[str, ServiceState]
    ) -> None:
        document = RegionStatus(
            idc=self._settings.idc, status=status, at=self._clock(), services=states
        )
        await self._store.put(keys.region_status(self._settings.idc), records.encode(document))

    async def _leave(self, lease: Lease) -> None:
        self._held = None
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await lease.revoke()
                if self._speaks:
                    await self._put_status("offline", self._states)


def held_images(catalog: Catalog) -> tuple[HeldImage, ...]:
    """The images of the catalog, by name."""
    return tuple(
        HeldImage(
            name=each.name,
            os_type=each.os_type,
            os_version=each.os_version,
            sha256=each.sha256,
            size_bytes=each.size_bytes,
            built_at=each.built_at,
            first_boot=each.first_boot,
        )
        for each in sorted(catalog.manifests(), key=lambda manifest: manifest.name)
    )


def held_installers(installers: Installers) -> tuple[HeldInstaller, ...]:
    """The distributions' own installers, by name."""
    return tuple(
        HeldInstaller(
            name=each.name,
            family=each.family,
            os_type=each.os_type,
            os_version=each.os_version,
            repository=each.repository,
            size_bytes=each.kernel.size_bytes + each.initrd.size_bytes,
            added_at=each.added_at,
        )
        for each in installers.manifests()
    )


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
