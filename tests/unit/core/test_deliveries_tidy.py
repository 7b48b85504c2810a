"""Which deliveries are deleted or given up: old ones, too many, and those that nobody sends."""

import asyncio

import msgspec

from lpmos.core.notifications.deliveries import PREFIX
from lpmos.core.notifications.duty import KEPT_FOR, KEPT_PER_WEBHOOK
from lpmos.model.webhook import DeliveryState, WebhookChange
from lpmos.store import records
from lpmos.store.api import Put
from tests.support.builders import actor
from tests.support.deliveries import (
    Standing,
    delivery_of,
    made,
    until_state,
    until_tried,
    waiting_copies,
)
from tests.support.faulty_store import FaultyStore
from tests.support.notifications import leading


async def test_tidy_deletes_what_is_old_and_what_is_too_many_and_nothing_that_waits(
    notifications: Standing, store: FaultyStore
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    (waiting,) = notifications.deliveries.index.of(webhook_id)
    now = notifications.clock.now
    sent = msgspec.structs.replace(waiting.document, state=DeliveryState.SENT, done_at=now)
    old = msgspec.structs.replace(sent, done_at=now - KEPT_FOR)
    for first in range(0, KEPT_PER_WEBHOOK + 20, 60):
        done = await store.txn(
            [],
            [
                Put(f"{PREFIX}{webhook_id}/{number:06}", records.encode(sent))
                for number in range(first, first + 60)
            ],
        )
    done = await store.txn([], [Put(f"{PREFIX}{webhook_id}/0-old", records.encode(old))])
    await notifications.mirror.wait_for(done.revision)
    leadership = await leading(store)
    await notifications.duty.tidy(leadership)
    kept = {kv.key for kv in (await store.range(PREFIX)).kvs}
    assert len(kept) == KEPT_PER_WEBHOOK + 1  # and the one that waits
    assert PREFIX + waiting.name in kept
    assert f"{PREFIX}{webhook_id}/0-old" not in kept
    assert f"{PREFIX}{webhook_id}/000000" not in kept
    await leadership.resign()


async def test_tidy_deletes_deliveries_without_a_webhook(
    notifications: Standing, store: FaultyStore
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    (orphan,) = notifications.deliveries.index.of(webhook_id)
    await notifications.webhooks.delete(webhook_id, by=actor())
    assert (await store.range(PREFIX)).kvs == ()
    done = await store.put(PREFIX + orphan.name, records.encode(orphan.document))
    await notifications.mirror.wait_for(done)
    leadership = await leading(store)
    await notifications.duty.tidy(leadership)
    assert (await store.range(PREFIX)).kvs == ()
    await leadership.resign()


async def test_tidy_gives_up_what_waits_for_a_disabled_webhook_for_a_day(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    await notifications.webhooks.change(webhook_id, WebhookChange(enabled=False), by=actor())
    leadership = await leading(notifications.store)
    await notifications.duty.tidy(leadership)
    assert delivery_of(notifications, webhook_id).state is DeliveryState.PENDING
    notifications.clock.move(hours=24)
    await notifications.duty.tidy(leadership)
    await until_state(notifications, webhook_id, DeliveryState.FAILED)
    await leadership.resign()


async def test_tidy_gives_up_what_waits_for_a_failing_webhook_for_a_day(
    notifications: Standing, store: FaultyStore
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    await waiting_copies(notifications, store, webhook_id, 19)
    notifications.told.answer = lambda _: notifications.told.refused(retry_after_s=90_000)
    leadership = await leading(store)
    duty = asyncio.create_task(notifications.duty.lead(leadership))
    try:
        await until_tried(notifications, webhook_id, 4)
        notifications.clock.move(hours=24, seconds=1)
        await notifications.duty.tidy(leadership)
        await notifications.until_waiting(webhook_id, 0)
    finally:
        duty.cancel()
        await asyncio.gather(duty, return_exceptions=True)
        await leadership.resign()
    assert len(notifications.told.letters) == 4
