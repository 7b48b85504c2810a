"""Two clients of one region while the store is away: one goes on by the other's promise."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lpmos.model.promises import GRACE_S, PROMISE_S
from lpmos.region.standby import TTL_S
from lpmos.store import keys
from tests.support.builders import actor, make_spec
from tests.support.region import until
from tests.support.region_pair import (
    IDC,
    IMAGE_BYTES,
    LPMOS,
    PORT,
    SERVICE_ADDRESS,
    START_TIMEOUT_S,
    TAKE_OVER_S,
    Client,
    Pair,
)

PROMISED_S = PROMISE_S + GRACE_S
BY_PROMISE = "by=promise"
BY_LEASE = "by=lease"
AGAIN_S = 25.0
"""By when a region whose store is back is led by a lease again."""
INSTALL_S = 14
INSTALL_TIMEOUT_S = 90.0
LONGEST_GAP_S = 1.5
"""A moment of a busy machine; a takeover that went wrong takes seconds."""


class Record:
    """Who served when, as the machine and the hosts saw it twenty times a second."""

    def __init__(self) -> None:
        self.both: list[list[str]] = []
        self.longest_gap_s = 0.0
        self._served_at = time.monotonic()

    async def look(self, regions: Pair) -> None:
        while True:
            if doubled := await regions.doubled():
                self.both.append(doubled)
            if await regions.answers(SERVICE_ADDRESS) == 200:
                self._served_at = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, time.monotonic() - self._served_at)
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def recorded(regions: Pair) -> AsyncIterator[Record]:
    """Nobody serves twice in the block; the record says how long nobody did."""
    record = Record()
    looking = asyncio.create_task(record.look(regions))
    try:
        yield record
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert not record.both


async def cut_off(regions: Pair) -> None:
    await asyncio.gather(regions.a.proxy.cut(), regions.b.proxy.cut())


async def heal(regions: Pair) -> None:
    await asyncio.gather(regions.a.proxy.heal(), regions.b.proxy.heal())


async def says(client: Client, text: str, since: int = 0, timeout_s: float = AGAIN_S) -> None:
    def said() -> bool:
        return text in client.log[since:]

    await until(said, f"{client.name} to say {text!r}", timeout_s)


async def goes_on_by_promise(regions: Pair) -> None:
    """Cut both off and wait until the first goes on by the other's promise."""
    since = len(regions.a.log)
    await cut_off(regions)
    await says(regions.a, BY_PROMISE, since, 2 * TTL_S)


async def speaks(regions: Pair, client: Client) -> None:
    """Wait until the region's heartbeat is this client's, by lease again."""

    async def told() -> bool:
        kv = await regions.store.get(keys.heartbeat(IDC))
        return kv is not None and json.loads(kv.value)["identity"] == client.name

    await until(told, f"{client.name} to speak for the region", AGAIN_S)


@contextmanager
def link_cut(regions: Pair) -> Iterator[Callable[[], None]]:
    """Neither client reaches the other, and machines reach both; the result mends it."""
    regions.block_link()
    try:
        yield regions.unblock_link
    finally:
        regions.unblock_link()


async def test_store_away_for_both_the_active_serves_on_and_hands_in_once(
    regions: Pair, tmp_path: Path
) -> None:
    task = await regions.tasks.create(make_spec(), by=actor("admin"))
    (dnsmasq,) = regions.a.dnsmasq_pids()
    async with installing(regions, task.sn, task.mac) as said:
        await in_state(regions, task.task_id, "pending_approval")
        await regions.tasks.approve(task.task_id, by=actor("admin"), notes=None)
        await in_state(regions, task.task_id, "installing")
        async with recorded(regions) as record:
            await goes_on_by_promise(regions)
            await asyncio.sleep(2 * TTL_S)  # the install ends meanwhile, told to nobody
            assert (await regions.lease("52:54:00:00:00:98", o93="0007"))["siaddr"] == (
                SERVICE_ADDRESS
            )
            health = await regions.health(regions.a)
            assert (health["standing"]["standing"], health["standing"]["by"]) == (
                "active",
                "promise",
            )
            since = len(regions.a.log)
            await heal(regions)
            await says(regions.a, BY_LEASE, since)
            await in_state(regions, task.task_id, "completed")
            await speaks(regions, regions.a)
        assert record.longest_gap_s < LONGEST_GAP_S
    assert said().count("; again in ") <= 1, said()
    assert "; going on there in " not in said(), said()
    assert regions.a.dnsmasq_pids() == [dnsmasq]
    assert await regions.active() == [regions.a]
    assert await regions.audited("task.completed") == 1


async def test_store_away_as_a_black_hole_the_active_serves_on(regions: Pair) -> None:
    async with recorded(regions) as record:
        regions.a.proxy.black_hole()
        regions.b.proxy.black_hole()
        await says(regions.a, BY_PROMISE, 0, 2 * TTL_S)
        await asyncio.sleep(TTL_S)
        assert await regions.active() == [regions.a]
        await heal(regions)
        await says(regions.a, "by=lease", regions.a.log.rindex(BY_PROMISE))
    assert record.longest_gap_s < LONGEST_GAP_S


