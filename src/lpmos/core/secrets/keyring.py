"""The master keys that secrets are sealed with, and where they come from.

A ring never stands in the store: it is read from a provider (a file, Vault) that the operator
guards. The *store* says which of its keys is the current one (`lpmos.core.secrets.rotation`), so
that all control planes seal with the same; where it says nothing, the oldest key is.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from lpmos.model.errors import SettingsError, UnknownKey

KEY_BYTES = 32
"""AES-256."""

KEYS = 100
"""How many keys a ring may have."""

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class KeyRing:
    """Keys by their ids, the oldest first; immutable."""

    def __init__(self, keys: Mapping[str, bytes], source: str) -> None:
        """`source` says in errors where the keys were read.

        Raises:
            SettingsError: no key, too many, an id or a key of the wrong form.
        """
        if not 0 < len(keys) <= KEYS:
            raise SettingsError(f"{source} has {len(keys)} keys; 1 to {KEYS} are needed")
        for key_id, key in keys.items():
            if not _KEY_ID.fullmatch(key_id):
                raise SettingsError(f"{source}: {key_id[:64]!r} is no key id (A-Z, a-z, 0-9, _, -)")
            if len(key) != KEY_BYTES:
                raise SettingsError(
                    f"{source}: the key {key_id} has {len(key)} bytes; it needs {KEY_BYTES}"
                )
        self._keys = dict(keys)
        self.source = source

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Every id, the oldest first."""
        return tuple(self._keys)

    @property
    def oldest(self) -> str:
        """The id of the key that was there first."""
        return self.key_ids[0]

    @property
    def newest(self) -> str:
        """The id of the key that was added last."""
        return self.key_ids[-1]

    def key(self, key_id: str) -> bytes:
        """The key of this id.

        Raises:
            UnknownKey: the ring has none; names it and where it should be.
        """
        key = self._keys.get(key_id)
        if key is None:
            raise UnknownKey(
                f"the key {key_id[:64]} is not in {self.source}: add it there, from the control"
                " plane that has it or from a backup"
            )
        return key

    def items(self) -> tuple[tuple[str, bytes], ...]:
        """Every id with its key, the oldest first."""
        return tuple(self._keys.items())

    def with_key(self, key_id: str, key: bytes) -> "KeyRing":
        """The ring with one more key, the newest; raises as the ring itself."""
        return KeyRing({**self._keys, key_id: key}, self.source)

    def without(self, key_id: str) -> "KeyRing":
        """The ring without one of its keys; raises as the ring itself."""
        kept = {name: key for name, key in self._keys.items() if name != key_id}
        return KeyRing(kept, self.source)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"


class KeysAway(SettingsError):
    """The place of the keys cannot be reached now: try again."""

    code = "keys-away"


class KeyProvider(Protocol):
    """Where the ring is kept. Each call raises `SettingsError` where the place cannot be used."""

    async def read(self) -> KeyRing:
        """The ring as it is there now."""
        ...

    async def add(self, key_id: str, key: bytes) -> KeyRing:
        """Add one key as the newest, atomically; the ring after it."""
        ...

    async def remove(self, key_id: str) -> KeyRing:
        """Take one key away, atomically; the ring after it."""
        ...


def new_key(at: datetime) -> tuple[str, bytes]:
    """A new key, and an id for it that says when it was made."""
    return f"k{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", secrets.token_bytes(KEY_BYTES)
