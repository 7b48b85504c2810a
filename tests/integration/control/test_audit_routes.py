"""Whatever call changes something leaves an entry in the audit log: every route is tried."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import httpx
import pytest
from litestar.routes import HTTPRoute

from lpmos.control.access import SAFE_METHODS
from lpmos.control.app import create_app
from lpmos.core.audit.reader import AuditQuery
from lpmos.core.clock import utc_now
from lpmos.core.taskstore import moved
from lpmos.images.conversion import ZSTD_MAGIC
from lpmos.model.access import Role
from lpmos.model.audit import AuditEvent
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import Machine
from lpmos.model.task import Task, TaskError, TaskPlace
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.image_signing import signature_of
from tests.support.polling import until
from tests.support.receiver import Receiver, receiving
from tests.support.rules import make_report

V1 = "/api/v1"
PASSWORD = "correct horse battery"
IMAGE = ZSTD_MAGIC + bytes(range(256))
TIMEOUT_S = 20.0


class Calls(NamedTuple):
    """Who calls, and whom."""

    api: httpx.AsyncClient
    anyone: httpx.AsyncClient
    control_plane: RunningControlPlane
    receiver: Receiver


Example = Callable[[Calls], Awaitable[httpx.Response]]


async def create_task(to: Calls) -> httpx.Response:
    body = {"idc": "dc1", "mac": MAC, "os_type": "debian", "os_version": "12"}
    return await to.api.post(f"{V1}/tasks", json=body)


async def task_that_is(to: Calls, status: Status) -> str:
    """A task in the store, as its region left it; its path."""
    error = TaskError(reason="broken") if status is Status.FAILED else None
    task: Task = make_task(status=status, hardware=make_inventory(), error=error)
    place = records.encode(TaskPlace(idc=task.idc, sn=task.sn))
    await to.control_plane.store.put(keys.task_place(task.task_id), place)
    await to.control_plane.put_task(task)
    return f"{V1}/tasks/{task.task_id}"


async def cancel_task(to: Calls) -> httpx.Response:
    return await to.api.delete(await task_that_is(to, Status.PENDING))


async def approve_task(to: Calls) -> httpx.Response:
    path = await task_that_is(to, Status.PENDING_APPROVAL)
    return await to.api.put(f"{path}/approve", json={"approved": True})


async def reject_task(to: Calls) -> httpx.Response:
    path = await task_that_is(to, Status.PENDING_APPROVAL)
    return await to.api.put(f"{path}/reject", json={"reason": "too old"})


async def retry_task(to: Calls) -> httpx.Response:
    return await to.api.post(f"{await task_that_is(to, Status.FAILED)}/retry")


async def roll_back_task(to: Calls) -> httpx.Response:
    return await to.api.post(f"{await task_that_is(to, Status.FAILED)}/rollback")


async def create_tasks(to: Calls) -> httpx.Response:
    row = {"idc": "dc1", "os_type": "debian", "os_version": "12"}
    rows = [row | {"mac": f"52:54:00:00:00:{number:02x}"} for number in range(3)]
    return await to.api.post(f"{V1}/tasks/bulk", json=rows)


async def dead_letter(to: Calls) -> str:
    """The path of a task that failed."""
    path = await task_that_is(to, Status.INSTALLING)
    task_id = path.rpartition("/")[2]
    error = TaskError(reason="broken")
    failed = await to.control_plane.change(
        task_id, lambda task: moved(task, Event.FAIL, NOW, error=error)
    )
    await to.control_plane.seen(failed)
    return f"{V1}/dlq/{task_id}"


async def requeue(to: Calls) -> httpx.Response:
    return await to.api.post(f"{await dead_letter(to)}/requeue")


async def dismiss_dead_letter(to: Calls) -> httpx.Response:
    return await to.api.delete(await dead_letter(to))


async def machine(to: Calls) -> str:
    """The path of a machine without a task."""
    known = Machine(idc="dc1", sn="SN-1", macs=(MAC,), first_seen_at=NOW, updated_at=NOW)
    revision = await to.control_plane.store.put(keys.meta("dc1", "SN-1"), records.encode(known))
    async with asyncio.timeout(TIMEOUT_S):
        await to.control_plane.fleet.wait_for_revision(revision)
    return f"{V1}/machines/dc1/SN-1"


async def change_machine(to: Calls) -> httpx.Response:
    return await to.api.patch(await machine(to), json={"tags": {"rack": "a1"}})


async def forget_machine(to: Calls) -> httpx.Response:
    return await to.api.delete(await machine(to))


async def create_user(to: Calls) -> httpx.Response:
    body = {"name": "anna", "roles": ["viewer"], "password": PASSWORD}
    made = await to.api.post(f"{V1}/users", json=body)
    assert made.status_code == 201, made.text
    return made


async def change_user(to: Calls) -> httpx.Response:
    await create_user(to)
    return await to.api.patch(f"{V1}/users/anna", json={"roles": ["operator"]})


async def delete_user(to: Calls) -> httpx.Response:
    await create_user(to)
    return await to.api.delete(f"{V1}/users/anna")


async def log_in_program(to: Calls) -> httpx.Response:
    await create_user(to)
    return await to.anyone.post(f"{V1}/login", json={"username": "anna", "password": PASSWORD})


async def anna(to: Calls) -> dict[str, str]:
    """The header with anna's token."""
    return {"Authorization": f"Bearer {(await log_in_program(to)).json()['access_token']}"}


