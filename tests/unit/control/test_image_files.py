"""Which part of a file a request asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.resources.image_files import asked_part, begins_beyond


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-", (0, 9)),
        ("bytes=4-", (4, 9)),
        ("bytes=4-6", (4, 6)),
        ("bytes=4-400", (4, 9)),
        ("bytes=9-9", (9, 9)),
        ("bytes=10-", None),
        ("bytes=6-4", None),
        ("bytes=-4", None),
        ("bytes=0-1,4-5", None),
        ("lines=0-", None),
        ("", None),
        (None, None),
    ],
)
def test_one_part_that_is_there_is_sent_and_else_the_whole(
    text: str | None, part: tuple[int, int] | None
) -> None:
    assert asked_part(text, 10) == part


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-12", "bytes=999999999999999-"])
def test_a_part_that_begins_after_the_end_is_told_from_none(text: str) -> None:
    assert begins_beyond(text, 10)
    assert not begins_beyond("bytes=9-", 10)
    assert not begins_beyond("bytes=-4", 10)
    assert not begins_beyond(None, 10)


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}"), st.integers(0, 50))
def test_a_part_is_always_inside_the_file(text: str, size_bytes: int) -> None:
    part = asked_part(text, size_bytes)
    assert part is None or 0 <= part[0] <= part[1] < size_bytes
