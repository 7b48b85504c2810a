"""Tasks in the order of their times: each is there once, and moving one later costs nothing."""

import heapq
from collections.abc import Iterator
from datetime import datetime


class DueQueue:
    """Names of tasks with the earliest time at which each is to be looked at."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []
        self._at: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._at)

    def put(self, name: str, at: datetime) -> None:
        """Look at it at this time; an earlier one that it has already stays."""
        known = self._at.get(name)
        if known is None or at < known:
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def due(self, now: datetime) -> Iterator[str]:
        """Take out what is to be looked at now, the earliest first."""
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                yield name
