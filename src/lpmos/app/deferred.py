"""A store that a part may use before it could be reached: until then every call is `Unavailable`.

So a region that starts while the cluster is away serves machines from what it knows.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from lpmos.store.api import Store, Unavailable
from lpmos.store.delegate import Delegate

FIRST_WAIT_S = 3.0
"""A store that is there is reached sooner than that; who begins then finds it."""


class DeferredStore(Delegate):
    """The store of `connect`, as soon as it is there."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self.reached = asyncio.Event()

    @property
    def inner(self) -> Store:
        """The store behind.

        Raises:
            Unavailable: it was not reached yet.
        """
        if self._store is None:
            raise Unavailable("the store was not reached yet")
        return self._store

    async def reach(self, connect: Callable[[], Awaitable[Store]]) -> None:
        """Wait for `connect`; raises what it raises."""
        self._store = await connect()
        self.reached.set()

    async def close(self) -> None:
        """See `Store.close`; nothing where there is none."""
        if self._store is not None:
            await self._store.close()


@asynccontextmanager
async def deferred(connect: Callable[[], Awaitable[Store]]) -> AsyncIterator[Store]:
    """A store that is usable after at most `FIRST_WAIT_S`, reached or not, and closed at the end.

    It is reached when `connect` is done; what `connect` raises ends the block.
    """
    store = DeferredStore()
    try:
        async with asyncio.TaskGroup() as group:
            reaching = group.create_task(store.reach(connect), name="reach the store")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_WAIT_S):
                    await store.reached.wait()
            yield store
            reaching.cancel()
    finally:
        await store.close()
