"""How often one caller may ask: a token bucket for each user, and for each address without a user.

A bucket starts full, so a caller that is forgotten loses nothing; what is remembered is bounded,
the caller that was silent longest goes first. Health checks are never counted (`UNLIMITED`).
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from lpmos.control.access import COOKIE, Door, client_address
from lpmos.core.identity.limits import site_of
from lpmos.model.access import Principal
from lpmos.model.errors import LpmosError, TooBusy

USER_BURST_S = 2
"""A user may ask at once what its rate allows in this time."""

ADDRESS_BURST_S = 5
CALLERS = 10_000
"""How many callers are remembered, users and addresses each."""

AUTHORIZATION = "authorization"
UNLIMITED = {"unlimited": True}

Connection = ASGIConnection[Any, Any, Any, Any]


class Buckets:
    """One token bucket for each caller: `rate_per_s` tokens a second, `burst` at the most."""

    def __init__(self, rate_per_s: float, burst: float, monotonic: Callable[[], float]) -> None:
        """A rate of 0 is no limit."""
        self._rate_per_s = rate_per_s
        self._burst = max(burst, 1.0)
        self._monotonic = monotonic
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Take one token.

        Raises:
            TooBusy: there is none; says in how many seconds there will be one.
        """
        if self._rate_per_s <= 0:
            return
        now = self._monotonic()
        level, since = self._levels.pop(caller, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate_per_s)
        allowed = level >= 1.0
        self._levels[caller] = (level - 1.0 if allowed else level, now)
        if len(self._levels) > CALLERS:
            self._levels.popitem(last=False)
        if not allowed:
            wait_s = max(1, math.ceil((1.0 - level) / self._rate_per_s))
            raise TooBusy(f"too many requests; try again in {wait_s} s", retry_after_s=wait_s)

    def __len__(self) -> int:
        return len(self._levels)


class Gate:
    """The application's guard: the door, and the limits on who comes through it or is refused."""

    def __init__(
        self,
        door: Door,
        *,
        user_rate_per_s: int,
        address_rate_per_s: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._door = door
        self._users = Buckets(user_rate_per_s, user_rate_per_s * USER_BURST_S, monotonic)
        self._addresses = Buckets(
            address_rate_per_s, address_rate_per_s * ADDRESS_BURST_S, monotonic
        )

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Let a connection pass to `handler`; raises as the door.

        Raises:
            TooBusy: its user, or where it has none its address, asks too often.
        """
        refusal: LpmosError | None = None
        try:
            await self._door(connection, handler)
        except LpmosError as error:
            refusal = error
        if not handler.opt.get("unlimited"):
            subject = await self._subject(connection, handler)
            if subject is not None:
                self._users.take(subject)
            else:
                self._addresses.take(site_of(client_address(connection)))
        if refusal is not None:
            raise refusal

    async def _subject(self, connection: Connection, handler: BaseRouteHandler) -> str | None:
        """The user, also of what is open to everybody: many may share one address."""
        principal: Principal | None = connection.scope.get("user")
        shows = COOKIE in connection.cookies or AUTHORIZATION in connection.headers
        if principal is None and shows and handler.opt.get("public"):
            try:
                principal = await self._door.principal(connection)
            except LpmosError:
                return None
        return principal.subject if principal else None