async def log_out_program(to: Calls) -> httpx.Response:
    return await to.anyone.delete(f"{V1}/login", headers=await anna(to))


async def log_in(to: Calls) -> httpx.Response:
    await create_user(to)
    return await to.anyone.post(f"{V1}/session", json={"username": "anna", "password": PASSWORD})


async def log_out(to: Calls) -> httpx.Response:
    await log_in(to)
    return await to.anyone.delete(f"{V1}/session", headers={"Sec-Fetch-Site": "same-origin"})


async def set_password(to: Calls) -> httpx.Response:
    body = {"old_password": PASSWORD, "password": "another good password"}
    return await to.anyone.put(f"{V1}/users/anna/password", json=body, headers=await anna(to))


async def end_sessions(to: Calls) -> httpx.Response:
    await anna(to)
    return await to.api.delete(f"{V1}/users/anna/sessions")


async def end_session(to: Calls) -> httpx.Response:
    await anna(to)
    (held,) = to.control_plane.services.identity.sessions.of("anna")
    return await to.api.delete(f"{V1}/users/anna/sessions/{held.name}")


async def create_token(to: Calls) -> httpx.Response:
    body = {"name": "ci", "roles": ["viewer"], "lifetime_days": 3}
    return await to.anyone.post(f"{V1}/tokens", json=body, headers=await anna(to))


async def revoke_token(to: Calls) -> httpx.Response:
    made = (await create_token(to)).json()
    return await to.api.delete(f"{V1}/tokens/{made['id']}", params={"user": "anna"})


async def revoke_key_token(to: Calls) -> httpx.Response:
    listed = (await to.api.get(f"{V1}/key-tokens")).json()["key_tokens"]
    token = await to.control_plane.as_user([Role.ADMIN])
    headers = {"Authorization": f"Bearer {token}"}
    path = f"{V1}/key-tokens/{listed[0]['id']}"
    return await to.anyone.delete(path, headers=headers)


async def put_template(to: Calls) -> httpx.Response:
    return await to.api.put(f"{V1}/templates/motd", json={"content": "hello"})


async def delete_template(to: Calls) -> httpx.Response:
    await put_template(to)
    return await to.api.delete(f"{V1}/templates/motd")


async def begin_upload(to: Calls) -> httpx.Response:
    body = {
        "name": "debian-13",
        "family": "debian",
        "os_type": "debian",
        "os_version": "13",
        "sha256": hashlib.sha256(IMAGE).hexdigest(),
        "size_bytes": len(IMAGE),
        "unpacked_bytes": 1_000_000,
    }
    return await to.api.post(f"{V1}/images/uploads", json=body)


async def append_upload(to: Calls) -> httpx.Response:
    upload_id = (await begin_upload(to)).json()["upload_id"]
    headers = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    path = f"{V1}/images/uploads/{upload_id}"
    return await to.api.patch(path, content=IMAGE, headers=headers)


async def delete_image(to: Calls) -> httpx.Response:
    assert (await append_upload(to)).is_success
    return await to.api.delete(f"{V1}/images/debian-13")


async def sign_image(to: Calls) -> httpx.Response:
    image = (await append_upload(to)).json()["image"]
    path = f"{V1}/images/debian-13/signature"
    return await to.api.put(path, json=signature_of(image))


