"""Deliveries from the event to the sender, over an embedded store; the time stands until moved."""

import asyncio
from collections import Counter
from datetime import timedelta

import msgspec
import pytest
import structlog

from lpmos.core.notifications.deliveries import OPERATIONS_LIMIT, PREFIX, WAITING_LIMIT
from lpmos.core.notifications.duty import GONE
from lpmos.core.notifications.payload import LIMIT_BYTES, Payloads
from lpmos.core.notifications.webhooks import LIMIT, Letter
from lpmos.model.audit import AuditEvent, new_event_id
from lpmos.model.errors import Conflict, NotFound
from lpmos.model.webhook import DeliveryState, Outcome, WebhookChange
from lpmos.store import keys, records
from lpmos.store.api import CasConflict, Put
from tests.support.builders import actor, make_task
from tests.support.clocks import HandClock
from tests.support.deliveries import (
    URL,
    Standing,
    delivery_of,
    made,
    sending,
    until_state,
    until_tried,
    waiting_copies,
)
from tests.support.faulty_store import FaultyStore
from tests.support.notifications import TIMEOUT_S, leading
from tests.support.polling import until


def some_event(**fields: object) -> AuditEvent:
    at = HandClock().now
    whole = AuditEvent(
        event_id=new_event_id(at), at=at, action="task.completed", actor=actor(), target="task/1"
    )
    return msgspec.structs.replace(whole, **fields)


async def test_sink_makes_one_delivery_for_each_webhook_that_wants_the_event(
    notifications: Standing,
) -> None:
    wanting = {await made(notifications), await made(notifications, "*")}
    await made(notifications, "region.*")
    event = some_event()
    operations = notifications.sink.operations(event)
    assert {each.key for each in operations} == {f"{PREFIX}{w}/{event.event_id}" for w in wanting}


async def test_sink_with_as_many_webhooks_as_there_may_be_stays_within_its_limits(
    notifications: Standing,
) -> None:
    for number in range(2 * LIMIT):
        await made(notifications, "*", tenant="blue" if number % 2 else None)
    event = some_event(tenant="blue", after={"text": "x" * LIMIT_BYTES})
    operations = notifications.sink.operations(event)
    assert len(operations) == 2 * LIMIT == OPERATIONS_LIMIT
    assert sum(len(each.value) for each in operations if isinstance(each, Put)) < 500_000
    with pytest.raises(Conflict):
        await made(notifications, "*")


