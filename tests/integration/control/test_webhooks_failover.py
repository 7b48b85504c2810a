"""Two processes that send notifications over one etcd, and a receiver that counts.

The one that leads is killed, or stopped for longer than its lease, while messages are on their way:
every event arrives, and only what was on its way arrives twice, with the id that it had.
"""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from lpmos.core.clock import Clock, utc_now
from lpmos.model.webhook import DeliveryState, NewWebhook
from lpmos.store.etcd import EtcdStore
from tests.support.builders import actor
from tests.support.etcd import EtcdServer
from tests.support.following import following
from tests.support.notifications import Notifications
from tests.support.notifier import ELECTION
from tests.support.polling import until
from tests.support.receiver import Receiver, receiving, status

TREE = Path(__file__).parents[3]
TIMEOUT_S = 60.0
EVENTS = 60
HELD = 4
NAMES = ("one", "two")

Processes = dict[str, asyncio.subprocess.Process]


class Site(NamedTuple):
    """Everything of a test; `notifications` only looks on."""

    notifications: Notifications[Clock]
    receiver: Receiver
    processes: Processes
    webhook_id: str

    async def leader(self) -> str:
        """Who leads."""
        page = await self.notifications.store.range(ELECTION)
        candidates = sorted(page.kvs, key=lambda kv: kv.create_revision)
        return candidates[0].value.decode() if candidates else ""

    async def until_another_leads(self, than: str) -> None:
        """Wait until another than this one leads."""

        async def led() -> bool:
            return await self.leader() not in ("", than)

        await until(led, TIMEOUT_S)

    async def until_all_sent(self) -> None:
        """Wait until every delivery is noted as sent."""

        async def sent() -> bool:
            index = self.notifications.deliveries.index
            return len(index.of(self.webhook_id, DeliveryState.SENT)) == EVENTS

        await until(sent, TIMEOUT_S)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        etcd = await stack.enter_async_context(EtcdServer())
        receiver = await stack.enter_async_context(receiving())
        store = await EtcdStore.connect([etcd.endpoint])
        stack.push_async_callback(store.close)
        notifications = Notifications[Clock](store, utc_now)
        await stack.enter_async_context(following(notifications.mirror))
        new = NewWebhook(name="hook", url=receiver.url, events=["task.*"])
        made = await notifications.webhooks.create(new, by=actor())
        processes = {}
        for name in NAMES:
            processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.notifier", etcd.endpoint, name, cwd=TREE
            )
            stack.push_async_callback(killed, processes[name])
        yield Site(notifications, receiver, processes, made.held.name)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def killed(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def some_on_their_way(site: Site) -> tuple[list[str], set[str]]:
    """Tell events, of which some arrive and the next are on their way; all ids, and these."""
    event_ids = [(await site.notifications.tell()).event_id for _ in range(EVENTS // 2)]
    await site.receiver.until_received(EVENTS // 2)
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    site.receiver.answer = hang
    event_ids += [(await site.notifications.tell()).event_id for _ in range(EVENTS // 2)]
    await site.receiver.until_received(EVENTS // 2 + HELD)
    return event_ids, set(site.receiver.message_ids[EVENTS // 2 :])


@pytest.mark.slow
async def test_leader_killed_while_sending_loses_nothing_and_repeats_only_what_was_on_its_way(
    site: Site,
) -> None:
    event_ids, on_their_way = await some_on_their_way(site)
    leader = await site.leader()
    site.processes[leader].kill()
    site.receiver.answer = status(204)
    await site.until_another_leads(leader)
    await site.until_all_sent()
    counts = Counter(site.receiver.message_ids)
    assert set(counts) == set(event_ids)
    assert {event_id for event_id, count in counts.items() if count > 1} == on_their_way
    assert max(counts.values()) == 2


@pytest.mark.slow
async def test_leader_stopped_beyond_its_lease_sends_nothing_when_it_goes_on(site: Site) -> None:
    event_ids, on_their_way = await some_on_their_way(site)
    leader = await site.leader()
    site.processes[leader].send_signal(signal.SIGSTOP)
    site.receiver.answer = status(204)
    await site.until_another_leads(leader)
    await site.until_all_sent()
    site.processes[leader].send_signal(signal.SIGCONT)
    (other,) = set(NAMES) - {leader}
    site.processes[other].send_signal(signal.SIGTERM)
    await site.until_another_leads(other)
    last = await site.notifications.tell()
    await site.receiver.until_received(EVENTS + HELD + 1)
    counts = Counter(site.receiver.message_ids)
    assert set(counts) == {*event_ids, last.event_id}
    assert {event_id for event_id, count in counts.items() if count > 1} == on_their_way
    assert max(counts.values()) == 2
