"""What `lpmos doctor` says of a region that copies its control plane's images."""

from typing import Any

import msgspec

from lpmos.cli.findings import Level, judge_fetching
from lpmos.model.fetching import Arrival, Fetching

ARRIVAL = Arrival(kind="image", name="rocky-9", size_bytes=10)


def judged(**fields: Any) -> list[str]:
    """What is found, each a warning."""
    document = msgspec.to_builtins(Fetching(source="https://c", **fields))
    found = list(judge_fetching("region dc1", document))
    assert all(each.level is Level.WARNING and each.do for each in found)
    return [each.found for each in found]


def test_a_copy_that_comes_along_is_no_finding() -> None:
    assert judged(arriving=(ARRIVAL,)) == []
    assert list(judge_fetching("region dc1", None)) == []


def test_each_reason_is_told_once_and_images_put_by_hand_are_named() -> None:
    failed = msgspec.structs.replace(ARRIVAL, error="no room")
    other = msgspec.structs.replace(failed, name="b")
    assert judged(error="no way", arriving=(failed, other), own=("debian-12",)) == [
        "cannot fetch images: no way",
        "cannot fetch images: no room",
        "put there by hand, and not the control plane's: debian-12",
    ]