async def test_store_away_and_link_cut_the_active_stops_in_time(regions: Pair) -> None:
    async with recorded(regions):
        with link_cut(regions) as mend:
            await cut_off(regions)

            async def silent() -> bool:
                gone = not regions.a.dnsmasq_pids() and not await regions.a.has_service_address()
                return gone and not await regions.active()

            await until(silent, "the active one to stop", TTL_S + 2)
            await asyncio.sleep(PROMISED_S)  # nothing shall happen for so long
            assert await silent()
            assert "lpmos region serve-alone" in regions.a.log
            mend()
            await regions.becomes_active(regions.a)  # the one that was active last


async def test_link_cut_while_it_serves_by_promise_ends_it_in_time(regions: Pair) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        with link_cut(regions):

            async def silent() -> bool:
                return not await regions.active()

            await until(silent, "the active one to stop", PROMISE_S + 2)
            await regions.b.proxy.heal()
            await regions.becomes_active(regions.b, PROMISED_S + TAKE_OVER_S)


async def test_suspended_while_it_serves_by_promise_is_silent_and_stays_first(
    regions: Pair,
) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        regions.a.signal(signal.SIGSTOP)

        async def silent() -> bool:
            return not regions.a.dnsmasq_pids() and not await regions.a.has_service_address()

        await until(silent, "its guards to end it", PROMISE_S + 2)
        await asyncio.sleep(PROMISED_S)  # the other cannot know that it will not wake
        assert not await regions.active()
        regions.a.signal(signal.SIGCONT)
        await regions.becomes_active(regions.a)


async def test_suspended_while_it_serves_by_promise_and_the_store_back_the_other_takes_over(
    regions: Pair,
) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        regions.a.signal(signal.SIGSTOP)
        await heal(regions)
        await regions.becomes_active(regions.b, PROMISED_S + TAKE_OVER_S)
        regions.a.signal(signal.SIGCONT)
        await regions.stands_by(regions.a)


async def test_active_restarted_without_the_store_serves_again(regions: Pair) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        regions.a.signal(signal.SIGKILL)
        await regions.a.ended()
        await regions.a.start()
        await regions.becomes_active(regions.a, START_TIMEOUT_S)
        await heal(regions)
        await speaks(regions, regions.a)


async def test_both_restarted_without_the_store_the_one_that_was_active_serves(
    regions: Pair,
) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        for each in (regions.a, regions.b):
            each.signal(signal.SIGKILL)
        for each in (regions.a, regions.b):
            await each.ended()
        await asyncio.gather(regions.b.start(), regions.a.start())
        await regions.becomes_active(regions.a, START_TIMEOUT_S)


async def test_active_killed_without_the_store_the_other_serves_when_told_to(
    regions: Pair,
) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        regions.a.signal(signal.SIGKILL)
        await asyncio.sleep(PROMISED_S + 3)  # it shall not take over by itself
        assert not await regions.active()
        assert "lpmos region serve-alone" in regions.b.log
        serving = await asyncio.create_subprocess_exec(
            *(str(LPMOS), "region", "serve-alone", "--state-dir", str(regions.b.place)),
            *("--off", "a", "--yes"),
            stdout=asyncio.subprocess.PIPE,
        )
        await serving.communicate()
        assert serving.returncode == 0
        await regions.becomes_active(regions.b)
        await regions.a.start()  # it was only said to be off
        await asyncio.sleep(PROMISED_S)
        assert await regions.active() == [regions.b]
        await heal(regions)
        await speaks(regions, regions.b)
    assert await regions.audited("region.serve_alone") == 1


async def test_store_back_for_the_standby_only_it_takes_over(regions: Pair) -> None:
    async with recorded(regions):
        await goes_on_by_promise(regions)
        await regions.b.proxy.heal()
        await regions.becomes_active(regions.b, 15 + 2 * PROMISED_S)
        await regions.a.proxy.heal()
        await regions.stands_by(regions.a)


@contextlib.asynccontextmanager
async def installing(regions: Pair, sn: str, mac: str) -> AsyncIterator[Callable[[], str]]:
    """An agent of the machine at work; the result gives what it said."""
    place = regions.a.place.parent / "agent.log"
    with place.open("wb") as log:
        agent = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net=/proc/{regions.machine_pid}/ns/net", "--", sys.executable),
            *("-m", "lpmos.agent", "--simulate", "--sn", sn, "--mac", mac),
            *("--regional-url", f"http://{SERVICE_ADDRESS}:{PORT}"),
            *("--speed-mbit", str(IMAGE_BYTES * 8 / 1e6 / INSTALL_S)),
            stdout=log,
            stderr=log,
        )
    try:
        yield place.read_text
    finally:
        if agent.returncode is None:
            agent.kill()
        await agent.wait()


async def in_state(regions: Pair, task_id: str, status: str) -> None:
    def there() -> bool:
        task = regions.fleet.task(task_id)
        return task is not None and task.status.value == status

    await until(there, f"the task to be {status}", INSTALL_TIMEOUT_S)
