"""Leases, each kept alive by a task of its own until revoked or lost.

The rule: a lease is judged by the local monotonic clock from when the last answered keep-alive was
sent, so it counts as lost here before the server can end it. A keep-alive is sent at a third of
the time to live; each attempt has a quarter of it, and goes to the next endpoint when it fails.
"""

import asyncio
import logging
import time

from lpmos.store.api import InvalidRequest, LeaseNotFound, StoreError, Unavailable
from lpmos.store.etcd import wire
from lpmos.store.etcd.client import Client

RETRY_PAUSE_S = 0.1

_log = logging.getLogger(__name__)


async def grant(client: Client, ttl_s: int) -> "EtcdLease":
    """See `Store.grant`; etcd raises a `ttl_s` below about 2 s to its own least.

    Repeated where the answer was lost: a lease that nobody knows of ends by itself.
    """
    if ttl_s < 1:
        raise InvalidRequest(f"a lease lives for at least a second, not {ttl_s}")
    sent_at = time.monotonic()
    answer = await client.call(wire.LEASE_GRANT, wire.LEASE_GRANT.request(TTL=ttl_s))
    if time.monotonic() >= sent_at + answer.TTL:
        raise Unavailable(f"the store took longer than {answer.TTL} s to grant a lease")
    return EtcdLease(client, answer.ID, answer.TTL, sent_at)


class EtcdLease:
    """See `lpmos.store.api.Lease`."""

    def __init__(self, client: Client, lease_id: int, ttl_s: int, sent_at: float) -> None:
        self._client = client
        self._id = lease_id
        self._ttl_s = ttl_s
        self._sent_at = sent_at
        self._deadline = sent_at + ttl_s
        self._lost = asyncio.Event()
        self._task = client.start(self._run())

    @property
    def id(self) -> int:
        """See `Lease.id`."""
        return self._id

    @property
    def deadline(self) -> float:
        """See `Lease.deadline`."""
        return self._deadline

    @property
    def lost(self) -> asyncio.Event:
        """See `Lease.lost`; a process that was stopped finds it set before its timers have run."""
        if time.monotonic() >= self._deadline:
            self._lost.set()
        return self._lost

    async def revoke(self) -> None:
        """See `Lease.revoke`."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._client.call(wire.LEASE_REVOKE, wire.LEASE_REVOKE.request(ID=self._id))
        except LeaseNotFound:
            _log.debug("lease %x had ended before it was revoked", self._id)

    async def _run(self) -> None:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._ttl_s) as end:
                while not self.lost.is_set():
                    await asyncio.sleep(self._sent_at + self._ttl_s / 3 - time.monotonic())
                    await self._keep_alive()
                    end.reschedule(
                        asyncio.get_running_loop().time() + self._deadline - time.monotonic()
                    )
        except TimeoutError:
            _log.warning("lease %x was not kept alive in time and is lost", self._id)
        except LeaseNotFound:
            _log.warning("lease %x has ended at the store", self._id)
        finally:
            self._lost.set()

    async def _keep_alive(self) -> None:
        """Send keep-alives until one is answered."""
        attempt_s = self._ttl_s / 4
        request = wire.LEASE_KEEP_ALIVE.request(ID=self._id)
        while True:
            endpoint = self._client.endpoint
            sent_at = time.monotonic()
            try:
                async with asyncio.timeout(attempt_s):
                    answer = await self._client.attempt(
                        endpoint, wire.LEASE_KEEP_ALIVE, request, timeout_s=attempt_s
                    )
                break
            except (StoreError, TimeoutError) as error:
                _log.info("keep-alive of lease %x failed at %s: %s", self._id, endpoint.url, error)
                self._client.leave(endpoint)
            await asyncio.sleep(RETRY_PAUSE_S)
        if answer.TTL <= 0:
            raise LeaseNotFound(f"lease {self._id:x} has ended")
        self._sent_at, self._deadline = sent_at, sent_at + answer.TTL
