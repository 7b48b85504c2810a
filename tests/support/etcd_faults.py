"""How long faults of an etcd are noticed, and waiting for their end."""

import time

from lpmos.store.api import Ambiguous, Unavailable
from lpmos.store.etcd import EtcdStore
from tests.support.polling import until

DEAD_PEER_S = 15.0  # within which a silent peer is noticed
SOON_S = 20.0  # for what takes a moment on a machine with nothing else to do


async def until_writable(store: EtcdStore, key: str, timeout_s: float = SOON_S) -> None:
    """Write `key`, as soon as that works."""

    async def written() -> bool:
        try:
            await store.put(key, b"")
        except (Unavailable, Ambiguous):
            return False
        return True

    await until(written, timeout_s)


async def until_gone(store: EtcdStore, key: str) -> float:
    """Wait until there is no such key; when that was seen, in seconds of the monotonic clock."""

    async def gone() -> bool:
        return await store.get(key) is None

    await until(gone)
    return time.monotonic()
