"""Regions as the API shows them."""

from datetime import datetime

import msgspec

from lpmos.core.fleet import Fleet, RegionView
from lpmos.model.image import OfferedOs


class RegionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A region: whether it is there, what it can install, and what is in it.

    `counts` is of its tasks by status, `machines` of its machines: those that the caller sees.
    `unmatched`, its reports without a task, is null for a tenant's users.
    """

    idc: str
    online: bool
    identity: str | None
    last_heartbeat: datetime | None
    services: dict[str, str]
    capabilities: tuple[str, ...]
    offered: tuple[OfferedOs, ...]
    version: str | None
    updated_at: datetime | None
    counts: dict[str, int]
    machines: int
    unmatched: int | None


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
        last_heartbeat=beat.at if beat else None,
        services=beat.services if beat else {},
        capabilities=can.services if can else (),
        offered=can.offered if can else (),
        version=can.version if can else None,
        updated_at=can.updated_at if can else None,
        counts={status.value: count for status, count in counts.items()},
        machines=fleet.count_machines(region.idc, tenant),
        unmatched=fleet.count_unmatched(region.idc) if tenant is None else None,
    )
