"""Memory of a part: garbage is collected from when it has settled on, and not among what stays.

That is what was imported, and the machines as they were first read. To look through it would hold
up every call for 80 ms and longer, time and again, and the start for a tenth of it. Threads share
one arena of the allocator: they do little at a time, and each would keep what it once needed.
"""

import asyncio
import contextlib
import ctypes
import gc

from lpmos.store.mirror import Mirror

SETTLED_WITHIN_S = 60.0
_M_ARENA_MAX = -8
"""mallopt(3), glibc's `malloc.h`."""


def begin() -> None:
    """Collect nothing until `settle` is through; call it before there are threads."""
    gc.disable()
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def settle(mirror: Mirror) -> None:
    """Wait for the first listing, and begin to collect: what is there by then is left alone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_WITHIN_S):
            await mirror.wait_ready()
    gc.freeze()
    gc.enable()
