"""The image on its way to an agent over real HTTP: broken, refused, another one, and large."""

import io
import time
import tracemalloc

import pytest

from lpmos.agent.console import Console
from lpmos.agent.image import ImageStream
from lpmos.agent.pace import Pace
from lpmos.agent.plan import parse_plan
from lpmos.agent.region import Region
from lpmos.agent.session import EXIT_FAILED, EXIT_INSTALLED
from lpmos.agent.stop import Stop
from tests.support.agent_region import Fault, agent_region, plan_document, plan_for
from tests.support.agent_runs import IMAGE, PROGRESS, STATUS, Run


def test_download_that_breaks_is_resumed_by_range() -> None:
    with agent_region(IMAGE, break_after=[1_000_000, 0, 500_000]) as region:
        region.set("approved")
        assert Run(region).end() == EXIT_INSTALLED
        ranges = [call.range for call in region.calls if call.path.startswith("/boot")]
        assert ranges == [None, "bytes=1000000-", "bytes=1000000-", "bytes=1500000-"]


def test_download_from_a_server_without_ranges_skips_what_it_has() -> None:
    with agent_region(IMAGE, break_after=[1_000_000], ignore_range=True) as region:
        region.set("approved")
        assert Run(region).end() == EXIT_INSTALLED


def test_download_answered_with_503_waits() -> None:
    with agent_region(IMAGE) as region:
        region.faults = [Fault("/boot/images", 503, {"Retry-After": "1"})] * 2
        region.set("approved")
        assert Run(region).end() == EXIT_INSTALLED


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (IMAGE[:-1] + b"x", "sha256"),
        (IMAGE[:-1], "the plan says"),
        (IMAGE + b"x", "the plan says"),
    ],
)
def test_download_of_another_image_fails_and_never_completes(served: bytes, reason: str) -> None:
    with agent_region(IMAGE) as region:
        region.image = served
        region.set("approved")
        assert Run(region).end() == EXIT_FAILED
        assert region.status == "failed"
        failed = region.heard(STATUS)[-1]
        assert reason in failed["message"]
        assert "image verify" in failed["error"]["hint"]
        assert 20 <= failed["progress"] <= 60
        assert all(body["percentage"] < 100 for body in region.heard(PROGRESS))


def test_download_of_a_missing_image_fails() -> None:
    with agent_region(IMAGE) as region:
        region.faults = [Fault("/boot/images", 404)]
        region.set("approved")
        assert Run(region).end() == EXIT_FAILED
        assert "404" in region.heard(STATUS)[-1]["message"]


def test_image_of_any_size_passes_in_constant_memory() -> None:
    image = bytes(64 << 20)
    plan = parse_plan(plan_document(plan_for(image)))
    with agent_region(image) as region:
        stream = ImageStream(
            Region(region.url), Console(io.StringIO()), Stop(), Pace(), time.monotonic
        )
        tracemalloc.start()
        try:
            stream.stream(plan.image, _Nowhere(), lambda done, rate: None)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 4 << 20


class _Nowhere:
    def write(self, data: bytes) -> None:
        """Drop the bytes."""
