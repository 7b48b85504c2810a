"""`If-Match`: which revision it names, and what it may not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.http.conditional import named_revision, tagged
from lpmos.model.errors import InvalidInput


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_named_revision_of_an_etag_is_the_revision_that_was_tagged(revision: int) -> None:
    assert named_revision(tagged(None, revision).headers["ETag"]) == revision


@pytest.mark.parametrize("header", [None, "*", " * "])
def test_named_revision_of_an_unconditional_request_is_none(header: str | None) -> None:
    assert named_revision(header) is None


@pytest.mark.parametrize("header", ["", "4711", 'W/"1"', '"1", "2"', '"-1"', '"x"', f'"{10**18}"'])
def test_named_revision_of_anything_else_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="If-Match"):
        named_revision(header)
