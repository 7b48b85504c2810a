"""Work that many ask for at the same time, done once for all of them.

The rule: who asks is answered by a run that began after that. While one is under way, all who come
share the next one, and hear of its end together: none waits for a lock behind the others, which
takes a round of the event loop for each.
"""

import asyncio
from collections.abc import Awaitable, Callable


class Joined:
    """Runs of `work`, one at a time."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._running = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Have a run that begins from now on; raises what `work` raises.

        Who is cancelled takes the run from nobody else.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._run(), name="joined work")
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        async with self._running:
            self._next = None
            await self._work()
