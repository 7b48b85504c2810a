"""Who calls: signed tokens (JWT, RFC 7519), what a role may do, and a limit on failed logins.

A token is believed only for its signature with the one key and the one algorithm named here; what
its header says of algorithms is never followed.
"""

import uuid
from collections import OrderedDict, deque
from datetime import UTC, datetime, timedelta

import jwt

from lpmos.core.clock import Clock, utc_now
from lpmos.model.access import Principal, Role
from lpmos.model.errors import SettingsError, TooBusy, Unauthenticated

ALGORITHM = "HS256"
ISSUER = "lpmos"
KEY_BYTES = 32
"""RFC 7518 section 3.2: a key for HS256 has at least as many bytes as its digest."""

TOKEN_CHARACTERS = 4096
CLAIMS = ("iss", "sub", "role", "iat", "exp", "jti")


class TokenSigner:
    """Issues and verifies tokens with one secret key.

    Raises:
        SettingsError: the key is shorter than `KEY_BYTES`.
    """

    def __init__(self, key: bytes, clock: Clock = utc_now) -> None:
        if len(key) < KEY_BYTES:
            raise SettingsError(f"the token key has {len(key)} bytes; it needs {KEY_BYTES} or more")
        self._key = key
        self._clock = clock

    def issue(self, subject: str, role: str, lifetime: timedelta) -> str:
        """A new token; `role` is one of `Role`."""
        now = self._clock()
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "role": Role(role).value,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def verify(self, token: str) -> Principal:
        """The principal that a token was issued for.

        Raises:
            Unauthenticated: it is no token of ours, or it is over; the text does not say why in
                more detail than its holder may know.
        """
        if len(token) > TOKEN_CHARACTERS:
            raise Unauthenticated("the token is not valid")
        # The times are compared with our own clock below.
        options = {"require": list(CLAIMS), "verify_exp": False, "verify_iat": False}
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options=options,  # type: ignore[arg-type]
            )
            expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
            role = Role(claims["role"])
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, OSError):
            raise Unauthenticated("the token is not valid") from None
        if expires_at <= self._clock():
            raise Unauthenticated("the token has expired; get a new one")
        return Principal(
            subject=claims["sub"],
            roles=(role,),
            expires_at=expires_at,
            credential=f"key:{claims['jti']}",
        )


class FailedLogins:
    """At most `limit` failed logins from one address within `window`; then none is looked at.

    Only the last `ADDRESSES` addresses are remembered; the one that failed longest ago goes first.
    """

    ADDRESSES = 10_000

    def __init__(
        self, clock: Clock, *, limit: int = 10, window: timedelta = timedelta(minutes=1)
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()

    def check(self, address: str) -> None:
        """Refuse an address that failed too often.

        Raises:
            TooBusy: nothing was looked at; the text says how long to wait.
        """
        failures = self._failures.get(address)
        if failures is None:
            return
        while failures and failures[0] <= self._clock() - self._window:
            failures.popleft()
        if not failures:
            del self._failures[address]
        elif len(failures) >= self._limit:
            raise TooBusy(
                f"too many failed logins; try again in {self._window.total_seconds():.0f} s"
            )

    def failed(self, address: str) -> None:
        """Note one failure."""
        failures = self._failures.setdefault(address, deque(maxlen=self._limit))
        failures.append(self._clock())
        self._failures.move_to_end(address)
        if len(self._failures) > self.ADDRESSES:
            self._failures.popitem(last=False)
