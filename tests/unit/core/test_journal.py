"""What an event says of a change, and that it fits into the change's transaction."""

import msgspec

from lpmos.core.journal import told, told_of_task
from lpmos.model.audit import AuditEvent
from lpmos.model.lifecycle import Status
from lpmos.model.task import Approval, TaskError
from lpmos.store import keys, records
from lpmos.store.api import Put
from tests.support.builders import NOW, actor, make_task


def event_of(put: Put) -> AuditEvent:
    event = msgspec.json.decode(put.value, type=AuditEvent)
    assert put.key == keys.event(event.event_id)
    return event


def test_change_keeps_only_what_differs() -> None:
    before = {"name": "anna", "roles": ["viewer"], "mail": None}
    after = {"name": "anna", "roles": ["admin"], "note": "new"}
    event = event_of(
        told("user.changed", "user/anna", actor("boss"), NOW, before=before, after=after)
    )
    assert event.before == {"roles": ["viewer"], "mail": None}
    assert event.after == {"roles": ["admin"], "note": "new"}
    assert (event.actor.name, event.outcome, event.at) == ("boss", "done", NOW)


def test_tenant_is_the_things_or_else_the_actors() -> None:
    by = actor("boss", "acme")
    assert event_of(told("a.done", "a/1", by, NOW)).tenant == "acme"
    assert event_of(told("a.done", "a/1", actor(), NOW, tenant="other")).tenant == "other"


def test_change_of_large_documents_fits_into_one_record() -> None:
    put = told(
        "template.changed",
        "template/a",
        actor(),
        NOW,
        before={"content": "x" * 60_000, "version": 1},
        after={"content": "y" * 60_000, "version": 2},
    )
    assert len(put.value) < records.VALUE_LIMIT_BYTES
    event = event_of(put)
    assert event.before and event.after
    assert event.after["version"] == 2
    assert event.before["content"] != event.after["content"]


def test_new_task_says_what_was_asked_for() -> None:
    event = event_of(told_of_task(None, make_task(tenant="acme"), actor()))
    assert event.action == "task.created"
    assert (event.tenant, event.idc, event.sn) == ("acme", "dc1", "SN-1")
    assert event.after and event.after["os_type"] == "debian"
    assert event.before is None


def test_step_of_a_task_says_from_where_to_where_and_why() -> None:
    before = make_task(status=Status.PENDING_APPROVAL)
    approval = Approval(approved=False, status="rejected", rejected_by="boss", reason="too old")
    after = msgspec.structs.replace(before, status=Status.REJECTED, approval=approval)
    event = event_of(told_of_task(before, after, actor("boss")))
    assert event.action == "task.rejected"
    assert (event.before, event.after) == ({"status": "pending_approval"}, {"status": "rejected"})
    assert event.reason == "too old"


def test_failed_task_says_why() -> None:
    before = make_task(status=Status.INSTALLING)
    after = msgspec.structs.replace(
        before, status=Status.FAILED, error=TaskError(reason="the disk is gone")
    )
    assert event_of(told_of_task(before, after, actor("region:dc1"))).reason == "the disk is gone"
