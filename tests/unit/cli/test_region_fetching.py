"""What `lpmos region show` says of a region that copies its control plane's images."""

import msgspec

from lpmos.cli.region import fetched
from lpmos.model.fetching import Arrival, Fetching


def test_each_item_says_how_far_it_is_and_what_is_wrong() -> None:
    comes = Arrival(kind="image", name="a", size_bytes=4_000_000, done_bytes=1_000_000)
    fails = Arrival(kind="installer", name="b", size_bytes=10, error="no room")
    state = Fetching(
        source="https://c",
        current="a",
        rate_bytes_per_s=2_000_000,
        arriving=(comes, fails),
        more=3,
        error="no way",
        own=("debian-12",),
    )
    assert fetched(msgspec.to_builtins(state)) == [
        ("images from", "https://c, asked never"),
        ("cannot fetch", "no way"),
        ("fetches", "image a: 1 MB of 4 MB, 2 MB/s"),
        ("fetches", "installer b: 0 B of 10 B; no room"),
        ("fetches", "and 3 more"),
        ("put by hand", "debian-12: not those of the control plane"),
    ]
    assert fetched(None) == []
