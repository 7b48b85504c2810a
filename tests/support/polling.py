"""Waiting for a condition that nothing announces, with a bound."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_S = 0.02
ANSWER_TIMEOUT_S = 60.0
"""For an answer that comes at once, on a machine with much else to do."""


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 60.0) -> None:
    """Ask again and again until `condition` holds; raises TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(POLL_S)
