"""The webhook calls over HTTP, with real receivers behind them."""

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from lpmos.model.access import Role
from lpmos.store import keys
from tests.support.builders import MAC
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S, until
from tests.support.receiver import Receiver, receiving, status

TIMEOUT_S = 20.0
WEBHOOKS = "/api/v1/webhooks"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"
TASK = {"idc": "dc1", "sn": "SN-1", "mac": MAC, "os_type": "debian", "os_version": "12"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def new(receiver: Receiver, **fields: Any) -> dict[str, Any]:
    return {"name": "hook", "url": f"{receiver.url}/T0KEN", "events": ["task.*"], **fields}


async def create(api: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post(WEBHOOKS, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def deliveries(api: httpx.AsyncClient, webhook_id: str, query: str = "") -> dict[str, Any]:
    answer = await api.get(f"{WEBHOOKS}/{webhook_id}/deliveries{query}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def until_delivered(api: httpx.AsyncClient, webhook_id: str, how: str, count: int) -> None:
    async def done() -> bool:
        return bool((await deliveries(api, webhook_id, f"?status={how}"))["total"] == count)

    await until(done, TIMEOUT_S)


async def test_event_of_a_task_arrives_signed_and_is_listed(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver, events=["task.created"], idc="dc1"))
    task = (await api.post("/api/v1/tasks", json=TASK)).json()
    await until_delivered(api, made["webhook_id"], "sent", 1)
    (received,) = receiver.received
    content = ".".join([received.message_id, received.headers["webhook-timestamp"], ""]).encode()
    key = b64decode(made["secret"].removeprefix("whsec_"))
    signature = b64encode(hmac.digest(key, content + received.body, hashlib.sha256)).decode()
    assert received.headers["webhook-signature"] == f"v1,{signature}"
    message = msgspec.json.decode(received.body)
    assert message["type"] == "task.created"
    assert message["data"]["task"]["task_id"] == task["task_id"]
    assert message["data"]["links"] == {"self": task["links"]["self"]}
    (delivery,) = (await deliveries(api, made["webhook_id"]))["deliveries"]
    assert delivery["payload"] == message
    assert delivery["event_id"] == received.message_id
    assert [attempt["status"] for attempt in delivery["attempts"]] == [204]


async def test_webhook_is_shown_without_its_secrets(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver))
    assert made["secret"].startswith("whsec_")
    assert made["url"] == f"{receiver.url}/…"
    path = f"{WEBHOOKS}/{made['webhook_id']}"
    shown, listed = await api.get(path), await api.get(WEBHOOKS)
    audit = await api.get("/api/v1/audit")
    for answer in (shown, listed, audit):
        assert answer.status_code == 200
        assert made["secret"] not in answer.text
        assert "T0KEN" not in answer.text
    assert listed.json()["total"] == 1
    assert shown.headers["ETag"] == f'"{shown.json()["revision"]}"'


async def test_webhook_is_changed_only_as_it_was_seen(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver, idc="dc1"))
    path, seen = f"{WEBHOOKS}/{made['webhook_id']}", {"If-Match": f'"{made["revision"]}"'}
    changed = await api.patch(path, json={"idc": None, "name": "other"}, headers=seen)
    assert changed.status_code == 200
    assert (changed.json()["idc"], changed.json()["name"]) == (None, "other")
    assert changed.json()["events"] == ["task.*"]
    assert (await api.patch(path, json={"name": "x"}, headers=seen)).status_code == 412
    assert (await api.post(f"{path}/rotate-secret", headers=seen)).status_code == 412
    assert (await api.delete(path, headers=seen)).status_code == 412
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.delete(path)).status_code == 404


async def test_test_button_says_what_came_of_it(api: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await create(api, new(receiver, enabled=False))
    path = f"{WEBHOOKS}/{made['webhook_id']}/test"
    good = (await api.post(path)).json()
    receiver.answer = status(403, "unknown signature")
    bad = (await api.post(path)).json()
    assert (good["accepted"], good["status"], good["error"]) == (True, 204, None)
    assert (bad["accepted"], bad["status"], bad["error"]) == (False, 403, "unknown signature")
    types = [msgspec.json.decode(received.body)["type"] for received in receiver.received]
    assert types == ["webhook.test", "webhook.test"]


async def test_rotated_secret_signs_beside_the_old_one(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver))
    path = f"{WEBHOOKS}/{made['webhook_id']}"
    rotated = (await api.post(f"{path}/rotate-secret")).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"]
    await api.post(f"{path}/test")
    assert len(receiver.received[0].headers["webhook-signature"].split(" ")) == 2


async def test_failed_delivery_is_redelivered_with_the_same_id(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver, events=["task.created"]))
    receiver.answer = status(503, "not now")
    await api.post("/api/v1/tasks", json=TASK)
    await receiver.until_received(1)
    path = f"{WEBHOOKS}/{made['webhook_id']}/deliveries"

    async def tried() -> bool:
        page = await deliveries(api, made["webhook_id"], "?status=pending")
        return bool(page["total"] == 1 and page["deliveries"][0]["tries"] == 1)

    await until(tried, TIMEOUT_S)
    receiver.answer = status(200)
    event_id = receiver.received[0].message_id
    again = await api.post(f"{path}/{event_id}/redeliver")
    assert again.status_code == 202
    assert again.json()["status"] == "pending"
    await until_delivered(api, made["webhook_id"], "sent", 1)
    assert receiver.message_ids == [event_id, event_id]
    (delivery,) = (await deliveries(api, made["webhook_id"]))["deliveries"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 200]
    assert delivery["attempts"][0]["error"] == "not now"
    assert (await api.post(f"{path}/no-such/redeliver")).status_code == 404


