"""Both backends of the store behind one face, for tests that run on each.

A test gets a `Backend` and keeps to the keys under `backend.prefix`. Its `store` is a client of
its own; what one etcd server keeps from earlier tests lies under other prefixes.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from lpmos.store.sqlite import SqliteStore
from tests.support.etcd import EtcdServer, run


class Backend(Protocol):
    """A store to test."""

    store: Store
    prefix: str

    async def another(self) -> Store:
        """A second client of the same store; closed by `close`."""
        ...

    async def orphan_lease(self, ttl_s: int, keys: Sequence[str]) -> None:
        """Put keys on a lease that nobody keeps alive from here on; `store` may be a new one."""
        ...

    async def restore(self, snapshot: Path) -> Store:
        """A store of its own made from a snapshot; closed by `close`."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class SqliteBackend:
    """A store in a directory of its own."""

    def __init__(self, directory: Path, store: SqliteStore) -> None:
        self.store: Store = store
        self.prefix = "/os/test/"
        self._directory = directory
        self._restored: list[Store] = []

    @classmethod
    async def open(cls, directory: Path) -> "SqliteBackend":
        return cls(directory, await SqliteStore.open(directory / "store.db"))

    async def another(self) -> Store:
        return self.store

    async def orphan_lease(self, ttl_s: int, keys: Sequence[str]) -> None:
        lease = await self.store.grant(ttl_s)
        for key in keys:
            await self.store.put(key, b"leased", lease=lease.id)
        await self.store.close()
        self.store = await SqliteStore.open(self._directory / "store.db")

    async def restore(self, snapshot: Path) -> Store:
        store = await SqliteStore.open(snapshot)
        self._restored.append(store)
        return store

    async def close(self) -> None:
        for store in (self.store, *self._restored):
            await store.close()


class EtcdBackend:
    """A client of a server that tests share, under a prefix of its own."""

    def __init__(self, endpoint: str, store: EtcdStore) -> None:
        self.store: Store = store
        self.prefix = f"/os/test-{uuid.uuid4().hex}/"
        self._endpoint = endpoint
        self._others: list[Store] = []
        self._servers: list[EtcdServer] = []

    @classmethod
    async def connect(cls, endpoint: str) -> "EtcdBackend":
        return cls(endpoint, await EtcdStore.connect([endpoint]))

    async def another(self) -> Store:
        store = await EtcdStore.connect([self._endpoint])
        self._others.append(store)
        return store

    async def orphan_lease(self, ttl_s: int, keys: Sequence[str]) -> None:
        store = await EtcdStore.connect([self._endpoint])
        lease = await store.grant(ttl_s)
        for key in keys:
            await store.put(key, b"leased", lease=lease.id)
        await store.close()

    async def restore(self, snapshot: Path) -> Store:
        server = EtcdServer()
        self._servers.append(server)
        data = str(server.directory / "data")
        await run(["etcdctl", "snapshot", "restore", str(snapshot), "--data-dir", data])
        await server.start()
        store = await EtcdStore.connect([server.endpoint])
        self._others.append(store)
        return store

    async def close(self) -> None:
        for store in (self.store, *self._others):
            await store.close()
        for server in self._servers:
            await server.close()


@asynccontextmanager
async def two_clients(kind: str, directory: Path) -> AsyncIterator[list[Store]]:
    """Two clients of one new store; for the embedded store they are one."""
    if kind == "sqlite":
        embedded = await SqliteStore.open(directory / "store.db")
        yield [embedded, embedded]
        await embedded.close()
        return
    server = EtcdServer()
    try:
        await server.start()
        clients = [await EtcdStore.connect([server.endpoint]) for _ in range(2)]
        yield list(clients)
        for client in clients:
            await client.close()
    finally:
        await server.close()
