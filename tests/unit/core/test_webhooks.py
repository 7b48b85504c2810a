"""What people do with webhooks: nothing secret is stored open or shown twice."""

import pytest

from lpmos.core.notifications.webhooks import PREFIX, Webhooks
from lpmos.model.audit import AuditEvent
from lpmos.model.errors import Conflict, InvalidInput, NotFound
from lpmos.model.webhook import OLD_SECRET_FOR, NewWebhook, WebhookChange
from lpmos.store import keys, records
from lpmos.store.api import CasConflict
from tests.support.builders import actor
from tests.support.deliveries import Standing

NEW = NewWebhook(name="hook", url="https://example.com/T0KEN", events=["task.*"])
MAIL = NewWebhook(name="mail", url="mailto://me:PASSW0RD@example.com", events=["*"])


@pytest.fixture
def webhooks(notifications: Standing) -> Webhooks:
    return notifications.webhooks


async def test_stored_webhook_and_its_event_have_nothing_secret(
    notifications: Standing, webhooks: Webhooks
) -> None:
    made = await webhooks.create(NEW, by=actor())
    again = await webhooks.rotate_secret(made.held.name, by=actor())
    mail = await webhooks.create(MAIL, by=actor())
    assert made.secret is not None
    assert again.secret is not None
    assert mail.secret is None
    secrets = ("T0KEN", "PASSW0RD", made.secret, again.secret, made.secret[6:], again.secret[6:])
    stored = b"".join(kv.value for kv in (await notifications.store.range(keys.ROOT)).kvs)
    assert [secret for secret in secrets if secret.encode() in stored] == []


async def test_rotated_secret_signs_beside_the_one_before_for_a_day(
    notifications: Standing, webhooks: Webhooks
) -> None:
    made = await webhooks.create(NEW, by=actor())
    again = await webhooks.rotate_secret(made.held.name, by=actor())
    await webhooks.send(again.held.document, "1", b"{}")
    notifications.clock.now += OLD_SECRET_FOR
    await webhooks.send(again.held.document, "2", b"{}")
    first, second = notifications.told.letters
    assert first.secrets == (again.secret, made.secret)
    assert second.secrets == (again.secret,)


async def test_rotated_secret_of_a_mail_address_is_refused(webhooks: Webhooks) -> None:
    made = await webhooks.create(MAIL, by=actor())
    with pytest.raises(Conflict):
        await webhooks.rotate_secret(made.held.name, by=actor())


async def test_url_that_the_sender_refuses_is_named(
    notifications: Standing, webhooks: Webhooks
) -> None:
    notifications.told.refused_urls = frozenset({NEW.url})
    with pytest.raises(InvalidInput) as refused:
        await webhooks.create(NEW, by=actor())
    assert [problem.field for problem in refused.value.problems] == ["url"]
    assert "T0KEN" not in str(refused.value)


async def test_changed_url_is_told_of_without_being_shown(
    notifications: Standing, webhooks: Webhooks
) -> None:
    made = await webhooks.create(NEW, by=actor())
    notifications.clock.move(seconds=1)
    change = WebhookChange(url="https://example.com/0THER")
    held = await webhooks.change(made.held.name, change, by=actor())
    await webhooks.send(held.document, "1", b"{}")
    assert notifications.told.letters[0].url == "https://example.com/0THER"
    kvs = (await notifications.store.range(keys.EVENTS)).kvs
    events = [records.decode(kv, AuditEvent) for kv in kvs]
    (changed,) = [event for event in events if event.action == "webhook.changed"]
    assert changed.after == {"url_set_at": "2026-01-02T03:04:06+00:00"}


async def test_changed_from_a_receiver_to_a_service_is_refused(webhooks: Webhooks) -> None:
    made = await webhooks.create(NEW, by=actor())
    with pytest.raises(InvalidInput):
        await webhooks.change(made.held.name, WebhookChange(url=MAIL.url), by=actor())


async def test_changed_by_nothing_writes_nothing(
    notifications: Standing, webhooks: Webhooks
) -> None:
    made = await webhooks.create(NEW, by=actor())
    held = await webhooks.change(made.held.name, WebhookChange(name="hook"), by=actor())
    assert held.revision == made.held.revision


async def test_changed_at_another_revision_is_refused(webhooks: Webhooks) -> None:
    made = await webhooks.create(NEW, by=actor())
    with pytest.raises(CasConflict):
        await webhooks.change(
            made.held.name, WebhookChange(name="x"), by=actor(), at_revision=made.held.revision - 1
        )


async def test_tenants_see_and_touch_their_own_only(webhooks: Webhooks) -> None:
    blue = (await webhooks.create(NEW, by=actor("b", "blue"))).held
    red = (await webhooks.create(NEW, by=actor("r", "red"))).held
    assert (blue.document.tenant, red.document.tenant) == ("blue", "red")
    assert [held.name for held in webhooks.page("blue", 50, 0)[0]] == [blue.name]
    assert webhooks.page(None, 1, 1)[1] == 2
    for forbidden in (
        webhooks.find(red.name, "blue"),
        webhooks.delete(red.name, by=actor("b", "blue")),
        webhooks.rotate_secret(red.name, by=actor("b", "blue")),
        webhooks.test(red.name, by=actor("b", "blue")),
        webhooks.change(red.name, WebhookChange(name="x"), by=actor("b", "blue")),
    ):
        with pytest.raises(NotFound):
            await forbidden


async def test_tenants_user_cannot_make_one_for_another_tenant(webhooks: Webhooks) -> None:
    new = NewWebhook(name="x", url=NEW.url, events=["*"], tenant="red")
    with pytest.raises(InvalidInput):
        await webhooks.create(new, by=actor("b", "blue"))


@pytest.mark.parametrize("webhook_id", ["", "..", "a" * 31, "A" * 32, "x" * 5000])
async def test_find_what_is_no_id_finds_nothing(webhooks: Webhooks, webhook_id: str) -> None:
    with pytest.raises(NotFound):
        await webhooks.find(webhook_id, None)


async def test_sealed_text_moved_to_another_webhook_is_not_opened(
    notifications: Standing, webhooks: Webhooks
) -> None:
    one = (await webhooks.create(NEW, by=actor())).held
    other = (await webhooks.create(NEW, by=actor())).held
    kv = await notifications.store.get(PREFIX + one.name)
    assert kv is not None
    moved = kv.value.replace(one.name.encode(), other.name.encode())
    revision = await notifications.store.put(PREFIX + other.name, moved)
    await notifications.mirror.wait_for(revision)
    outcome = await webhooks.test(other.name, by=actor())
    assert not outcome.accepted
    assert outcome.attempt.error
    assert notifications.told.letters == []
