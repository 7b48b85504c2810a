"""A data center on every backend of the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.offline_region import OfflineSite, offline_site
from tests.support.stores import Backend


@pytest.fixture
async def site(backend: Backend, tmp_path: Path) -> AsyncIterator[OfflineSite]:
    """A region and people on one store."""
    async with offline_site(backend.store, tmp_path / "state") as site:
        yield site
