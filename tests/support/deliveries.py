"""Webhooks and their deliveries over an embedded store, whose time stands until it is moved."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from lpmos.core.notifications.deliveries import PREFIX
from lpmos.model.webhook import Delivery, DeliveryState, NewWebhook
from lpmos.store import records
from lpmos.store.api import Put
from tests.support.builders import actor
from tests.support.clocks import HandClock
from tests.support.faulty_store import FaultyStore
from tests.support.notifications import TIMEOUT_S, Notifications, leading
from tests.support.polling import until

URL = "https://example.com/hook"
Standing = Notifications[HandClock]


async def made(notifications: Standing, *events: str, tenant: str | None = None) -> str:
    """The id of a new webhook."""
    new = NewWebhook(name="hook", url=URL, events=list(events) or ["task.*"], tenant=tenant)
    return (await notifications.webhooks.create(new, by=actor())).held.name


@asynccontextmanager
async def sending(notifications: Standing) -> AsyncIterator[asyncio.Task[None]]:
    """The duty, doing its work."""
    leadership = await leading(notifications.store)
    duty = asyncio.create_task(notifications.duty.lead(leadership))
    try:
        yield duty
    finally:
        duty.cancel()
        await asyncio.gather(duty, return_exceptions=True)
        await leadership.resign()


def delivery_of(notifications: Standing, webhook_id: str) -> Delivery:
    """The one delivery of a webhook."""
    (held,) = notifications.deliveries.index.of(webhook_id)
    return held.document


async def until_state(notifications: Standing, webhook_id: str, state: DeliveryState) -> None:
    """Wait until the one delivery of a webhook is in this state."""

    async def reached() -> bool:
        return delivery_of(notifications, webhook_id).state is state

    await until(reached, TIMEOUT_S)


async def waiting_copies(
    notifications: Standing, store: FaultyStore, webhook_id: str, count: int
) -> None:
    """Have as many more deliveries wait as the one that does."""
    delivery = delivery_of(notifications, webhook_id)
    for first in range(0, count, 100):
        copies = [
            msgspec.structs.replace(delivery, event_id=f"{number:06}")
            for number in range(first, min(first + 100, count))
        ]
        puts = [
            Put(f"{PREFIX}{webhook_id}/{each.event_id}", records.encode(each)) for each in copies
        ]
        done = await store.txn([], puts)
    await notifications.mirror.wait_for(done.revision)


async def until_tried(notifications: Standing, webhook_id: str, count: int) -> None:
    """Wait until this many deliveries of a webhook have a try in them."""

    async def reached() -> bool:
        found = notifications.deliveries.index.of(webhook_id)
        return sum(1 for held in found if held.document.attempts) == count

    await until(reached, TIMEOUT_S)
