"""Work that is done once for all who ask at the same time: for each a run that began after it."""

import asyncio

import pytest

from lpmos.region.joined import Joined

TIMEOUT_S = 30


class Work:
    """Counts its runs; each waits until it is let go."""

    def __init__(self) -> None:
        self.runs = 0
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.joined = Joined(self.work)

    async def work(self) -> None:
        self.runs += 1
        self.began.set()
        await self.go.wait()

    async def asked(self, callers: int) -> list[asyncio.Task[None]]:
        """So many who ask while the first run is under way; and before them who began it."""
        async with asyncio.timeout(TIMEOUT_S):
            first = asyncio.create_task(self.joined.run())
            await self.began.wait()
            self.began.clear()
            others = [asyncio.create_task(self.joined.run()) for _ in range(callers)]
            await asyncio.sleep(0)
            return [first, *others]


async def test_run_for_many_who_ask_while_one_is_under_way_is_one_more() -> None:
    work = Work()
    asked = await work.asked(100)
    assert work.runs == 1
    work.go.set()
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*asked)
    assert work.runs == 2


async def test_run_that_fails_is_heard_by_all_who_shared_it_and_the_next_one_runs() -> None:
    results = [OSError("full"), None]

    async def work() -> None:
        if error := results.pop(0):
            raise error

    joined = Joined(work)
    found = await asyncio.gather(*(joined.run() for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in found] == ["full"] * 3
    await joined.run()
    assert results == []


async def test_run_goes_on_where_one_who_shares_it_is_cancelled() -> None:
    work = Work()
    first, gone, other = await work.asked(2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    work.go.set()
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(first, other)
    assert work.runs == 2
