"""Every way to be refused has one shape, and leaves the store as it was."""

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get
from structlog.testing import capture_logs

from lpmos.control.http.problems import answer_error
from lpmos.store import keys
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane, running
from tests.support.faulty_store import FaultyStore
from tests.support.polling import ANSWER_TIMEOUT_S

JSON = {"Content-Type": "application/json"}
MEMBERS = {"type", "title", "status", "detail", "code", "errors", "instance"}
TASK = b'{"idc":"dc1","mac":"52:54:00:00:00:01","os_type":"debian","os_version":"12"}'


def _problem(answer: httpx.Response) -> str:
    """The code of an answer that must be a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == MEMBERS
    assert document["status"] == answer.status_code
    assert document["instance"] == answer.headers["x-request-id"]
    return str(document["code"])


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("POST", "/api/v1/tasks", JSON, b"{", 400, "malformed"),
        ("POST", "/api/v1/tasks", JSON, b"", 400, "malformed"),
        ("POST", "/api/v1/tasks", JSON, b"[" * 100_000, 400, "malformed"),
        ("POST", "/api/v1/tasks", JSON, b'{"os_type":"\xff"}', 400, "malformed"),
        ("POST", "/api/v1/tasks", JSON, b"[]", 422, "invalid-input"),
        ("POST", "/api/v1/tasks", JSON, b" " * 300_000, 413, "too-large"),
        ("POST", "/api/v1/tasks", {}, TASK, 415, "unsupported-media-type"),
        (
            "POST",
            "/api/v1/tasks",
            {"Content-Type": "text/plain"},
            TASK,
            415,
            "unsupported-media-type",
        ),
        ("PATCH", "/api/v1/tasks", {}, b"", 405, "method-not-allowed"),
        ("GET", "/api/v1/nothing", {}, b"", 404, "not-found"),
        ("GET", "/schema/nothing", {}, b"", 404, "not-found"),
        ("GET", "/static/nothing.js", {}, b"", 404, "not-found"),
        ("GET", "/static/..%2Fapp.py", {}, b"", 404, "not-found"),
        ("PUT", "/api/v1/tasks/none/approve", JSON, b'{"approved":true}', 404, "not-found"),
        ("DELETE", f"/api/v1/tasks/{'x' * 3000}", {}, b"", 404, "not-found"),
    ],
)
async def test_refused_request_is_one_problem_document(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    code: str,
) -> None:
    before = await control_plane.documents()
    answer = await api.request(method, path, headers=headers, content=body)
    assert (answer.status_code, _problem(answer)) == (status, code)
    assert await control_plane.documents() == before


async def test_body_sent_in_pieces_without_a_length_is_bounded_too(api: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b" " * 1000

    answer = await api.post("/api/v1/tasks", headers=JSON, content=pieces())
    assert (answer.status_code, _problem(answer)) == (413, "too-large")


async def test_method_not_allowed_names_the_methods_that_are(api: httpx.AsyncClient) -> None:
    answer = await api.request("PATCH", "/api/v1/tasks")
    assert "POST" in answer.headers["allow"]


@pytest.fixture
async def faulty(tmp_store: SqliteStore) -> FaultyStore:
    return FaultyStore(tmp_store)


async def test_store_away_is_503_with_a_time_to_come_back_and_changes_nothing(
    faulty: FaultyStore,
) -> None:
    async with running(faulty) as control_plane:
        await control_plane.offer_debian()
        task = make_task()
        await control_plane.put_task(task)
        headers = {"Authorization": f"Bearer {control_plane.token}"}
        async with httpx.AsyncClient(
            base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
        ) as api:
            before = await control_plane.documents()
            faulty.away = True
            place = f"/api/v1/tasks/{task.task_id}"
            other = TASK.replace(b"00:01", b"00:02")
            for answer in (
                await api.post("/api/v1/tasks", headers=JSON, content=other),
                await api.delete(place),
            ):
                assert (answer.status_code, _problem(answer)) == (503, "store-unavailable")
                assert int(answer.headers["retry-after"]) > 0
            assert (await api.get(place)).json()["status"] == "pending"
            ready = await api.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json()["store"]["error"] == "store-unavailable"
            assert (await api.get("/health/live")).status_code == 200
            faulty.away = False
            assert await control_plane.documents() == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/tasks"),
        ("GET", "/api/v1/tasks/unknown"),
        ("GET", "/api/v1/regions"),
        ("POST", "/api/v1/tasks"),
        ("DELETE", "/api/v1/tasks/unknown"),
    ],
)
async def test_nothing_is_said_to_be_missing_before_the_store_was_read(
    faulty: FaultyStore, method: str, path: str
) -> None:
    faulty.away = True
    async with running(faulty, wait_listed=False) as control_plane:
        headers = {"Authorization": f"Bearer {control_plane.token}"} | JSON
        async with httpx.AsyncClient(
            base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
        ) as api:
            answer = await api.request(method, path, content=TASK if method == "POST" else b"")
            assert (answer.status_code, _problem(answer)) == (503, "store-unavailable")
            assert int(answer.headers["retry-after"]) > 0


async def test_task_that_is_not_known_while_the_store_is_away_is_no_404(
    faulty: FaultyStore,
) -> None:
    async with running(faulty, silence_s=0.05) as control_plane:
        await control_plane.put_task(make_task())
        headers = {"Authorization": f"Bearer {control_plane.token}"}
        async with httpx.AsyncClient(
            base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
        ) as api:
            faulty.away = True
            await control_plane.until_connected(False)
            answer = await api.get("/api/v1/tasks/unknown")
            assert (answer.status_code, _problem(answer)) == (503, "store-unavailable")
            assert (await api.get("/api/v1/tasks")).json()["total"] == 1
            faulty.away = False
            await control_plane.until_connected(True)
            assert (await api.get("/api/v1/tasks/unknown")).status_code == 404


async def test_answer_lost_after_the_write_is_not_written_twice(faulty: FaultyStore) -> None:
    async with running(faulty) as control_plane:
        await control_plane.offer_debian()
        headers = {"Authorization": f"Bearer {control_plane.token}"} | JSON
        async with httpx.AsyncClient(
            base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
        ) as api:
            faulty.lose_answers = 1
            answer = await api.post("/api/v1/tasks", content=TASK)
            assert answer.status_code == 201
            assert (await api.get("/api/v1/tasks")).json()["total"] == 1


async def test_damaged_record_is_500_and_names_the_key(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.store.put(keys.task("dc1", "SN-1"), b"not a task")
    body = TASK.replace(b'"idc"', b'"sn":"SN-1","idc"')
    answer = await api.post("/api/v1/tasks", headers=JSON, content=body)
    assert (answer.status_code, _problem(answer)) == (500, "store-damaged-record")
    assert keys.task("dc1", "SN-1") in answer.json()["detail"]


@get("/broken")
async def broken() -> None:
    """A handler with a defect."""
    raise RuntimeError("a secret of the inside")


async def test_unexpected_error_is_500_and_only_the_log_has_its_text() -> None:
    app = Litestar([broken], exception_handlers={Exception: answer_error}, logging_config=None)
    transport = httpx.ASGITransport(cast("Any", app))
    with capture_logs() as logged:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", timeout=ANSWER_TIMEOUT_S
        ) as client:
            answer = await client.get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    (entry,) = logged
    assert entry["request_id"] == answer.json()["instance"]
    assert str(entry["exc_info"]) == "a secret of the inside"


async def test_every_wrong_parameter_is_named_at_once_in_plain_words(
    api: httpx.AsyncClient,
) -> None:
    asked = {"limit": "many", "offset": "-1", "since": "noon", "status": "lost", "colour": "red"}
    answer = await api.get("/api/v1/tasks", params=asked)
    named = {each["field"]: each["message"] for each in answer.json()["errors"]}
    assert (answer.status_code, set(named)) == (422, set(asked))
    assert (named["limit"], named["offset"]) == ("must be a whole number", "must be at least 0")


async def test_new_task_with_wrong_fields_is_told_of_the_os_and_the_region_too(
    api: httpx.AsyncClient,
) -> None:
    wrong = {"mac": 5, "os_type": "debian", "os_version": "99", "colour": "red"}
    for place, fields in (("dc1", {"os_version"}), ("dc9", {"idc"})):
        body = {**wrong, "idc": place}
        answer = await api.post("/api/v1/tasks", json=body)
        named = {each["field"]: each["message"] for each in answer.json()["errors"]}
        assert set(named) == {"mac", "colour"} | fields
        assert named["mac"] == "must be text or null, not a whole number"
        rows = (await api.post("/api/v1/tasks/bulk", json=[body])).json()["rows"]
        assert {each["field"] for each in rows[0]["problem"]["errors"]} == set(named)
