"""Who leads: an election over leases and revisions that needs nothing but the store's interface.

Each candidate writes a key of its own under the election's name, bound to its lease. The key
created first leads; each other candidate waits until every key created before its own is gone.
The fence compares the create revision of the leader's key, which no other key ever has: so a
write that carries it fails once the lease has ended, however late it arrives.
"""

import asyncio

from lpmos.store.api import Ambiguous, Compare, Lease, LeaseNotFound, Put, Store, Unavailable

ELECTIONS = "/os-election/"
RETRY_S = 1.0


class LeaseLeadership:
    """A leadership that lives as long as its lease."""

    def __init__(self, lease: Lease, key: str, create_revision: int) -> None:
        self._lease = lease
        self._fence = (Compare(key, "create", "=", create_revision),)

    @property
    def fence(self) -> tuple[Compare, ...]:
        """Compares that hold only while this leadership does."""
        return self._fence

    @property
    def lost(self) -> asyncio.Event:
        """Set once the leadership may have ended."""
        return self._lease.lost

    @property
    def deadline(self) -> float:
        """The `time.monotonic()` until which nobody else can be elected."""
        return self._lease.deadline

    async def resign(self) -> None:
        """Give way to the next candidate now."""
        await self._lease.revoke()


async def elect(store: Store, name: str, identity: str, ttl_s: int) -> LeaseLeadership:
    """Wait until this candidate leads `name`; cancel to stop waiting.

    The leader's key has `identity` as its value. A candidate whose lease is lost while it waits
    stands again with a new one.
    """
    while True:
        lease = await store.grant(ttl_s)
        try:
            leadership = await _stand(store, lease, f"{ELECTIONS}{name}/", identity)
        except BaseException:
            await _withdraw(lease)
            raise
        if leadership is not None:
            return leadership
        await _withdraw(lease)


async def _stand(store: Store, lease: Lease, prefix: str, identity: str) -> LeaseLeadership | None:
    """The leadership once it is won; None where the lease was lost before."""
    turn = asyncio.create_task(_campaign(store, lease, prefix, identity))
    lost = asyncio.create_task(lease.lost.wait())
    try:
        await asyncio.wait((turn, lost), return_when=asyncio.FIRST_COMPLETED)
        return turn.result() if turn.done() and not lease.lost.is_set() else None
    except (LeaseNotFound, Ambiguous):
        return None
    finally:
        turn.cancel()
        lost.cancel()
        await asyncio.gather(turn, lost, return_exceptions=True)


async def _campaign(store: Store, lease: Lease, prefix: str, identity: str) -> LeaseLeadership:
    key = f"{prefix}{lease.id:016x}"
    put = Put(key, identity.encode(), lease=lease.id)
    created = (await store.txn([Compare(key, "create", "=", 0)], [put])).revision
    while True:
        try:
            page = await store.range(prefix, keys_only=True)
            ahead = {kv.key for kv in page.kvs if kv.create_revision < created}
            if not ahead:
                return LeaseLeadership(lease, key, created)
            await _wait_until_gone(store, prefix, ahead, page.revision + 1)
        except Unavailable:
            await asyncio.sleep(RETRY_S)


async def _wait_until_gone(store: Store, prefix: str, keys: set[str], from_revision: int) -> None:
    """Return when all of `keys` are deleted, or the watch has ended."""
    waiting_for = set(keys)
    async for batch in store.watch(prefix, from_revision=from_revision):
        waiting_for -= {event.kv.key for event in batch.events if event.type == "delete"}
        if not waiting_for:
            return


async def _withdraw(lease: Lease) -> None:
    """Give up the candidacy; where the store cannot be told, the end of the lease does it."""
    try:
        await lease.revoke()
    except (Unavailable, Ambiguous):
        return
