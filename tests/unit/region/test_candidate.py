"""A candidate that the store refused, and that may not stand to learn whether it has room again."""

import asyncio
from pathlib import Path

from lpmos.region.candidate import Candidate
from lpmos.store.api import Lease
from lpmos.store.election import ELECTIONS
from lpmos.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore
from tests.support.polling import until


class AskedStore(FaultyStore):
    """Counts how often it was asked for a lease."""

    asked = 0

    async def grant(self, ttl_s: int) -> Lease:
        self.asked += 1
        return await super().grant(ttl_s)


async def test_refused_that_may_not_stand_is_so_until_the_store_has_room(tmp_path: Path) -> None:
    embedded = await SqliteStore.open(tmp_path / "store.db")
    store = AskedStore(embedded)
    store.full = True
    candidate = Candidate(
        store, "region-dc1", "a:1:x", 3, waits_s=lambda: 0.01, changed=lambda: None
    )
    candidate.refused = True
    standing = asyncio.create_task(candidate.run())

    async def asked_twice() -> bool:
        return store.asked > 1

    async def has_room() -> bool:
        return not candidate.refused

    await until(asked_twice)
    assert candidate.refused
    store.full = False
    await until(has_room)
    standing.cancel()
    await asyncio.gather(standing, return_exceptions=True)
    assert (await embedded.range(ELECTIONS)).kvs == ()
    await embedded.close()