async def put_bmc(to: Calls) -> httpx.Response:
    path = await machine(to)
    body = {"address": "192.0.2.50", "username": "root", "password": "calvin-2026"}
    return await to.api.put(f"{path}/bmc", json=body)


async def delete_bmc(to: Calls) -> httpx.Response:
    await put_bmc(to)
    return await to.api.delete(f"{V1}/machines/dc1/SN-1/bmc")


async def rotate_secrets(to: Calls) -> httpx.Response:
    return await to.api.post(f"{V1}/secrets/rotate")


async def remove_key(to: Calls) -> httpx.Response:
    assert (await rotate_secrets(to)).is_success
    listed = (await to.api.get(f"{V1}/secrets")).json()["keys"]
    unused = next(each["key_id"] for each in listed if not each["current"])
    return await to.api.delete(f"{V1}/secrets/keys/{unused}")


async def create_rule(to: Calls) -> httpx.Response:
    body = {"name": "all", "kind": "approve", "condition": "true"}
    return await to.api.post(f"{V1}/rules", json=body)


async def put_rule(to: Calls) -> httpx.Response:
    await create_rule(to)
    body = {"kind": "approve", "condition": "false"}
    return await to.api.put(f"{V1}/rules/all", json=body)


async def delete_rule(to: Calls) -> httpx.Response:
    await create_rule(to)
    return await to.api.delete(f"{V1}/rules/all")


async def unmatched(to: Calls) -> str:
    """The path of a report without a task."""
    report = make_report(mac_address="52:54:00:00:00:09", sn="SN-9", received_at=utc_now())
    key = keys.unmatched(report.region, report.received_at, report.mac_address)
    revision = await to.control_plane.store.put(key, records.encode(report))
    async with asyncio.timeout(TIMEOUT_S):
        await to.control_plane.fleet.wait_for_revision(revision)
    return f"{V1}/unmatched-reports/{report.region}-{key.rpartition('/')[2]}"


async def dismiss_report(to: Calls) -> httpx.Response:
    return await to.api.delete(await unmatched(to))


async def match_report(to: Calls) -> httpx.Response:
    made = await create_task(to)
    path = await unmatched(to)
    return await to.api.post(f"{path}/match", json={"task_id": made.json()["task_id"]})


async def create_webhook(to: Calls) -> httpx.Response:
    body = {"name": "hook", "url": f"{to.receiver.url}/T0KEN", "events": ["task.*"]}
    return await to.api.post(f"{V1}/webhooks", json=body)


async def webhook(to: Calls) -> str:
    return f"{V1}/webhooks/{(await create_webhook(to)).json()['webhook_id']}"


async def change_webhook(to: Calls) -> httpx.Response:
    return await to.api.patch(await webhook(to), json={"enabled": False})


async def delete_webhook(to: Calls) -> httpx.Response:
    return await to.api.delete(await webhook(to))


async def rotate_webhook_secret(to: Calls) -> httpx.Response:
    return await to.api.post(f"{await webhook(to)}/rotate-secret")


async def redeliver(to: Calls) -> httpx.Response:
    path = await webhook(to)
    await create_task(to)

    async def sent() -> bool:
        page = (await to.api.get(f"{path}/deliveries", params={"status": "sent"})).json()
        return bool(page["deliveries"])

    await until(sent, TIMEOUT_S)
    (delivery,) = (await to.api.get(f"{path}/deliveries")).json()["deliveries"]
    return await to.api.post(f"{path}/deliveries/{delivery['event_id']}/redeliver")


