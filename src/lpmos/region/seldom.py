"""What anybody on the machines' network can cause as often as they like, and is done seldom.

The rule: of each key so many in a span of time, then none until the span is over, and of more keys
than `KEYS_LIMIT` none at all. Spans are of the monotonic clock; nothing is kept over a restart.
"""

import time
from collections import Counter
from collections.abc import Callable, Hashable

KEYS_LIMIT = 10_000
SAY_LIMIT = 5
SAY_EVERY_S = 60.0
"""So many lines of one kind about one machine are logged in so long a time; metrics count all."""


class Seldom:
    """How often each key came in the present span."""

    def __init__(
        self, limit: int, every_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`limit` of each key in `every_s` seconds."""
        self._limit = limit
        self._every_s = every_s
        self._monotonic = monotonic
        self._since = monotonic()
        self._counts: Counter[Hashable] = Counter()

    def takes(self, key: Hashable) -> bool:
        """Whether this one is within the limit."""
        now = self._monotonic()
        if now - self._since >= self._every_s:
            self._since = now
            self._counts.clear()
        if key not in self._counts and len(self._counts) >= KEYS_LIMIT:
            return False
        self._counts[key] += 1
        return self._counts[key] <= self._limit
