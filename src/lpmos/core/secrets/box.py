"""Secrets as they may stand in the store: sealed by envelope encryption, bound to their place.

Each secret is encrypted with a data key of its own, and that key is wrapped by a master key of the
ring; both with AES-256-GCM (NIST SP 800-38D) under random nonces. So a rotation only wraps the data
key anew, and never sees the secret. `context` says where the sealed text stands: `context(key,
field)` of the store's key and the document's field; sealed text that was moved does not open.

    sealed:v1:KEY_ID:base64url(wrap nonce 12 · wrapped data key 48 · nonce 12 · ciphertext · tag 16)

Documents with sealed fields are named in a `SealedFields`, so that a rotation finds them.
"""

import asyncio
import base64
import binascii
import os
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lpmos.core.secrets.keyring import KEY_BYTES, KeyRing
from lpmos.model.errors import DamagedSecret, UnknownKey

MARK = "sealed:v1:"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_WRAPPED_BYTES = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES


class SealedFields(NamedTuple):
    """Where sealed text stands: top-level fields of the documents whose keys begin with `prefix`.

    `{idc}` in a prefix stands for every data center. A field is sealed text, or absent or null. Its
    context is `context(key, field)`.
    """

    prefix: str
    fields: tuple[str, ...]


class SecretBox:
    """Seals and opens with a ring; the ring and the current key may be replaced at any time.

    `unknown` is set where a key was missing: whoever keeps the ring reads it again then.
    """

    def __init__(self, ring: KeyRing, current: str | None = None) -> None:
        """`current` is the key to seal with; the oldest where None."""
        self.ring = ring
        self.current = current or ring.oldest
        self.unknown = asyncio.Event()

    def seal(self, text: str, context: str) -> str:
        """The sealed text.

        Raises:
            UnknownKey: the current key is not in the ring.
        """
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        body = _encrypt(data_key, text.encode(), _body_data(context))
        return self._sealed(data_key, body, context)

    def open(self, sealed: str, context: str) -> str:
        """The secret itself.

        Raises:
            UnknownKey: it is sealed with a key that is not in the ring.
            DamagedSecret: it was changed, or was sealed for another context.
        """
        data_key, body = self._unwrapped(sealed, context)
        return _decrypt(data_key, body, _body_data(context), context).decode()

    def rewrap(self, sealed: str, context: str) -> str:
        """The same secret under the current key; the same text where it is already.

        Raises:
            UnknownKey: one of the two keys is not in the ring.
            DamagedSecret: it was changed, or was sealed for another context.
        """
        if key_id(sealed) == self.current:
            return sealed
        return self._sealed(*self._unwrapped(sealed, context), context)

    def _sealed(self, data_key: bytes, body: bytes, context: str) -> str:
        master = self._master(self.current)
        wrapped = _encrypt(master, data_key, _wrap_data(self.current, context))
        return f"{MARK}{self.current}:{base64.urlsafe_b64encode(wrapped + body).decode()}"

    def _unwrapped(self, sealed: str, context: str) -> tuple[bytes, bytes]:
        name, parts = _parsed(sealed, context)
        wrapped, body = parts[:_WRAPPED_BYTES], parts[_WRAPPED_BYTES:]
        data_key = _decrypt(self._master(name), wrapped, _wrap_data(name, context), context)
        return data_key, body

    def _master(self, name: str) -> bytes:
        try:
            return self.ring.key(name)
        except UnknownKey:
            self.unknown.set()
            raise


def context(key: str, field: str) -> str:
    """What a sealed text is bound to: the store's key of its document, and its field there."""
    return f"{key}#{field}"


def key_id(sealed: str) -> str:
    """The id of the key that a text is sealed with; empty where it is no sealed text."""
    if not sealed.startswith(MARK):
        return ""
    return sealed[len(MARK) :].partition(":")[0]


def _parsed(sealed: str, context: str) -> tuple[str, bytes]:
    name, _, encoded = sealed.removeprefix(MARK).partition(":")
    try:
        parts = base64.b64decode(encoded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        parts = b""
    if not sealed.startswith(MARK) or len(parts) < _WRAPPED_BYTES + _NONCE_BYTES + _TAG_BYTES:
        raise _damaged(context)
    return name, parts


def _encrypt(key: bytes, text: bytes, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, data)


def _decrypt(key: bytes, parts: bytes, data: bytes, context: str) -> bytes:
    try:
        return AESGCM(key).decrypt(parts[:_NONCE_BYTES], parts[_NONCE_BYTES:], data)
    except InvalidTag:
        raise _damaged(context) from None


def _wrap_data(key_id: str, context: str) -> bytes:
    return f"{MARK}key:{key_id}:{context}".encode()


def _body_data(context: str) -> bytes:
    return f"{MARK}text:{context}".encode()


def _damaged(context: str) -> DamagedSecret:
    return DamagedSecret(
        f"the sealed value of {context} was changed or belongs elsewhere: set it anew"
    )