async def test_sink_for_a_webhook_with_too_many_waiting_fails_the_delivery_at_once(
    notifications: Standing, store: FaultyStore
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    (held,) = notifications.deliveries.index.of(webhook_id)
    for first in range(0, WAITING_LIMIT - 1, 100):
        many = [
            Put(f"{PREFIX}{webhook_id}/{number:06}", records.encode(held.document))
            for number in range(first, min(first + 100, WAITING_LIMIT - 1))
        ]
        done = await store.txn([], many)
    await notifications.mirror.wait_for(done.revision)
    event = await notifications.deliver(webhook_id)
    (newest, *_) = notifications.deliveries.index.of(webhook_id, DeliveryState.FAILED)
    assert newest.document.event_id == event.event_id
    assert "too many" in (newest.document.attempts[0].error or "")


async def test_payload_of_a_task_has_what_a_receiver_needs_and_a_link(
    notifications: Standing, store: FaultyStore
) -> None:
    task = make_task()
    done = await store.put(keys.task(task.idc, task.sn), records.encode(task))
    await notifications.mirror.wait_for(done)
    payloads = Payloads(notifications.fleet, "https://lpmos.example.com/")
    event = some_event(
        action="task.pending_approval",
        target=f"task/{task.task_id}",
        after={"status": "pending_approval"},
    )
    message = msgspec.json.decode(payloads(event))
    assert message["type"] == "task.pending_approval"
    assert message["timestamp"] == "2026-01-02T03:04:05Z"
    assert message["data"]["task"]["hostname"] == "sn-1"
    assert message["data"]["task"]["status"] == "pending_approval"
    self_link = f"https://lpmos.example.com/api/v1/tasks/{task.task_id}"
    assert message["data"]["links"] == {"self": self_link, "approve": f"{self_link}/approve"}


def test_payload_that_is_too_large_leaves_out_what_changed(notifications: Standing) -> None:
    event = some_event(after={"text": "x" * LIMIT_BYTES}, reason="r" * 5000)
    body = Payloads(notifications.fleet, None)(event)
    assert len(body) < LIMIT_BYTES
    data = msgspec.json.decode(body)["data"]
    assert data["truncated"] is True
    assert data["links"] == {"self": "/api/v1/tasks/1"}


async def test_event_reaches_the_receiver_through_the_audit_log(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    leadership = await leading(notifications.store)
    duties = [asyncio.create_task(each.lead(leadership)) for each in notifications.duties]
    try:
        event = await notifications.tell()
        await until_made(notifications, webhook_id)
        await until_state(notifications, webhook_id, DeliveryState.SENT)
    finally:
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        await leadership.resign()
    (letter,) = notifications.told.letters
    assert (letter.url, letter.message_id) == (URL, event.event_id)
    assert letter.secrets[0].startswith("whsec_")
    assert notifications.duty.results["http", "sent"] == 1


async def until_made(notifications: Standing, webhook_id: str) -> None:
    async def there() -> bool:
        return bool(notifications.deliveries.index.of(webhook_id))

    await until(there, TIMEOUT_S)


async def test_duty_refused_delivery_is_tried_again_when_its_time_has_come(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    notifications.told.answer = lambda _: notifications.told.refused()
    await notifications.deliver(webhook_id)
    async with sending(notifications):
        for tries, wait_s in enumerate((5, 15, 45), 1):
            await notifications.until_sent(tries)
            await until_next(notifications, webhook_id, wait_s)
            notifications.clock.move(seconds=wait_s)
        notifications.told.answer = notifications.told.accepted
        notifications.clock.move(seconds=1)
        await until_state(notifications, webhook_id, DeliveryState.SENT)
    assert len(set(notifications.told.message_ids)) == 1
    assert len({letter.payload for letter in notifications.told.letters}) == 1


async def until_next(notifications: Standing, webhook_id: str, wait_s: float) -> None:
    next_at = notifications.clock.now + timedelta(seconds=wait_s)

    async def written() -> bool:
        return delivery_of(notifications, webhook_id).next_at == next_at

    await until(written, TIMEOUT_S)


async def test_duty_receiver_that_is_gone_has_its_webhook_disabled_with_an_event(
    notifications: Standing, store: FaultyStore
) -> None:
    webhook_id = await made(notifications)
    notifications.told.answer = lambda _: notifications.told.refused(410)
    await notifications.deliver(webhook_id)
    async with sending(notifications):
        await until_state(notifications, webhook_id, DeliveryState.FAILED)
    webhook = (await notifications.webhooks.find(webhook_id, None)).document
    assert (webhook.enabled, webhook.disabled_reason) == (False, GONE)
    events = [records.decode(kv, AuditEvent) for kv in (await store.range(keys.EVENTS)).kvs]
    (disabled,) = [event for event in events if event.action == "webhook.disabled"]
    assert disabled.target == f"webhook/{webhook_id}"
    assert disabled.after == {"enabled": False, "disabled_reason": GONE}


async def test_duty_delivery_of_a_disabled_webhook_waits_until_it_is_enabled(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    await notifications.webhooks.change(webhook_id, WebhookChange(enabled=False), by=actor())
    async with sending(notifications):
        await notifications.until_waiting(webhook_id, 1)
        assert notifications.told.letters == []
        await notifications.webhooks.change(webhook_id, WebhookChange(enabled=True), by=actor())
        await until_state(notifications, webhook_id, DeliveryState.SENT)


async def test_duty_receiver_that_hangs_does_not_hold_up_another(
    notifications: Standing,
) -> None:
    dead, alive = await made(notifications, "task.failed"), await made(notifications, "*")
    hanging = asyncio.Event()
    notifications.told.hold = hanging
    for _ in range(6):
        await notifications.deliver(dead, "task.failed")
    async with sending(notifications):
        await notifications.until_sent(4)
        notifications.told.hold = None
        await notifications.deliver(alive)
        await until_state(notifications, alive, DeliveryState.SENT)
        assert notifications.deliveries.index.waiting(dead) == 6
        hanging.set()
        await notifications.until_waiting(dead, 0)
    assert len(set(notifications.told.message_ids)) == len(notifications.told.letters) == 7


async def test_duty_that_was_cut_off_while_sending_is_repeated_by_the_next_with_the_same_id(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    event = await notifications.deliver(webhook_id)
    notifications.told.hold = asyncio.Event()
    async with sending(notifications):
        await notifications.until_sent(1)
    notifications.told.hold = None
    async with sending(notifications):
        await until_state(notifications, webhook_id, DeliveryState.SENT)
    assert notifications.told.message_ids == [event.event_id, event.event_id]


async def test_duty_that_leads_no_more_sends_nothing(notifications: Standing) -> None:
    webhook_id = await made(notifications)
    leadership = await leading(notifications.store)
    fence = leadership.fence
    await notifications.store.delete(fence[0].key)
    await notifications.deliver(webhook_id)
    with pytest.raises(CasConflict):
        async with asyncio.timeout(TIMEOUT_S):
            await notifications.duty.lead(leadership)
    assert notifications.told.letters == []
    await leadership.resign()


async def test_duty_that_leads_no_more_when_the_answer_comes_writes_nothing(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    leadership = await leading(notifications.store)
    await notifications.deliver(webhook_id)
    notifications.told.hold = asyncio.Event()
    duty = asyncio.create_task(notifications.duty.lead(leadership))
    await notifications.until_sent(1)
    await notifications.store.delete(leadership.fence[0].key)
    notifications.told.hold.set()
    with pytest.raises(CasConflict):
        async with asyncio.timeout(TIMEOUT_S):
            await duty
    assert delivery_of(notifications, webhook_id).attempts == ()
    await leadership.resign()


async def test_duty_result_whose_answer_was_lost_is_written_once(
    notifications: Standing, store: FaultyStore
) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)

    def lose_the_next(letter: Letter) -> Outcome:
        store.lose_answers = 1
        return notifications.told.accepted(letter)

    notifications.told.answer = lose_the_next
    async with sending(notifications):
        await until_state(notifications, webhook_id, DeliveryState.SENT)
    assert len(delivery_of(notifications, webhook_id).attempts) == 1
    assert len(notifications.told.letters) == 1


async def test_redelivered_while_it_is_on_its_way_is_sent_again_after_it(
    notifications: Standing,
) -> None:
    webhook_id = await made(notifications)
    event = await notifications.deliver(webhook_id)
    webhook = (await notifications.webhooks.find(webhook_id, None)).document
    notifications.told.hold = asyncio.Event()
    async with sending(notifications):
        await notifications.until_sent(1)
        await notifications.deliveries.redeliver(webhook, event.event_id, by=actor())
        notifications.told.hold.set()
        await until_state(notifications, webhook_id, DeliveryState.SENT)
    assert set(notifications.told.message_ids) == {event.event_id}


async def test_redelivered_failed_delivery_is_sent(notifications: Standing) -> None:
    webhook_id = await made(notifications)
    event = await notifications.deliver(webhook_id)
    notifications.told.answer = lambda _: notifications.told.refused()
    async with sending(notifications):
        await notifications.until_sent(1)
        await until_next(notifications, webhook_id, 5)
        notifications.clock.move(hours=25)
        await until_state(notifications, webhook_id, DeliveryState.FAILED)
        notifications.told.answer = notifications.told.accepted
        webhook = (await notifications.webhooks.find(webhook_id, None)).document
        await notifications.deliveries.redeliver(webhook, event.event_id, by=actor())
        await until_state(notifications, webhook_id, DeliveryState.SENT)
        with pytest.raises(NotFound):
            await notifications.deliveries.redeliver(webhook, "no-such-event", by=actor())
    assert notifications.duty.results == {
        ("http", "retry"): 1,
        ("http", "failed"): 1,
        ("http", "sent"): 1,
    }


async def test_redelivered_of_a_disabled_webhook_is_refused(notifications: Standing) -> None:
    webhook_id = await made(notifications)
    event = await notifications.deliver(webhook_id)
    change = WebhookChange(enabled=False)
    held = await notifications.webhooks.change(webhook_id, change, by=actor())
    with pytest.raises(Conflict):
        await notifications.deliveries.redeliver(held.document, event.event_id, by=actor())


async def test_duty_dead_receiver_is_left_alone_holds_up_no_other_and_gets_all_when_it_is_back(
    notifications: Standing, store: FaultyStore
) -> None:
    dead, alive = await made(notifications, "task.failed"), await made(notifications)
    await notifications.deliver(dead, "task.failed")
    await waiting_copies(notifications, store, dead, 999)
    (dead_ids, tries) = (waiting_ids(notifications, dead), Counter[str]())

    def answer(letter: Letter) -> Outcome:
        if letter.message_id not in dead_ids:
            return notifications.told.accepted()
        tries[letter.message_id] += 1
        return notifications.told.refused()

    async def each_try_is_written() -> bool:
        found = notifications.deliveries.index.of(dead)
        return sum(len(held.document.attempts) for held in found) == tries.total()

    notifications.told.answer = answer
    with structlog.testing.capture_logs() as logs:
        async with sending(notifications):
            for step_s in [1] * 60 + [60] * 59:
                await notifications.deliver(alive)
                await notifications.until_waiting(alive, 0)
                notifications.clock.move(seconds=step_s)
            assert 10 <= tries.total() <= 30
            assert notifications.deliveries.index.waiting(dead) == 1_000
            await until(each_try_is_written, TIMEOUT_S)
            notifications.told.answer = notifications.told.accepted
            notifications.clock.move(hours=1)
            await notifications.until_waiting(dead, 0)
    assert dead_ids <= set(notifications.told.message_ids)
    lines = [each["event"] for each in logs]
    assert lines.count("notifications do not arrive") < tries.total()
    assert lines.count("notifications arrive again") == 1


async def test_duty_changed_webhook_is_tried_at_once(notifications: Standing) -> None:
    webhook_id = await made(notifications)
    await notifications.deliver(webhook_id)
    notifications.told.answer = lambda _: notifications.told.refused(retry_after_s=900)
    async with sending(notifications):
        await until_tried(notifications, webhook_id, 1)
        await notifications.deliver(webhook_id)
        notifications.told.answer = notifications.told.accepted
        change = WebhookChange(url=f"{URL}/new")
        await notifications.webhooks.change(webhook_id, change, by=actor())
        await notifications.until_waiting(webhook_id, 1)


def waiting_ids(notifications: Standing, webhook_id: str) -> set[str]:
    return {held.document.event_id for held in notifications.deliveries.index.of(webhook_id)}


async def test_duty_survives_a_sender_with_a_defect(notifications: Standing) -> None:
    broken, sound = await made(notifications, "task.failed"), await made(notifications)

    def fail(letter: Letter) -> Outcome:
        if letter.message_id == event.event_id:
            raise KeyError("S3CRET")
        return notifications.told.accepted(letter)

    notifications.told.answer = fail
    event = await notifications.deliver(broken, "task.failed")
    async with sending(notifications):
        await until_next(notifications, broken, 5)
        await notifications.deliver(sound)
        await until_state(notifications, sound, DeliveryState.SENT)
    error = delivery_of(notifications, broken).attempts[0].error or ""
    assert "KeyError" in error
    assert "S3CRET" not in error