EXAMPLES: dict[tuple[str, str], Example] = {
    ("POST", "/tasks"): create_task,
    ("POST", "/tasks/bulk"): create_tasks,
    ("DELETE", "/tasks/{task_id}"): cancel_task,
    ("PUT", "/tasks/{task_id}/approve"): approve_task,
    ("PUT", "/tasks/{task_id}/reject"): reject_task,
    ("POST", "/tasks/{task_id}/retry"): retry_task,
    ("POST", "/tasks/{task_id}/rollback"): roll_back_task,
    ("POST", "/dlq/{task_id}/requeue"): requeue,
    ("DELETE", "/dlq/{task_id}"): dismiss_dead_letter,
    ("PATCH", "/machines/{idc}/{sn}"): change_machine,
    ("DELETE", "/machines/{idc}/{sn}"): forget_machine,
    ("POST", "/session"): log_in,
    ("DELETE", "/session"): log_out,
    ("POST", "/login"): log_in_program,
    ("DELETE", "/login"): log_out_program,
    ("POST", "/users"): create_user,
    ("PATCH", "/users/{name}"): change_user,
    ("DELETE", "/users/{name}"): delete_user,
    ("PUT", "/users/{name}/password"): set_password,
    ("DELETE", "/users/{name}/sessions"): end_sessions,
    ("DELETE", "/users/{name}/sessions/{session_id}"): end_session,
    ("POST", "/tokens"): create_token,
    ("DELETE", "/tokens/{token_id}"): revoke_token,
    ("DELETE", "/key-tokens/{key_token_id}"): revoke_key_token,
    ("PUT", "/templates/{name}"): put_template,
    ("DELETE", "/templates/{name}"): delete_template,
    ("PATCH", "/images/uploads/{upload_id}"): append_upload,
    ("DELETE", "/images/{name}"): delete_image,
    ("PUT", "/images/{name}/signature"): sign_image,
    ("PUT", "/machines/{idc}/{sn}/bmc"): put_bmc,
    ("DELETE", "/machines/{idc}/{sn}/bmc"): delete_bmc,
    ("POST", "/secrets/rotate"): rotate_secrets,
    ("DELETE", "/secrets/keys/{key_id}"): remove_key,
    ("POST", "/rules"): create_rule,
    ("PUT", "/rules/{name}"): put_rule,
    ("DELETE", "/rules/{name}"): delete_rule,
    ("DELETE", "/unmatched-reports/{report}"): dismiss_report,
    ("POST", "/unmatched-reports/{report}/match"): match_report,
    ("POST", "/webhooks"): create_webhook,
    ("PATCH", "/webhooks/{webhook_id}"): change_webhook,
    ("DELETE", "/webhooks/{webhook_id}"): delete_webhook,
    ("POST", "/webhooks/{webhook_id}/rotate-secret"): rotate_webhook_secret,
    ("POST", "/webhooks/{webhook_id}/deliveries/{event_id}/redeliver"): redeliver,
}

EXEMPT: dict[tuple[str, str], str] = {
    ("POST", "/templates/{name}/preview"): "it only renders",
    ("POST", "/templates/validate"): "it only checks",
    ("POST", "/rules/dry-run"): "it only says what would be",
    ("POST", "/images/{name}/verify"): "it only reads",
    ("POST", "/images/uploads"): "nothing has changed before the image is whole",
    ("DELETE", "/images/uploads/{upload_id}"): "what is given up was no image yet",
    ("POST", "/webhooks/{webhook_id}/test"): "it sends a message and changes nothing here",
    ("POST", "/login/refresh"): "the session that was opened goes on",
    ("POST", "/login/oidc"): "it opens a session as POST /session does, after a provider spoke",
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def changing_routes(control_plane: RunningControlPlane) -> set[tuple[str, str]]:
    """Method and path of every call that is not a mere question."""
    return {
        (str(method), route.path_format.removeprefix(V1))
        for route in create_app(control_plane.services).routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method not in SAFE_METHODS
    }


async def told_of(control_plane: RunningControlPlane, answer: httpx.Response) -> list[AuditEvent]:
    """What the audit log says of the call that this answers, once all events are in it."""

    async def none_is_left() -> bool:
        return not (await control_plane.store.range(keys.EVENTS, limit=1)).kvs

    await until(none_is_left, TIMEOUT_S)
    page = await control_plane.services.audit.newest_first(AuditQuery(), from_seq=None, limit=500)
    request_id = answer.headers["x-request-id"]
    events = [entry.event for entry in page.entries]
    return [event for event in events if event.actor.request_id == request_id]


@pytest.mark.parametrize("route", EXAMPLES, ids=" ".join)
async def test_call_that_changes_something_is_in_the_log(
    route: tuple[str, str],
    api: httpx.AsyncClient,
    anyone: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    receiver: Receiver,
) -> None:
    answer = await EXAMPLES[route](Calls(api, anyone, control_plane, receiver))
    assert answer.is_success, answer.text
    assert answer.request.method == route[0]
    events = await told_of(control_plane, answer)
    assert events
    assert {event.outcome for event in events} == {"done"}
    assert all(event.actor.address == "127.0.0.1" for event in events)


async def test_every_call_has_an_example_or_a_reason(control_plane: RunningControlPlane) -> None:
    assert changing_routes(control_plane) == EXAMPLES.keys() | EXEMPT.keys()
    assert not EXAMPLES.keys() & EXEMPT.keys()
