"""`EtcdStore`: the store of an etcd cluster, as `lpmos.store.api.Store` describes it.

It only joins the modules beside it; the rules are theirs.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from lpmos.store import election
from lpmos.store.api import (
    KV,
    Compare,
    InvalidRequest,
    Operation,
    Page,
    StoreStatus,
    TxnResult,
    WatchBatch,
)
from lpmos.store.etcd import kv, lease, maintenance, watch
from lpmos.store.etcd.client import Client, Credentials
from lpmos.store.etcd.endpoint import Endpoint, Tls


class EtcdStore:
    """A client of an etcd cluster; make one with `connect` and end it with `close`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    async def connect(
        cls,
        endpoints: Sequence[str],
        *,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> "EtcdStore":
        """A store that has reached one of `endpoints` (`http://host:2379` or `https://…`).

        `ca`, `cert` and `key` are PEM files for `https://`.

        Raises:
            Unavailable: none of them can be reached.
            AuthFailed: the user or password is wrong.
            UnsupportedServer: the server's version is known to lose writes.
            InvalidRequest: the arguments do not fit together.
        """
        if (cert is None) != (key is None) or (user is None) != (password is None):
            raise InvalidRequest("certificate and key, and user and password, go together")
        tls = Tls(*(path.read_bytes() if path else None for path in (ca, cert, key)))
        credentials = Credentials(user, password) if user and password else None
        store = cls(Client([Endpoint(url, tls) for url in endpoints], credentials))
        try:
            await store.status()
        except BaseException:
            await store.close()
            raise
        return store

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """See `Store.get`."""
        return await kv.get(self._client, key, revision)

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """See `Store.range`."""
        return await kv.read_prefix(
            self._client, prefix, limit=limit, revision=revision, keys_only=keys_only
        )

    def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """See `Store.list`."""
        return kv.list_pages(self._client, prefix, page)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`."""
        return await kv.put(self._client, key, value, lease)

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """See `Store.delete`."""
        return await kv.delete(self._client, key, prefix=prefix)

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """See `Store.txn`."""
        return await kv.txn(self._client, compare, success, failure)

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        """See `Store.cas`."""
        return await kv.cas(self._client, key, mod_revision, value, lease)

    def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        """See `Store.watch`; `from_revision` 0 means from now on."""
        return watch.watch(self._client, prefix, from_revision)

    async def grant(self, ttl_s: int) -> lease.EtcdLease:
        """See `Store.grant`."""
        return await lease.grant(self._client, ttl_s)

    async def elect(self, name: str, identity: str, ttl_s: int) -> election.LeaseLeadership:
        """See `Store.elect`."""
        return await election.elect(self, name, identity, ttl_s)

    async def compact(self, revision: int) -> None:
        """See `Store.compact`."""
        await maintenance.compact(self._client, revision)

    async def snapshot(self, path: Path) -> None:
        """See `Store.snapshot`."""
        await maintenance.snapshot(self._client, path)

    async def status(self) -> StoreStatus:
        """See `Store.status`."""
        return await maintenance.status(self._client)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._client.close()
