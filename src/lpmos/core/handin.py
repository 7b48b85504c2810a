"""The two stores behind a region's use cases while it keeps words, and while it hands them in.

`Draft` answers reads from memory and holds back what would be written: a call is decided as always,
and its outcome shown once the word of it is on the disk. `MarkedStore` puts into every transaction
the mark that a word was handed in: what is handed in twice finds the mark and is not applied again.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime

import msgspec

from lpmos.core.clock import Clock
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Compare,
    Operation,
    Page,
    Put,
    Store,
    StoreError,
    TxnResult,
    Unavailable,
)
from lpmos.store.delegate import Delegate


class AlreadyHandedIn(StoreError):
    """The word is in the store."""

    code = "already-handed-in"


class Mark(msgspec.Struct, frozen=True):
    """The last word of one machine that the store has from one outbox."""

    seq: int


class HandingIn:
    """One word on its way, said `at`: `key` is the mark's, which is at `revision` (0: none)."""

    def __init__(self, key: str, seq: int, revision: int, at: datetime) -> None:
        self.key = key
        self.at = at
        self.seq = seq
        self.revision = revision
        self.written = 0
        """The revision of the word's own transaction; 0 where it wrote nothing."""


handing_in: ContextVar[HandingIn | None] = ContextVar("handing_in", default=None)


def said_or_now(clock: Clock) -> Clock:
    """The time at which a word that is handed in was said; else the time of `clock`."""

    def now() -> datetime:
        word = handing_in.get()
        return word.at if word else clock()

    return now


class MarkedStore(Delegate):
    """The store; while a word is handed in, each of its transactions carries the mark."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def inner(self) -> Store:
        """The store behind."""
        return self._store

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`; raises as `txn`."""
        if handing_in.get() is None:
            return await self._store.put(key, value, lease=lease)
        return (await self.txn((), [Put(key, value, lease)])).revision

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """See `Store.txn`.

        Raises:
            AlreadyHandedIn: the mark says so; nothing was changed by this call.
        """
        word = handing_in.get()
        if word is None or word.written:
            return await self._store.txn(compare, success, failure)
        unmarked = Compare(word.key, "mod", "=", word.revision)
        mark = Put(word.key, records.encode(Mark(word.seq)))
        result = await self._store.txn([*compare, unmarked], [*success, mark], failure)
        if result.succeeded:
            word.revision = word.written = result.revision
        else:
            word.revision = await self._mark_revision(word)
        return result

    async def _mark_revision(self, word: HandingIn) -> int:
        kv = await self._store.get(word.key)
        if kv is not None and records.decode(kv, Mark).seq >= word.seq:
            raise AlreadyHandedIn(f"word {word.seq} of {word.key} is in the store")
        return kv.mod_revision if kv else 0


class Draft(Delegate):
    """What a call would write, over what memory shows; nothing of it waits for anything."""

    def __init__(self, get: Callable[[str], KV | None]) -> None:
        self._get = get
        self._written: dict[str, bytes] = {}

    @property
    def inner(self) -> Store:
        """There is none.

        Raises:
            Unavailable: always.
        """
        raise Unavailable("the store is away")

    @property
    def is_empty(self) -> bool:
        """Whether the call changed nothing."""
        return not self._written

    @property
    def shown(self) -> dict[str, bytes]:
        """The tasks and machines that it changed."""
        parsed = ((key, keys.parse(key)) for key in self._written)
        shown = [key for key, name in parsed if name and name.kind in ("task", "meta")]
        return {key: self._written[key] for key in shown}

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """See `Store.get`; the present value only."""
        return self._get(key)

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """No keys: nothing that a region lists is in its memory."""
        return Page((), 0)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Hold back one write."""
        self._written[key] = value
        return 0

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """Nothing: what a region deletes is not in its memory."""
        return 0

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """Hold back the writes; between the read and this nobody else had a turn."""
        self._written |= {each.key: each.value for each in success if isinstance(each, Put)}
        return TxnResult(True, 0, ())
