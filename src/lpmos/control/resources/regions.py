"""The region calls of the API (A7): which data centers there are, how they are, what is in each."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.views.regions import RegionList, RegionSummary, region_summary
from lpmos.core.fleet import Fleet
from lpmos.model.access import Permission
from lpmos.model.errors import NotFound
from lpmos.store.api import Unavailable


@get("/regions", responses=PROBLEMS, opt=needs(Permission.REGION_READ))
async def list_regions(request: CallerRequest, fleet: NamedDependency[Fleet]) -> RegionList:
    """The regions with their state, the systems they offer, and how many tasks are in each."""
    check_listed(fleet)
    tenant = request.user.tenant
    return RegionList([region_summary(region, fleet, tenant) for region in fleet.regions()])


@get("/regions/{idc:str}", responses=PROBLEMS, opt=needs(Permission.REGION_READ))
async def show_region(
    idc: FromPath[str], request: CallerRequest, fleet: NamedDependency[Fleet]
) -> RegionSummary:
    """One region."""
    check_listed(fleet)
    region = fleet.region(idc)
    if region.heartbeat is None and region.capabilities is None:
        raise NotFound(f"there is no region {idc[:32]}")
    return region_summary(region, fleet, request.user.tenant)


def check_listed(fleet: Fleet) -> None:
    """Refuse to answer a list before there is one: an empty list would be a wrong answer.

    Raises:
        Unavailable: the store was not read yet.
    """
    if not fleet.listed:
        raise Unavailable("the store was not read yet; try again")


REGION_CALLS = (list_regions, show_region)
