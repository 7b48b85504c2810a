"""A data center on every backend of the store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.etcd import EtcdServer
from tests.support.offline_region import OfflineSite, offline_site
from tests.support.stores import Backend, EtcdBackend, SqliteBackend


@pytest.fixture(scope="session")
def region_etcd() -> Iterator[str]:
    """One etcd server for the whole session, started where a test needs it."""
    server = EtcdServer()
    try:
        asyncio.run(server.start())
        yield server.endpoint
    finally:
        asyncio.run(server.close())


@pytest.fixture(params=["sqlite", "etcd"])
def region_endpoint(request: pytest.FixtureRequest) -> str | None:
    """Where the etcd is; None for the embedded store."""
    if request.param == "sqlite":
        return None
    found: str = request.getfixturevalue("region_etcd")
    return found


@pytest.fixture
async def site(region_endpoint: str | None, tmp_path: Path) -> AsyncIterator[OfflineSite]:
    """A region and people on one store."""
    made: Backend
    if region_endpoint is None:
        made = await SqliteBackend.open(tmp_path)
    else:
        made = await EtcdBackend.connect(region_endpoint)
    try:
        async with offline_site(made.store, tmp_path / "state") as site:
            yield site
    finally:
        await made.close()
