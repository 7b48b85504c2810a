"""A limit on failed logins: who guesses too often waits, and nothing is looked at meanwhile.

An `attempt` counts from its beginning, so that many at once are no way around the limit; one that
succeeds, or that nobody could decide, is taken back.
"""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from lpmos.core.clock import Clock
from lpmos.model.errors import TooBusy

IPV6_SITE_BITS = 64
"""What one customer has of IPv6 at the least (RFC 6177); its addresses count as one."""


class FailedLogins:
    """At most `limit` failed attempts under one key (a site, a name) within `window`.

    Only the last `KEYS` keys are remembered; the one that failed longest ago goes first.
    """

    KEYS = 10_000

    def __init__(
        self, clock: Clock, *, limit: int = 10, window: timedelta = timedelta(minutes=1)
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()

    def check(self, key: str) -> None:
        """Refuse who failed too often.

        Raises:
            TooBusy: nothing was looked at; the text says how long to wait.
        """
        failures = self._failures.get(key)
        if failures is None:
            return
        while failures and failures[0] <= self._clock() - self._window:
            failures.popleft()
        if not failures:
            del self._failures[key]
        elif len(failures) >= self._limit:
            raise TooBusy(
                f"too many failed logins; try again in {self._window.total_seconds():.0f} s"
            )

    @contextmanager
    def attempt(self, key: str, wrong: type[Exception]) -> Iterator[None]:
        """Count what is done inside as a failure until it ends otherwise than with `wrong`.

        Raises:
            TooBusy: as `check`.
        """
        self.check(key)
        self.failed(key)
        try:
            yield
        except wrong:
            raise
        except BaseException:
            self._take_back(key)
            raise
        self._take_back(key)

    def failed(self, key: str) -> None:
        """Note one failure."""
        failures = self._failures.setdefault(key, deque(maxlen=self._limit))
        failures.append(self._clock())
        self._failures.move_to_end(key)
        if len(self._failures) > self.KEYS:
            self._failures.popitem(last=False)

    def _take_back(self, key: str) -> None:
        failures = self._failures.get(key)
        if failures:
            failures.pop()


def site_of(address: str) -> str:
    """What an address counts as: itself, of IPv6 its network; unknown text is cut short."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))
