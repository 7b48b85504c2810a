"""What of the store goes into a backup: everything of LPMOS at one revision, but what only lives.

Left out is what is bound to a lease (heartbeats, agents' leases, leaders), for it says who is alive
now; and sessions, for one that was ended after the backup must not live again: people sign in anew.
"""

from collections.abc import AsyncIterator, Iterable

from lpmos.core.backup.form import Record
from lpmos.model.audit import Anchor, Head
from lpmos.store import keys, records
from lpmos.store.api import KV, Store

SESSIONS = keys.control("sessions")
PREFIXES = (keys.ROOT, keys.AUDIT, keys.MIGRATED)
"""Where all that is LPMOS's stands, but for the elections."""


class Content:
    """The records of a store at one revision, which is known with the first of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.revision = 0

    async def pages(self) -> AsyncIterator[list[Record]]:
        """All records, in the same order for equal stores.

        Raises:
            Compacted: it took so long that the revision is gone.
            Unavailable, PermissionDenied: as the store's calls.
        """
        async for page in self._store.list(keys.ROOT):
            self.revision = page.revision
            yield kept(page.kvs)
        async for kvs in self._audit():
            yield kept(kvs)
        yield kept(await self._under(keys.MIGRATED))

    async def _audit(self) -> AsyncIterator[tuple[KV, ...]]:
        """The audit log by the hundred: as a whole it may be larger than memory.

        Where its ends cannot be read, it is read as a whole all the same.
        """
        head, anchor = await self._at(keys.AUDIT_HEAD), await self._at(keys.AUDIT_ANCHOR)
        yield tuple(kv for kv in (anchor, head) if kv is not None)
        try:
            last = records.decode(head, Head).seq if head else 0
            first = records.decode(anchor, Anchor).first_seq if anchor else 1
        except records.DamagedRecord:
            yield await self._under(keys.AUDIT_ENTRIES)
            yield await self._under(keys.AUDIT_DAMAGED)
            return
        for number in range(first // keys.AUDIT_CHUNK, last // keys.AUDIT_CHUNK + 1):
            yield await self._under(keys.audit_chunk(number))
        yield await self._under(keys.AUDIT_DAMAGED)

    async def _at(self, key: str) -> KV | None:
        return await self._store.get(key, revision=self.revision)

    async def _under(self, prefix: str) -> tuple[KV, ...]:
        return (await self._store.range(prefix, revision=self.revision)).kvs


def kept(kvs: Iterable[KV]) -> list[Record]:
    """The records that a backup keeps of these."""
    return [
        Record(kv.key, kv.value) for kv in kvs if not kv.lease and not kv.key.startswith(SESSIONS)
    ]
