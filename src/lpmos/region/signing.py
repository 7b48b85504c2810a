"""What the clients of one region sign, and how each of them knows the others' signatures.

Each client has an Ed25519 key of its own (RFC 8032) in a file that only it can read; its public
half stands in the store, so that the other client takes what this one has signed, also after a
failover and without the store. The rule: what was signed as one kind is nothing as any other kind,
and what a signature covers is the bytes that were sent, never what they are decoded to.

A token is `KEY.PAYLOAD.SIGNATURE`: the id of the key and two parts in unpadded base64url
(RFC 4648, section 5). It tells its reader everything and nobody else anything it must not know:
what is in it is signed, not sealed.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import msgspec
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lpmos.model.errors import LpmosError, SettingsError
from lpmos.store import keys, records
from lpmos.store.api import KV, Delete, Operation, Put, Store, StoreError

FILE_NAME = "agent.key"
TOKEN_LIMIT_CHARACTERS = 1024
VERIFIED_KEPT = 4096
"""Tokens whose signature is not verified again with each call: one for each agent."""
PUBLISH_RETRY_S = 2.0
PUBLISH_TIMEOUT_S = 5.0

_SEED_BYTES = 32
_DOMAIN = b"lpmos region token 1\0"
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_TOKEN = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{1,900})\.([A-Za-z0-9_-]{86})")


class BadToken(LpmosError):
    """A token that no client of this region has signed as this kind; the text says no more."""

    code = "bad-token"


class PublicKey(msgspec.Struct, frozen=True):
    """The public half of one client's key, as it stands in the store (base64url, unpadded)."""

    client: str
    public: str


class Signer:
    """One client's own key."""

    def __init__(self, private: Ed25519PrivateKey, client: str) -> None:
        raw = private.public_key().public_bytes_raw()
        self._private = private
        self.public = PublicKey(client, _encoded(raw))
        self.key_id = _key_id(raw)

    @classmethod
    def load(cls, path: Path, client: str) -> "Signer":
        """The key of a file, which is made where it is not there; blocks on the disk.

        Args:
            path: the file: 32 bytes, which nobody else may read.
            client: this client's name among those of its region.

        Raises:
            SettingsError: it cannot be read or made, is none, or others may read it.
        """
        try:
            if not path.exists():  # a full disk keeps no client with a key from starting
                with contextlib.suppress(FileExistsError):
                    _make(path)
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                seed = file.read(_SEED_BYTES + 1)
        except OSError as error:
            raise SettingsError(f"cannot use the key {path}: {error.strerror}") from error
        if mode & 0o077:
            raise SettingsError(
                f"others may read the key {path}: remove it (a new one is made, and machines that"
                " boot now boot once more), or `chmod 600` it if you know that nobody has"
            )
        if len(seed) != _SEED_BYTES:
            raise SettingsError(f"{path} is no key: remove it, and a new one is made")
        return cls(Ed25519PrivateKey.from_private_bytes(seed), client)

    def sign(self, kind: str, payload: bytes) -> str:
        """The payload as a token of this kind; the same payload always gives the same token."""
        signature = self._private.sign(_signed(kind, payload))
        return f"{self.key_id}.{_encoded(payload)}.{_encoded(signature)}"


class Signers:
    """The clients of one region, by their public keys; its own client's is always known."""

    def __init__(self, own: Signer, stored: Callable[[str], KV | None], *, idc: str) -> None:
        """`stored` gives a key of the store as it is known here."""
        self._own = own
        self._stored = stored
        self._idc = idc
        self._verified = lru_cache(VERIFIED_KEPT)(_payload)

    def verify(self, kind: str, token: str) -> bytes:
        """The payload of a token.

        Raises:
            BadToken: it is none, or none of this kind and region.
        """
        if len(token) > TOKEN_LIMIT_CHARACTERS:
            raise BadToken("this is no token of a region")
        return self._verified(self._public(token.partition(".")[0]), kind, token)

    def verify_from(self, kind: str, token: str) -> tuple[str, bytes]:
        """The client that has signed a token, and the payload; raises as `verify`."""
        payload = self.verify(kind, token)
        key_id = token.partition(".")[0]
        if key_id == self._own.key_id:
            return self._own.public.client, payload
        kv = self._stored(keys.signer(self._idc, key_id))
        client = _client_of(kv) if kv else None
        if client is None:
            raise BadToken("the token was signed with a key that is not of this region")
        return client, payload

    async def publish(self, store: Store) -> None:
        """Have the own public key in the store, and no older one of this client; then end.

        It goes on until the store has it; `store` is one that a standby may write to.
        """
        while not await self._is_put(store):  # noqa: ASYNC110 - the store is asked again
            await asyncio.sleep(PUBLISH_RETRY_S)

    async def _is_put(self, store: Store) -> bool:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._put(store)
        except (StoreError, OSError, TimeoutError) as error:
            structlog.get_logger().debug("the public key is not stored yet", why=str(error))
            return False
        return True

    async def _put(self, store: Store) -> None:
        own_key = keys.signer(self._idc, self._own.key_id)
        wanted = records.encode(self._own.public)
        changes: list[Operation] = [Put(own_key, wanted)]
        page = await store.range(keys.signer(self._idc, ""))
        for kv in page.kvs:
            if kv.key == own_key:
                changes = [] if kv.value == wanted else changes
            elif _client_of(kv) == self._own.public.client:
                changes.append(Delete(kv.key))
        if changes:
            await store.txn([], changes)

    def _public(self, key_id: str) -> str:
        """The key as it is known now: what one that was removed has signed is nothing."""
        if key_id == self._own.key_id:
            return self._own.public.public
        kv = self._stored(keys.signer(self._idc, key_id)) if _KEY_ID.fullmatch(key_id) else None
        if kv is None:
            raise BadToken("the token was signed with a key that is not of this region")
        try:
            return records.decode(kv, PublicKey).public
        except records.DamagedRecord:
            raise BadToken("the token's key is damaged in the store") from None


def _payload(public: str, kind: str, token: str) -> bytes:
    """The payload of a token that this key has signed; raises as `Signers.verify`."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise BadToken("this is no token of a region")
    key_id, payload_text, signature_text = match.groups()
    payload, signature, raw = map(_decoded, (payload_text, signature_text, public))
    if _key_id(raw) != key_id:
        raise BadToken("the token was signed with a key that is not of this region")
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, _signed(kind, payload))
    except InvalidSignature:
        raise BadToken("the token's signature is wrong") from None
    return payload


def _make(path: Path) -> None:
    """Write a new key beside and link it in, whole or not at all; raises where one is there."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_SEED_BYTES))
            file.flush()
            os.fsync(descriptor)
        os.link(new, path)
    finally:
        new.unlink()


def _signed(kind: str, payload: bytes) -> bytes:
    return b"".join((_DOMAIN, kind.encode(), b"\0", payload))


def _key_id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _client_of(kv: KV) -> str | None:
    try:
        return records.decode(kv, PublicKey).client
    except records.DamagedRecord:
        return None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """The bytes; of all texts that could mean the same only the one that is written here.

    Raises:
        BadToken: it is another.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadToken("this is no token of a region") from None
    if _encoded(data) != text:
        raise BadToken("this is no token of a region")
    return data
