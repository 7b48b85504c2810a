"""Collecting garbage from when a part has settled on, and not among what stays as long as it does.

That is what was imported, and the machines as they were first read. To look through it would hold
up every call for 80 ms and longer, time and again, and the start for a tenth of it.
"""

import asyncio
import contextlib
import gc

from lpmos.store.mirror import Mirror

SETTLED_WITHIN_S = 60.0


def begin() -> None:
    """Collect nothing until `settle` is through."""
    gc.disable()


async def settle(mirror: Mirror) -> None:
    """Wait for the first listing, and begin to collect: what is there by then is left alone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_WITHIN_S):
            await mirror.wait_ready()
    gc.freeze()
    gc.enable()
