"""One etcd, and clients whose ways to it can be cut."""

from collections.abc import AsyncIterator

import pytest

from lpmos.store.etcd import EtcdStore
from tests.support.etcd import EtcdServer
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
async def server() -> AsyncIterator[EtcdServer]:
    async with EtcdServer() as started:
        yield started


@pytest.fixture
async def store(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    connected = await EtcdStore.connect([server.endpoint])
    yield connected
    await connected.close()


@pytest.fixture
async def proxy(server: EtcdServer) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(server.port) as started:
        yield started


@pytest.fixture
async def far_store(proxy: TcpProxy) -> AsyncIterator[EtcdStore]:
    """A client whose only way leads through the proxy."""
    connected = await EtcdStore.connect([proxy.endpoint])
    yield connected
    await connected.close()


@pytest.fixture
async def two_way_store(proxy: TcpProxy, server: EtcdServer) -> AsyncIterator[EtcdStore]:
    """A client that goes through the proxy first and has a direct way too."""
    connected = await EtcdStore.connect([proxy.endpoint, server.endpoint])
    yield connected
    await connected.close()
