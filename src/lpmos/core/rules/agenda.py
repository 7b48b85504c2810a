"""When the rules are asked about what: each waiting thing once, at its time, and again."""

import asyncio
from typing import Literal

import msgspec

DOUBLINGS = 30


class Waiting(msgspec.Struct, frozen=True):
    """What may be decided: a task by its id, or a report by data center and the rest of its key."""

    kind: Literal["task", "report"]
    name: tuple[str, ...]


class Agenda:
    """What is to be looked at, each thing once and at its time; bounded by what waits."""

    def __init__(self, first_retry_s: float, longest_retry_s: float) -> None:
        self._first_retry_s = first_retry_s
        self._longest_retry_s = longest_retry_s
        self._due: dict[Waiting, float] = {}
        self._failures: dict[Waiting, int] = {}
        self._news = asyncio.Event()

    def add(self, item: Waiting) -> None:
        """Look at it now."""
        self._failures.pop(item, None)
        self._due[item] = 0.0
        self._news.set()

    def later(self, item: Waiting) -> None:
        """Look at it again after a while, longer each time; what was added meanwhile stays now."""
        failures = self._failures[item] = self._failures.get(item, 0) + 1
        due = asyncio.get_running_loop().time() + self.wait_s(failures)
        self._due.setdefault(item, due)

    def wait_s(self, failures: int) -> float:
        """How long after so many failures in a row, from 1: twice as long each time, to a bound."""
        doublings = min(failures - 1, DOUBLINGS)
        return min(self._first_retry_s * 2.0**doublings, self._longest_retry_s)

    def done(self, item: Waiting) -> None:
        """Forget how often it failed."""
        self._failures.pop(item, None)

    async def next(self) -> Waiting:
        """The next thing, once its time has come."""
        while True:
            self._news.clear()
            item = min(self._due, key=self._due.__getitem__, default=None)
            wait_s = None
            if item is not None:
                wait_s = self._due[item] - asyncio.get_running_loop().time()
                if wait_s <= 0:
                    del self._due[item]
                    return item
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                continue
