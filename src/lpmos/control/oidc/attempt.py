"""A login under way at an identity provider: kept in the browser itself, sealed, for ten minutes.

So any control plane can end what another began, and nothing is kept for logins that never end. Only
control planes can read or make a sealed attempt: they share the key that this one is derived from.
"""

import base64
import binascii
import re
import secrets
from datetime import datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lpmos.control.auth import TokenSigner
from lpmos.core.clock import Clock
from lpmos.model.errors import Unauthenticated

LIFETIME = timedelta(minutes=10)
PURPOSE = "oidc login"
SEALED_CHARACTERS = 4000
"""What browsers keep in one cookie (RFC 6265 section 6.1), less its name and attributes."""

PATH_CHARACTERS = 512
HOME = "/"
NOT_BEGUN = "this login was not begun in this browser, or too long ago; start again"

_NONCE_BYTES = 12
_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of a login is compared with; `following` is where its browser goes then."""

    state: str
    nonce: str
    verifier: str
    following: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Attempt({self.expires_at})"


class Attempts:
    """Begins attempts, and opens what browsers bring back."""

    def __init__(self, signer: TokenSigner, clock: Clock) -> None:
        self._cipher = AESGCM(signer.derived_key(PURPOSE))
        self._clock = clock

    def begin(self, following: str | None) -> Attempt:
        """A new attempt; after it the browser goes to `following`, if that is a path of ours."""
        return Attempt(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),  # RFC 7636 section 4.1: 43 to 128 characters
            following=own_path(following),
            expires_at=self._clock() + LIFETIME,
        )

    def seal(self, attempt: Attempt) -> str:
        """The attempt as text that nobody else can read or change."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(attempt), PURPOSE.encode())
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, sealed: str) -> Attempt:
        """The attempt in a cookie.

        Raises:
            Unauthenticated: there is none, or it is over.
        """
        sealed = sealed[:SEALED_CHARACTERS]
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            text = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], PURPOSE.encode())
            attempt = msgspec.json.decode(text, type=Attempt)
        except (ValueError, binascii.Error, InvalidTag, msgspec.DecodeError):
            raise Unauthenticated(NOT_BEGUN) from None
        if attempt.expires_at <= self._clock():
            raise Unauthenticated(NOT_BEGUN)
        return attempt


def own_path(path: str | None) -> str:
    """The path, where a browser that follows it stays with us; else the first page.

    What a browser could take for another host (`//host`, a backslash) or cuts out before it looks
    (control characters; WHATWG URL section 4.4) is no path of ours.
    """
    if path is None or len(path) > PATH_CHARACTERS or not _OWN_PATH.fullmatch(path):
        return HOME
    return path
