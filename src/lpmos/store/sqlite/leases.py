"""How long leases live: each ends when its time is up, and its keys go with it.

The database knows that a lease exists, this module when it ends, so that keeping one alive writes
nothing. A lease that this process holds is renewed at a third of its TTL. A process that stood
still for longer than the TTL finds its leases ended, as it would with a store on another machine.
A lease found in the file at the start has nobody to renew it and ends one TTL later.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from lpmos.store.api import LeaseNotFound, StoreError

RETRY_S = 1.0
LONGEST_WAIT_S = 1.0

Clock = Callable[[], float]
Revoke = Callable[[int], Awaitable[object]]


class HeldLease:
    """A lease that this process keeps alive; see `lpmos.store.api.Lease`."""

    def __init__(self, id_: int, ttl_s: int, deadline: float, revoke: Revoke) -> None:
        self._id = id_
        self.ttl_s = ttl_s
        self._deadline = deadline
        self._lost = asyncio.Event()
        self._revoke = revoke

    @property
    def id(self) -> int:
        """The lease's id."""
        return self._id

    @property
    def lost(self) -> asyncio.Event:
        """Set once the lease has ended."""
        return self._lost

    @property
    def deadline(self) -> float:
        """Until when the lease surely lives, by the store's clock."""
        return self._deadline

    def renew(self, now: float) -> None:
        """Let it live for another TTL from `now`."""
        self._deadline = now + self.ttl_s

    async def revoke(self) -> None:
        """End the lease now, with its keys; no error where it has ended already."""
        self._lost.set()
        with contextlib.suppress(LeaseNotFound):
            await self._revoke(self._id)


class LeaseTimes:
    """When each lease is to be renewed and when it ends; no I/O, the time is an argument."""

    def __init__(self, restored: dict[int, int], now: float) -> None:
        self._held: dict[int, HeldLease] = {}
        self._ends = {id_: now + ttl_s for id_, ttl_s in restored.items()}

    def hold(self, lease: HeldLease) -> None:
        """Keep a new lease alive."""
        self._held[lease.id] = lease
        self._ends[lease.id] = lease.deadline

    def forget(self, id_: int) -> None:
        """The lease has ended."""
        self._ends.pop(id_, None)
        if lease := self._held.pop(id_, None):
            lease.lost.set()

    def renew(self, now: float) -> None:
        """Renew every held lease of which a third or more has passed and that still lives."""
        for lease in self._held.values():
            due = lease.deadline - lease.ttl_s * 2 / 3
            if due <= now < lease.deadline and not lease.lost.is_set():
                lease.renew(now)
                self._ends[lease.id] = lease.deadline

    def ended(self, now: float) -> list[int]:
        """The leases whose time is up; their holders are told at once."""
        over = [id_ for id_, end in self._ends.items() if end <= now]
        for id_ in over:
            if lease := self._held.pop(id_, None):
                lease.lost.set()
        return over

    def next_due(self, now: float) -> float:
        """Seconds until there is something to renew or to end."""
        due = [lease.deadline - lease.ttl_s * 2 / 3 for lease in self._held.values()]
        due += [end for id_, end in self._ends.items() if id_ not in self._held]
        return max(0.0, min(due, default=now + LONGEST_WAIT_S) - now)

    def end_all(self) -> None:
        """This process holds no lease any more; they live on in the file."""
        for lease in self._held.values():
            lease.lost.set()
        self._held.clear()
        self._ends.clear()


class LeaseKeeper:
    """Renews and ends leases for as long as `run` runs."""

    def __init__(self, restored: dict[int, int], clock: Clock, revoke: Revoke) -> None:
        self._clock = clock
        self._revoke = revoke
        self._times = LeaseTimes(restored, clock())
        self._changed = asyncio.Event()

    def hold(self, id_: int, ttl_s: int, granted_from: float) -> HeldLease:
        """Keep alive a lease that was asked for at `granted_from`."""
        lease = HeldLease(id_, ttl_s, granted_from + ttl_s, self.revoke)
        self._times.hold(lease)
        self._changed.set()
        return lease

    async def revoke(self, id_: int) -> None:
        """End a lease in the store and here.

        Raises:
            LeaseNotFound: it has ended already.
        """
        try:
            await self._revoke(id_)
        except LeaseNotFound:
            self._times.forget(id_)
            raise
        self._times.forget(id_)

    async def run(self) -> None:
        """Renew and end leases for ever."""
        try:
            while True:
                await self._turn()
        finally:
            self._times.end_all()

    async def _turn(self) -> None:
        now = self._clock()
        ended = self._times.ended(now)
        self._times.renew(now)
        wait_s = min(LONGEST_WAIT_S, self._times.next_due(now))
        for id_ in ended:
            try:
                await self.revoke(id_)
            except LeaseNotFound:
                continue
            except StoreError:  # a full disk, say: the lease stays ended and is tried again
                wait_s = RETRY_S
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
