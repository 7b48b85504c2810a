"""Signed tokens (JWT, RFC 7519): what each is good for, and whether it is ours.

A token is believed only for its signature with the one key and the one algorithm named here; what
its header says of algorithms is never followed. One that was made for one use (`Use`, the claim
`aud`) is nothing for another.
"""

import uuid
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import jwt
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lpmos.core.clock import Clock, utc_now
from lpmos.core.identity.tokens import KEY_TOKEN_LIFETIME
from lpmos.model.access import Role
from lpmos.model.errors import SettingsError, Unauthenticated

ALGORITHM = "HS256"
ISSUER = "lpmos"
KEY_BYTES = 32
"""RFC 7518 section 3.2: a key for HS256 has at least as many bytes as its digest."""

TOKEN_CHARACTERS = 4096
VERIFIED_TOKENS = 4096
"""How many tokens' signatures need not be computed again; only good ones are remembered."""

ACCESS_LIFETIME = timedelta(minutes=15)
INVALID = "the token is not valid"


class Use(StrEnum):
    """What a token is for."""

    ACCESS = "access"
    """A program's bearer token of a session."""
    COOKIE = "cookie"
    """A browser's, of a session."""
    REFRESH = "refresh"
    """For the next access token of a session."""
    KEY = "key"
    """A bearer token of its own: signed by who has the key, without a user or a session."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid token says; `token_id` of a session's token is the session."""

    use: Use
    subject: str
    token_id: str
    roles: tuple[Role, ...] = ()
    expires_at: datetime


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
        self._verified: dict[tuple[str, tuple[Use, ...]], Claims] = {}

    def issue(self, subject: str, role: str, lifetime: timedelta) -> str:
        """A token that is good by itself; `role` is one of `Role`.

        Raises:
            SettingsError: it would last longer than such a token may.
        """
        if not timedelta() < lifetime <= KEY_TOKEN_LIFETIME:
            hours = KEY_TOKEN_LIFETIME / timedelta(hours=1)
            raise SettingsError(f"a token signed with the key lasts at most {hours:.0f} hours")
        expires_at = self._clock() + lifetime
        roles = (Role(role),)
        return self._signed(Use.KEY, subject, str(uuid.uuid4()), expires_at, roles)

    def of_session(self, use: Use, session_id: str, subject: str, expires_at: datetime) -> str:
        """A token of a session; two of them are never the same."""
        return self._signed(use, subject, session_id, expires_at)

    def verify(self, token: str, *uses: Use) -> Claims:
        """What a token says that is for one of `uses`.

        Raises:
            Unauthenticated: it is no such token of ours, or it is over; the text does not say why
                in more detail than its holder may know.
        """
        found = self.read(token, *uses)
        if found.expires_at <= self._clock():
            raise Unauthenticated("the token has expired; get a new one")
        return found

    def read(self, token: str, *uses: Use) -> Claims:
        """What a token says that is for one of `uses`, also where it has expired.

        Raises:
            Unauthenticated: it is no such token of ours.
        """
        if len(token) > TOKEN_CHARACTERS:
            raise Unauthenticated(INVALID)
        found = self._verified.get((token, uses))
        if found is None:
            found = self._verified[token, uses] = self._decoded(token, uses)
            if len(self._verified) > VERIFIED_TOKENS:
                del self._verified[next(iter(self._verified))]
        return found

    def derived_key(self, purpose: str) -> bytes:
        """32 bytes for another purpose, the same on every control plane (HKDF, RFC 5869)."""
        info = f"{ISSUER} {purpose}".encode()
        return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(self._key)

    def _decoded(self, token: str, uses: tuple[Use, ...]) -> Claims:
        # The times are compared with our own clock.
        options = {"require": ["iss", "sub", "aud", "iat", "exp", "jti"], "verify_exp": False}
        options |= {"verify_iat": False, "strict_aud": False}
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=[use.value for use in uses],
                options=options,  # type: ignore[arg-type]
            )
            return _claims(claims, self._clock())
        except (jwt.InvalidTokenError, ValueError, TypeError, KeyError, OverflowError, OSError):
            raise Unauthenticated(INVALID) from None

    def _signed(
        self,
        use: Use,
        subject: str,
        token_id: str,
        expires_at: datetime,
        roles: tuple[Role, ...] = (),
    ) -> str:
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": use.value,
            "sub": subject,
            "iat": int(self._clock().timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(uuid.uuid4()) if use is not Use.KEY else token_id,
        }
        if use is Use.KEY:
            claims["roles"] = [role.value for role in roles]
        else:
            claims["sid"] = token_id
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)


def _claims(claims: dict[str, object], now: datetime) -> Claims:
    """The checked claims; a wrong one raises ValueError, TypeError, KeyError or OverflowError."""
    use = Use(str(claims["aud"]))
    expires_at, issued_at = _time(claims["exp"]), _time(claims["iat"])
    token_id, roles = claims["jti" if use is Use.KEY else "sid"], claims.get("roles", [])
    longest = max(expires_at - issued_at, expires_at - now)
    if use is Use.KEY and (longest > KEY_TOKEN_LIFETIME or not roles):
        raise ValueError
    if not isinstance(token_id, str) or not isinstance(roles, list):
        raise TypeError
    return Claims(
        use=use,
        subject=str(claims["sub"]),
        token_id=token_id,
        roles=tuple(Role(role) for role in roles),
        expires_at=expires_at,
    )


def _time(claim: object) -> datetime:
    if not isinstance(claim, int | float):
        raise TypeError
    return datetime.fromtimestamp(int(claim), UTC)
