"""Mirrors that follow their stores for as long as a block."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from lpmos.store.mirror import Mirror

LISTED_TIMEOUT_S = 30.0


@asynccontextmanager
async def following(*mirrors: Mirror) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """All of them, once they have listed their stores; gives the task of each."""
    tasks = [asyncio.create_task(mirror.run()) for mirror in mirrors]
    try:
        async with asyncio.timeout(LISTED_TIMEOUT_S):
            for mirror in mirrors:
                await mirror.wait_ready()
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
