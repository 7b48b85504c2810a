"""How long the agent waits between tries: one place for every delay of the protocol."""

import random
from collections.abc import Callable, Iterator


class Pace:
    """Delays in seconds: doubling from `first_s` to `most_s`, each stretched by up to `jitter`.

    The jitter keeps a rack that lost its region from coming back in step. `scale` shortens the
    waits that the region asks for; only tests and simulations use anything but 1.
    """

    def __init__(
        self,
        first_s: float = 1.0,
        most_s: float = 30.0,
        jitter: float = 0.25,
        scale: float = 1.0,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._jitter = jitter
        self._scale = scale
        self._fraction = fraction

    def backoff(self) -> Iterator[float]:
        """The delays of one series of tries, without end."""
        delay_s = self._first_s
        while True:
            yield self._stretched(delay_s)
            delay_s = min(delay_s * 2, self._most_s)

    def asked(self, seconds: float) -> float:
        """The delay where the region asked for `seconds`: never less than that."""
        return self._stretched(seconds * self._scale)

    def _stretched(self, delay_s: float) -> float:
        return delay_s * (1 + self._jitter * self._fraction())
