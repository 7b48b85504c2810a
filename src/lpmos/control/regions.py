"""The region calls of the API: which data centers there are and what each can install."""

import msgspec
from litestar import get
from litestar.di import NamedDependency

from lpmos.control.problems import PROBLEMS
from lpmos.control.views import RegionSummary, region_summary
from lpmos.core.fleet import Fleet


class RegionList(msgspec.Struct, frozen=True):
    """Every region that was ever heard of, by name."""

    regions: list[RegionSummary]


@get("/regions", responses=PROBLEMS)
async def list_regions(fleet: NamedDependency[Fleet]) -> RegionList:
    """The regions with their state and the systems they offer."""
    return RegionList([region_summary(region) for region in fleet.regions()])


REGION_CALLS = (list_regions,)
