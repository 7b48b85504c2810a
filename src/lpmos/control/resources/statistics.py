"""The figures of the dashboard: how many tasks are how, and what was begun and ended lately.

All of it is counted in memory as tasks change; a call walks no list of tasks.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.resources.regions import check_listed
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.statistics import BUCKET_S, Bucket
from lpmos.model.access import Permission
from lpmos.model.lifecycle import Status

HOURS = 6
MOST_HOURS = 48
REFRESH_S = 10
"""How often it is worth asking again; between, the WebSocket tells what changes."""

Hours = Annotated[
    int, QueryParameter(ge=1, le=MOST_HOURS, description="How far back `throughput` goes.")
]


class RegionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One data center: its tasks by status; `unmatched` is null for a tenant's users."""

    idc: str
    online: bool
    total: int
    counts: dict[str, int]
    unmatched: int | None


class SystemFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One operating system: the tasks that install it, by status."""

    os_type: str
    os_version: str
    total: int
    counts: dict[str, int]


class StatisticsView(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the tasks that the caller sees, and what happened in the last hours.

    `throughput` has one entry for each `bucket_s` seconds, oldest first, with zeros; the last is
    still filling. `unmatched` is null for a tenant's users. `duplicates` machines share a serial
    number, UUID or MAC with another. Ask again after `refresh_s` seconds.
    """

    at: datetime
    hours: int
    bucket_s: int
    refresh_s: int
    total: int
    counts: dict[str, int]
    regions: list[RegionFigures]
    systems: list[SystemFigures]
    unmatched: int | None
    duplicates: int
    throughput: list[Bucket]


class StatisticsDesk:
    """Puts the figures together."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock

    def look(self, tenant: str | None, hours: int) -> StatisticsView:
        """The figures as users of a tenant see them.

        Raises:
            Unavailable: the store was not read yet.
        """
        fleet, now = self._fleet, self._clock()
        check_listed(fleet)
        counts = _named(fleet.counts(None, tenant))
        reports = fleet.unmatched_counts() if tenant is None else None
        return StatisticsView(
            at=now,
            hours=hours,
            bucket_s=BUCKET_S,
            refresh_s=REFRESH_S,
            total=sum(counts.values()),
            counts=counts,
            regions=[
                self._region(idc, online, tenant, reports)
                for idc, online in self._places(reports or {})
            ],
            systems=[
                SystemFigures(
                    os_type=system.os_type,
                    os_version=system.os_version,
                    total=sum(system.counts.values()),
                    counts=_named(system.counts),
                )
                for system in fleet.statistics.systems(tenant)
            ],
            unmatched=None if reports is None else sum(reports.values()),
            duplicates=sum(fleet.count_duplicates(tenant).values()),
            throughput=fleet.statistics.buckets(now, hours, tenant),
        )

    def _places(self, reports: dict[str, int]) -> list[tuple[str, bool]]:
        """Every data center that was heard of, by name, and whether it is online."""
        online = {region.idc: region.online for region in self._fleet.regions()}
        names = sorted(online.keys() | {idc for idc, count in reports.items() if count})
        return [(idc, online.get(idc, False)) for idc in names]

    def _region(
        self, idc: str, online: bool, tenant: str | None, reports: dict[str, int] | None
    ) -> RegionFigures:
        counts = _named(self._fleet.counts(idc, tenant))
        return RegionFigures(
            idc=idc,
            online=online,
            total=sum(counts.values()),
            counts=counts,
            unmatched=None if reports is None else reports.get(idc, 0),
        )


@get("/statistics", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def show_statistics(
    request: CallerRequest, statistics: NamedDependency[StatisticsDesk], hours: Hours = HOURS
) -> StatisticsView:
    """How many tasks there are by status, region and system; what began and ended lately."""
    return statistics.look(request.user.tenant, hours)


def _named(counts: dict[Status, int]) -> dict[str, int]:
    return {status.value: count for status, count in counts.items()}


STATISTICS_CALLS = (show_statistics,)
