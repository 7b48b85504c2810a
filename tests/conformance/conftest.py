"""The backends of the store: what is built on one is tested once on every one of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.etcd import EtcdServer
from tests.support.stores import Backend, EtcdBackend, SqliteBackend


@pytest.fixture(scope="session")
def etcd_endpoint() -> Iterator[str]:
    """One etcd server for the whole session, started where a test needs it."""
    server = EtcdServer()
    try:
        asyncio.run(server.start())
        yield server.endpoint
    finally:
        asyncio.run(server.close())


@pytest.fixture(params=["sqlite", "etcd"])
def endpoint(request: pytest.FixtureRequest) -> str | None:
    """Where the etcd to test is; None for the embedded store."""
    if request.param == "sqlite":
        return None
    found: str = request.getfixturevalue("etcd_endpoint")
    return found


@pytest.fixture
async def backend(endpoint: str | None, tmp_path: Path) -> AsyncIterator[Backend]:
    """A store to test, and nobody else under its prefix."""
    made: Backend
    if endpoint is None:
        made = await SqliteBackend.open(tmp_path)
    else:
        made = await EtcdBackend.connect(endpoint)
    try:
        yield made
    finally:
        await made.close()
