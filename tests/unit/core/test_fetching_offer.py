"""What is said of a task for a system that its region is still fetching."""

import pytest

from lpmos.core.creation_checks import offer_problem
from lpmos.core.fleet import RegionView
from lpmos.model.fetching import Arrival, Fetching
from lpmos.model.region import Heartbeat
from tests.support.builders import NOW, make_capabilities

ARRIVAL = Arrival(
    kind="image",
    name="rocky-9",
    os_type="rocky",
    os_version="9",
    size_bytes=4_000_000,
    done_bytes=1_000_000,
)


def said(fetching: Fetching | None, os_version: str = "9") -> str:
    """The answer to a task for Rocky Linux in dc1."""
    beat = Heartbeat(idc="dc1", identity="r", at=NOW, services={}, fetching=fetching)
    other = RegionView("dc2", True, beat, None)
    region = RegionView("dc1", True, beat, make_capabilities("dc1"))
    problem = offer_problem(
        "dc1", "rocky", os_version, make_capabilities("dc1"), lambda: [other, region]
    )
    assert problem is not None
    return problem.message


def fetching(**fields: object) -> Fetching:
    """A region that fetches `ARRIVAL`."""
    return Fetching(**{"source": "https://c", "arriving": (ARRIVAL,), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (fetching(current="rocky-9"), "yet: it fetches the image rocky-9, 1.0 of 4.0 MB are there"),
        (fetching(current="agent"), "yet: it will fetch the image rocky-9, 1.0 of 4.0 MB"),
        (fetching(error="no way"), "yet, and cannot fetch the image rocky-9 now"),
    ],
)
def test_a_task_for_what_is_on_its_way_is_refused_with_how_far_it_is(
    state: Fetching, text: str
) -> None:
    assert text in said(state)


@pytest.mark.parametrize("state", [None, Fetching(source="https://c")])
def test_nothing_is_said_where_nothing_is_on_its_way(state: Fetching | None) -> None:
    assert said(state).startswith("dc1 does not offer rocky 9; it has:")


def test_another_version_on_its_way_is_no_comfort() -> None:
    assert "yet" not in said(fetching(current="rocky-9"), "8")
