"""Identifiers have the form that their programs take."""

import re
from collections.abc import Callable

import pytest

from lpmos.agent.uuids import new_array_uuid, new_uuid, new_volume_id


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (new_uuid, r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        (new_array_uuid, r"[0-9a-f]{8}(:[0-9a-f]{8}){3}"),
        (new_volume_id, r"[0-9A-F]{8}"),
    ],
)
def test_identifiers_are_random_and_well_formed(make: Callable[[], str], pattern: str) -> None:
    found = {make() for _ in range(20)}
    assert len(found) == 20
    assert all(re.fullmatch(pattern, text) for text in found)