async def test_webhook_of_a_receiver_that_is_gone_is_disabled_and_told_of(
    control_plane: RunningControlPlane, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver))
    receiver.answer = status(410)
    await api.post("/api/v1/tasks", json=TASK)
    event = await control_plane.audited(action="webhook.disabled")
    assert event.target == f"webhook/{made['webhook_id']}"
    shown = (await api.get(f"{WEBHOOKS}/{made['webhook_id']}")).json()
    assert shown["enabled"] is False
    assert "410" in shown["disabled_reason"]
    enabled = await api.patch(f"{WEBHOOKS}/{made['webhook_id']}", json={"enabled": True})
    assert enabled.json()["disabled_reason"] is None


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name", "url", "events"}),
        ({"name": "", "url": "https://x", "events": []}, {"name", "events"}),
        ({"name": "x", "url": "nothing://x", "events": ["*"]}, {"url"}),
        ({"name": "x", "url": "http://", "events": ["*"]}, {"url"}),
        ({"name": "x", "url": "syslog://", "events": ["*"]}, {"url"}),
        ({"name": "x", "url": "https://x", "events": ["Task"], "idc": "/"}, {"events.0", "idc"}),
        ({"name": "x", "url": "https://x", "events": ["a"] * 21}, {"events"}),
        ({"name": "x", "url": "https://x", "events": ["a"], "enabled": "yes"}, {"enabled"}),
        ({"name": "x", "url": "https://x", "events": ["a"], "secret": "mine"}, {"secret"}),
        ({"name": "x\x00", "url": "https://x", "events": ["a"]}, {"name"}),
        ({"name": "x", "url": "https://x/" + "y" * 3000, "events": ["a"]}, {"url"}),
    ],
)
async def test_create_with_wrong_fields_names_each(
    api: httpx.AsyncClient, body: dict[str, Any], fields: set[str]
) -> None:
    answer = await api.post(WEBHOOKS, json=body)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == fields
    assert (await api.get(WEBHOOKS)).json()["total"] == 0


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=501", "?offset=-1", "?state=sent", "?status=x"]
)
async def test_list_with_a_wrong_parameter_is_refused(
    api: httpx.AsyncClient, receiver: Receiver, query: str
) -> None:
    made = await create(api, new(receiver))
    answer = await api.get(f"{WEBHOOKS}/{made['webhook_id']}/deliveries{query}")
    assert answer.status_code == 422


async def test_tenants_admin_has_its_own_webhooks_only(
    control_plane: RunningControlPlane, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    providers = await create(api, new(receiver))
    token = await control_plane.as_user([Role.ADMIN], tenant="blue")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as blue:
        private = await blue.post(WEBHOOKS, json=new(receiver))
        assert private.status_code == 422
        assert private.json()["errors"][0]["field"] == "url"
        own = await create(blue, {"name": "chat", "url": SLACK, "events": ["*"]})
        assert (own["tenant"], own["secret"], own["signed"]) == ("blue", None, False)
        listed = (await blue.get(WEBHOOKS)).json()
        assert [each["webhook_id"] for each in listed["webhooks"]] == [own["webhook_id"]]
        path = f"{WEBHOOKS}/{providers['webhook_id']}"
        for foreign in (
            blue.get(path),
            blue.patch(path, json={"name": "x"}),
            blue.delete(path),
            blue.post(f"{path}/test"),
            blue.post(f"{path}/rotate-secret"),
            blue.get(f"{path}/deliveries"),
            blue.post(f"{path}/deliveries/x/redeliver"),
        ):
            assert (await foreign).status_code == 404
    assert receiver.received == []
    assert (await api.get(WEBHOOKS)).json()["total"] == 2


async def test_metrics_say_what_was_sent_and_what_waits(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await create(api, new(receiver, events=["task.created"]))
    await api.post("/api/v1/tasks", json=TASK)
    await until_delivered(api, made["webhook_id"], "sent", 1)
    metrics = (await api.get("/metrics")).text
    assert 'lpmos_notification_tries_total{kind="http",result="sent"} 1.0' in metrics
    assert "lpmos_notifications_waiting 0.0" in metrics


async def test_region_that_comes_online_is_told_of(
    control_plane: RunningControlPlane, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await create(api, new(receiver, events=["region.online"]))
    known = {"state": "offline", "since": "2026-01-02T03:04:05Z"}
    await control_plane.store.put(f"{keys.control('alerts')}region/dc1", msgspec.json.encode(known))
    lease = await control_plane.store.grant(30)
    beat = {"idc": "dc1", "identity": "a", "at": "2026-01-02T03:04:05Z", "services": {}}
    await control_plane.store.put(
        "/os/region/dc1/heartbeat", msgspec.json.encode(beat), lease=lease.id
    )
    async with asyncio.timeout(TIMEOUT_S):
        await receiver.until_received(1)
    message = msgspec.json.decode(receiver.received[0].body)
    assert (message["type"], message["data"]["idc"]) == ("region.online", "dc1")
    await lease.revoke()
