"""Regions as the API shows them."""

from datetime import datetime

import msgspec

from lpmos.core.fleet import Fleet, RegionView
from lpmos.model.diskplan import LAYOUTS
from lpmos.model.fetching import Fetching
from lpmos.model.image import OfferedOs
from lpmos.model.region import (
    DhcpNetworkState,
    HeldImage,
    HeldInstaller,
    OutboxState,
    ServiceState,
    states_after,
)
from lpmos.model.standing import Standing


class ClientSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One client of a region: since when it is active or stands by, and where it answers itself.

    `fetching` is as that of the region, for a client that fetches its images by itself.
    """

    identity: str
    since: datetime
    last_heartbeat: datetime
    address: str
    api_url: str
    version: str
    fetching: Fetching | None = None


class RegionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A region: whether it is there, what it can install, and what is in it.

    `health` says how each service answered when the region asked it last, and since when it does
    so; `layouts` are the disk layouts that a task may name, `images` and `installers` what stands
    behind `offered`.
    `counts` is of its tasks by status, `machines` of its machines: those that the caller sees.
    `unmatched`, its reports without a task, is null for a tenant's users. `active` is the client
    that answers machines, where there may be several, and `standby` those that would take over.
    `outbox` is what the region has to hand in from a time without the store; null while it is away.
    `dhcp` are the networks that it serves, with how many of their addresses are leased.
    `fetching` says how the active client's copy of the control plane's images stands; null where it
    fetches none, or is away, and for a tenant's users.
    """

    idc: str
    online: bool
    identity: str | None
    active: ClientSummary | None
    standby: tuple[ClientSummary, ...]
    last_heartbeat: datetime | None
    services: dict[str, str]
    health: dict[str, ServiceState]
    outbox: OutboxState | None
    dhcp: tuple[DhcpNetworkState, ...]
    capabilities: tuple[str, ...]
    offered: tuple[OfferedOs, ...]
    images: tuple[HeldImage, ...]
    installers: tuple[HeldInstaller, ...]
    layouts: tuple[str, ...]
    version: str | None
    updated_at: datetime | None
    counts: dict[str, int]
    machines: int
    unmatched: int | None
    fetching: Fetching | None = None


class RegionList(msgspec.Struct, frozen=True):
    """Every region that was ever heard of, by name."""

    regions: list[RegionSummary]


def region_summary(region: RegionView, fleet: Fleet, tenant: str | None) -> RegionSummary:
    """The region as users of a tenant see it."""
    beat, can = region.heartbeat, region.capabilities
    counts = fleet.counts(region.idc, tenant)
    return RegionSummary(
        idc=region.idc,
        online=region.online,
        identity=beat.identity if beat else None,
        active=next(iter(_clients(region, Standing.ACTIVE, tenant)), None),
        standby=_clients(region, Standing.STANDBY, tenant),
        last_heartbeat=region.heard_at,
        services=beat.services if beat else {},
        health=_health(region),
        outbox=beat.outbox if beat else None,
        dhcp=beat.dhcp if beat else (),
        capabilities=can.services if can else (),
        offered=can.offered if can else (),
        images=can.images if can else (),
        installers=can.installers if can else (),
        layouts=LAYOUTS,
        version=can.version if can else None,
        updated_at=can.updated_at if can else None,
        counts={status.value: count for status, count in counts.items()},
        machines=fleet.count_machines(region.idc, tenant),
        unmatched=fleet.count_unmatched(region.idc) if tenant is None else None,
        fetching=beat.fetching if beat and tenant is None else None,
    )


def _clients(
    region: RegionView, standing: Standing, tenant: str | None
) -> tuple[ClientSummary, ...]:
    return tuple(
        ClientSummary(
            identity=each.identity,
            since=each.since,
            last_heartbeat=each.at,
            address=each.address,
            api_url=each.api_url,
            version=each.version,
            fetching=each.fetching if tenant is None else None,
        )
        for each in region.clients
        if each.standing is standing
    )


def _health(region: RegionView) -> dict[str, ServiceState]:
    """The services, and the store as the region sees it: who has a heartbeat there, reaches it."""
    beat, status = region.heartbeat, region.status
    known = status.services if status else {}
    if beat is None:
        away = "the region was not heard of for 30 s: it, or its way to the store, is away"
        return {**known, "store": ServiceState(state="failed", detail=away)}
    now = states_after(known, beat.services, beat.at)
    return {**now, "store": ServiceState(state="ok")}
