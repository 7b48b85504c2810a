"""The keys of secrets, kept in memory."""

from lpmos.core.secrets.keyring import KeyRing

KEY_ID = "first"


class KeptKeys:
    """A provider whose ring several control planes of one test may share."""

    def __init__(self) -> None:
        self.ring = KeyRing({KEY_ID: b"k" * 32}, "the test's keys")

    async def read(self) -> KeyRing:
        """The ring."""
        return self.ring

    async def add(self, key_id: str, key: bytes) -> KeyRing:
        """Add a key."""
        self.ring = self.ring.with_key(key_id, key)
        return self.ring

    async def remove(self, key_id: str) -> KeyRing:
        """Take a key away."""
        self.ring = self.ring.without(key_id)
        return self.ring
