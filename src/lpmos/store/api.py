"""The store as the rest of the system sees it: keys, revisions, transactions, watches, leases.

One interface, two backends (`lpmos.store.sqlite`, `lpmos.store.etcd`), one conformance suite. The
semantics are etcd's: every change has a revision that grows by one for each transaction, a watch
delivers every revision once and in order, and a lease that ends takes its keys with it.

    StoreError
    ├── Unavailable        not applied; try again
    ├── Ambiguous          may have been applied: read again, never repeat blindly
    ├── CasConflict        the key is not at the revision that was compared
    ├── Compacted          the revision asked for is gone
    ├── FutureRevision     the revision asked for is not there yet
    ├── LeaseNotFound      the lease has ended
    ├── WatchLagged        this watcher was too slow and was cut off: list again, watch again
    ├── PermissionDenied   the store's user may not do this
    ├── AuthFailed         the store refused the credentials
    ├── InvalidRequest     empty key, too large, too many operations, a key twice in one txn
    ├── NoSpace            the store is full (quota, disk)
    ├── StoreLocked        another process serves this embedded store
    ├── Damaged            the embedded store's file is broken: restore a snapshot
    └── UnsupportedServer  a server version that is known to lose writes
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from lpmos.model.errors import LpmosError

MAX_TXN_OPERATIONS = 128
MAX_REQUEST_BYTES = 1_500_000


class StoreError(LpmosError):
    """The root of the store's errors."""

    code = "store-error"


class Unavailable(StoreError):
    """The store cannot be reached or cannot decide now; the call was not applied."""

    code = "store-unavailable"


class Ambiguous(StoreError):
    """The answer was lost: the call may have been applied. Read before doing it again."""

    code = "store-ambiguous"


class CasConflict(StoreError):
    """A compare-and-swap lost: the key is not at the given revision."""

    code = "store-conflict"


class Compacted(StoreError):
    """The revision asked for was compacted; `compact_revision` is the oldest that is there."""

    code = "store-compacted"

    def __init__(self, compact_revision: int) -> None:
        self.compact_revision = compact_revision
        super().__init__(f"the revision is gone; the oldest is {compact_revision}")


class FutureRevision(StoreError):
    """The revision asked for has not happened."""

    code = "store-future-revision"


class LeaseNotFound(StoreError):
    """The lease expired or was revoked."""

    code = "store-lease-not-found"


class WatchLagged(StoreError):
    """The watcher took too long over its batches; nothing is skipped silently."""

    code = "store-watch-lagged"


class PermissionDenied(StoreError):
    """The store's user has no right to this key or call."""

    code = "store-permission-denied"


class AuthFailed(StoreError):
    """The store refused the user, password or certificate."""

    code = "store-auth-failed"


class InvalidRequest(StoreError):
    """The request itself is wrong and would be on every try."""

    code = "store-invalid-request"


class NoSpace(StoreError):
    """The store takes no more writes until space is made."""

    code = "store-no-space"


class StoreLocked(StoreError):
    """Another process has this embedded store open."""

    code = "store-locked"


class Damaged(StoreError):
    """The embedded store's file is broken or is not a store: restore a snapshot."""

    code = "store-damaged"


class UnsupportedServer(StoreError):
    """The server's version is known to lose acknowledged writes."""

    code = "store-unsupported-server"


