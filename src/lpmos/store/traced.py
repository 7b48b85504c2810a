"""A store whose calls are spans of the trace of whoever asks, whichever backend is behind it.

The rule: of keys only their kinds are said, of values only how many bytes they have.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager

from lpmos.model.trace import Attributes
from lpmos.store import keys
from lpmos.store.api import KV, Compare, Operation, Page, Put, Store, TxnResult
from lpmos.store.delegate import Delegate
from lpmos.store.spans import spanned, under_way

KINDS_LIMIT = 6
"""A transaction over keys of more kinds names the first of them."""


class TracedStore(Delegate):
    """The store; each call is a span, with those of its tries at a server below it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def inner(self) -> Store:
        """The store behind."""
        return self._store

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        """See `Store.get`."""
        with _span("get", [key]):
            return await self._store.get(key, revision=revision)

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        """See `Store.range`."""
        with _span("range", [prefix]):
            return await self._store.range(
                prefix, limit=limit, revision=revision, keys_only=keys_only
            )

    async def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """See `Store.list`; each page is a span."""
        pages = self._store.list(prefix, page=page)
        try:
            while True:
                with _span("list", [prefix]):
                    found = await anext(pages, None)
                if found is None:
                    return
                yield found
        finally:  # who asked may have enough before the end
            if isinstance(pages, AsyncGenerator):
                await pages.aclose()

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """See `Store.put`."""
        with _span("put", [key], size_bytes=len(value)):
            return await self._store.put(key, value, lease=lease)

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """See `Store.delete`."""
        with _span("delete", [key]):
            return await self._store.delete(key, prefix=prefix)

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """See `Store.txn`."""
        named = (each.key for part in (compare, success, failure) for each in part)
        size_bytes = sum(len(each.value) for each in success if isinstance(each, Put))
        with _span("txn", named, len(success), size_bytes):
            return await self._store.txn(compare, success, failure)

    async def cas(self, key: str, mod_revision: int, value: bytes, *, lease: int = 0) -> int:
        """See `Store.cas`."""
        with _span("cas", [key], size_bytes=len(value)):
            return await self._store.cas(key, mod_revision, value, lease=lease)


def _span(
    call: str, named: Iterable[str], operations: int = 1, size_bytes: int = 0
) -> AbstractContextManager[None]:
    """The span of one call; what it says is only put together where it is traced."""
    if under_way() is None:
        return spanned(call, {})
    kinds = sorted({keys.kind_of(key) for key in named})[:KINDS_LIMIT]
    about: Attributes = {
        "lpmos.store.keys": " ".join(kinds),
        "lpmos.store.operations": operations,
        "lpmos.store.bytes": size_bytes,
    }
    return spanned(f"store.{call}", about)
