"""The benchmark of the live updates: frames in pieces, and what counts as arrived and as missed."""

from bench.live_browsers import Arrived, Way, revision_of, split
from bench.live_server import Commit
from bench.live_updates import Arrival, arrivals
from hypothesis import example, given
from hypothesis import strategies as st

from lpmos.control.live.frames import text_frame

LENGTHS = st.integers(0, 200) | st.sampled_from([65_535, 65_536])


@given(st.lists(LENGTHS, max_size=5), st.lists(st.integers(1, 300), max_size=9))
@example([0, 125, 126, 127, 65_535, 65_536], [1, 1, 1, 65_000])
def test_frames_that_come_in_pieces_are_those_that_were_written(
    lengths: list[int], pieces: list[int]
) -> None:
    payloads = [bytes([length % 251]) * length for length in lengths]
    written = b"".join(map(text_frame, payloads))
    found: list[tuple[int, bytes]] = []
    rest = b""
    for piece in (*pieces, len(written)):
        came, written = written[:piece], written[piece:]
        frames, rest = split(rest + came)
        found += frames
    assert found == [(0x81, payload) for payload in payloads]
    assert rest == b""


def test_revision_stands_at_the_end_of_a_batch_and_of_a_word_about_it() -> None:
    stated = b'{"type":"revision","revision":71}'
    assert revision_of(stated) == 71
    assert revision_of(b'[{"type":"status","task_id":"t","revision":70},%b]' % stated) == 71


def _arrived(ways: dict[Way, tuple[int, int]], told: dict[int, tuple[int, int]]) -> Arrived:
    return Arrived(
        ways=ways, told=told, sampled=2, unread_ms=[], frames=0, frame_bytes=0, cut={}, resyncs=0
    )


COMMITS = {1: Commit("a", 2), 3: Commit("b", 4), 5: Commit("a", 6)}
"""Their revisions are 11, 12 and 13."""


def test_update_has_arrived_when_the_last_browser_came_over_its_revision() -> None:
    ways = {(10, 12): (100, 9), (10, 11): (90, 1), (11, 13): (120, 1), (12, 13): (110, 9)}
    found = arrivals(COMMITS, _arrived(ways, {1: (11, 2), 3: (12, 2), 5: (13, 2)}), 10)
    assert found == {1: Arrival(100, False), 3: Arrival(120, False), 5: Arrival(120, False)}


def test_newer_update_of_the_same_task_stands_for_one_that_was_not_told() -> None:
    ways = {(10, 13): (100, 10)}
    for told in ({3: (12, 2), 5: (13, 2)}, {1: (11, 1), 3: (12, 2), 5: (13, 2)}):
        found = arrivals(COMMITS, _arrived(ways, told), 10)
        assert found == dict.fromkeys(COMMITS, Arrival(100, False))


def test_update_is_missed_by_who_did_not_come_so_far_or_was_told_nothing_of_it() -> None:
    told = {1: (11, 2), 3: (12, 1)}
    found = arrivals(COMMITS, _arrived({(10, 12): (100, 9), (10, 11): (90, 1)}, told), 10)
    assert found == {1: Arrival(100, False), 3: Arrival(100, True), 5: None}
