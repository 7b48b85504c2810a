"""Networks of their own for regions and machines."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.region_pair import Pair, pair
from tests.support.wire import Wire, wire


@pytest.fixture
def network() -> Iterator[Wire]:
    """A machine's network, with a bridge for its region."""
    with wire() as made:
        yield made


@pytest.fixture
async def regions(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two clients of a region: `a` is active, `b` stands by."""
    async with pair(tmp_path) as made:
        yield made
