"""The region calls of the API: which data centers there are and what each can install."""

import msgspec
from litestar import get
from litestar.di import NamedDependency

from lpmos.control.access import needs
from lpmos.control.problems import PROBLEMS
from lpmos.control.views import RegionSummary, region_summary
from lpmos.core.fleet import Fleet
from lpmos.model.access import Permission
from lpmos.store.api import Unavailable


class RegionList(msgspec.Struct, frozen=True):
    """Every region that was ever heard of, by name."""

    regions: list[RegionSummary]


@get("/regions", responses=PROBLEMS, opt=needs(Permission.REGION_READ))
async def list_regions(fleet: NamedDependency[Fleet]) -> RegionList:
    """The regions with their state and the systems they offer."""
    check_listed(fleet)
    return RegionList([region_summary(region) for region in fleet.regions()])


def check_listed(fleet: Fleet) -> None:
    """Refuse to answer a list before there is one: an empty list would be a wrong answer.

    Raises:
        Unavailable: the store was not read yet.
    """
    if not fleet.listed:
        raise Unavailable("the store was not read yet; try again")


REGION_CALLS = (list_regions,)