class KV(msgspec.Struct, frozen=True):
    """One key with its value and where it stands in the history.

    `version` counts the writes since the key was last created, from 1. `lease` is 0 where none.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Page(msgspec.Struct, frozen=True):
    """Keys in order, read at `revision`; `more` where `limit` cut the listing short."""

    kvs: tuple[KV, ...]
    revision: int
    more: bool = False
    count: int = 0


class Compare(msgspec.Struct, frozen=True):
    """A condition on one key; a missing key has revision and version 0 and no value."""

    key: str
    target: Literal["mod", "create", "version", "value"]
    operator: Literal["=", "!=", "<", ">"]
    operand: int | bytes


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Write one key."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """Delete one key, or every key that begins with `key` where `prefix`."""

    key: str
    prefix: bool = False


class Get(msgspec.Struct, frozen=True, tag="get"):
    """Read one key, or every key that begins with `key` where `prefix`."""

    key: str
    prefix: bool = False


Operation = Put | Delete | Get


class TxnResult(msgspec.Struct, frozen=True):
    """What a transaction did; `results` has an entry for each operation of the branch taken.

    A Put's entry is None, a Delete's the number of keys, a Get's the tuple of `KV`.
    """

    succeeded: bool
    revision: int
    results: tuple[int | tuple[KV, ...] | None, ...]


class WatchEvent(msgspec.Struct, frozen=True):
    """One change; after a delete `kv` has the key, no value, and the revision of the delete."""

    type: Literal["put", "delete"]
    kv: KV


class WatchBatch(msgspec.Struct, frozen=True):
    """All events of one or more whole revisions, in order; `revision` is the last of them."""

    revision: int
    events: tuple[WatchEvent, ...]


class StoreStatus(msgspec.Struct, frozen=True):
    """How the store is.

    `size_bytes` is what its files take, `in_use_bytes` what they would take without what is free in
    them; beyond `quota_bytes` it takes no more writes (None: not known, or only the disk's end).
    """

    backend: Literal["sqlite", "etcd"]
    version: str
    revision: int
    size_bytes: int
    healthy: bool
    alarms: tuple[str, ...] = ()
    in_use_bytes: int = 0
    quota_bytes: int | None = None


class Lease(Protocol):
    """A lease that is kept alive in the background until revoked or lost.

    It is judged lost by the local monotonic clock, counted from when the last successful
    keep-alive was *sent*: never later than the store can judge it.
    """

    @property
    def id(self) -> int:
        """The lease's id, for `put(lease=…)`."""
        ...

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease may have ended; it never becomes unset."""
        ...

    @property
    def deadline(self) -> float:
        """The `time.monotonic()` until which the lease surely lives."""
        ...

    async def revoke(self) -> None:
        """End the lease now, with its keys; no error where it has ended already."""
        ...


class Leadership(Protocol):
    """Won by `elect`; every write of a leader goes into a transaction with its `fence`."""

    @property
    def fence(self) -> tuple[Compare, ...]:
        """Compares that hold only while this leadership does."""
        ...

    @property
    def lost(self) -> asyncio.Event:
        """Set once the leadership may have ended."""
        ...

    @property
    def deadline(self) -> float:
        """The `time.monotonic()` until which nobody else can be elected."""
        ...

    async def resign(self) -> None:
        """Give way to the next candidate now."""
        ...


class Store(Protocol):
    """The store. Any call may raise `Unavailable`, `PermissionDenied` or `AuthFailed`.

    Keys are text that begins with `/`. A call that changes something may also raise `Ambiguous`
    and `NoSpace`; it raises `InvalidRequest` for what would be refused every time.
    """

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """The key now, or as it was at `revision`; None where it does not exist.

        Raises:
            Compacted: the revision is gone.
            FutureRevision: the revision has not happened.
        """
        ...

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """All keys that begin with `prefix`, in order, all at one revision; raises as `get`."""
        ...

    def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """All keys that begin with `prefix` in pages of `page` keys, every page at one revision.

        At least one page is given, so that its revision is known.
        """
        ...

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write one key; the revision.

        Raises:
            LeaseNotFound: the lease has ended.
        """
        ...

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """Delete a key, or all that begin with it; how many there were."""
        ...

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """Do `success` where every compare holds, else `failure`, atomically and as one revision.

        Raises:
            InvalidRequest: more than `MAX_TXN_OPERATIONS`, or two writes to one key.
            LeaseNotFound: a lease has ended; nothing was changed.
        """
        ...

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        """Write the key where it is at `mod_revision` (0: does not exist); the new revision.

        Raises:
            CasConflict: it is not at that revision.
        """
        ...

    def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        """Every change to keys that begin with `prefix`, from `from_revision` on, for ever.

        Connection losses are survived inside: the watch goes on from the last revision it gave,
        with nothing missed or repeated. A revision is never split over two batches.

        Raises:
            Compacted: the history needed is gone: list again.
            WatchLagged: the caller was too slow.
        """
        ...

    async def grant(self, ttl_s: int) -> Lease:
        """A new lease, kept alive until revoked or lost."""
        ...

    async def elect(self, name: str, identity: str, ttl_s: int) -> Leadership:
        """Wait until this candidate leads `name`; cancel to stop waiting."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget the history before `revision`; the present values stay."""
        ...

    async def snapshot(self, path: Path) -> None:
        """Write a copy of the whole store to a new file that a backend of its kind can restore."""
        ...

    async def status(self) -> StoreStatus:
        """How the store is; raises `Unavailable` where it cannot be asked."""
        ...

    async def close(self) -> None:
        """End all watches and leases of this client (leases are not revoked) and let go."""
        ...
