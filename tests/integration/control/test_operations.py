"""Health, metrics, the API's description, the pages' files, and the headers of all."""

import re
from pathlib import Path

import httpx
import pytest

from lpmos.control.pages import load_files
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane

WEB = Path(__file__).parents[3] / "web" / "src"


async def test_health_tells_the_stores_state(anyone: httpx.AsyncClient) -> None:
    health = (await anyone.get("/health")).json()
    assert (health["status"], health["live"], health["ready"]) == ("ok", True, True)
    assert health["store"]["backend"] == "sqlite"
    assert health["store"]["connected"] is True


async def test_metrics_count_tasks_requests_and_regions(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task())
    await api.get("/api/v1/tasks")
    await api.get("/api/v1/tasks/unknown")
    await api.get("/no/such/path")
    text = (await api.get("/metrics")).text
    assert 'lpmos_tasks{idc="dc1",status="pending"} 1.0' in text
    assert 'lpmos_task_oldest_seconds{idc="dc1",status="booting"} 0.0' in text
    assert 'lpmos_tasks_ended_total{idc="dc1",status="failed"} 0.0' in text
    assert 'lpmos_region_online{idc="dc1"} 0.0' in text
    assert "lpmos_websocket_clients 0.0" in text
    seen = 'lpmos_http_requests_total{method="GET",path="%s",status="%s"} 1.0'
    assert seen % ("/api/v1/tasks", "200") in text
    assert seen % ("/api/v1/tasks/{task_id}", "404") in text
    assert seen % ("unknown", "404") in text


async def test_schema_is_openapi_31_and_describes_every_call(api: httpx.AsyncClient) -> None:
    schema = (await api.get("/schema/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    calls = {(method, path) for path, item in schema["paths"].items() for method in item}
    assert {
        ("post", "/api/v1/tasks"),
        ("get", "/api/v1/tasks"),
        ("get", "/api/v1/tasks/{task_id}"),
        ("delete", "/api/v1/tasks/{task_id}"),
        ("put", "/api/v1/tasks/{task_id}/approve"),
        ("put", "/api/v1/tasks/{task_id}/reject"),
        ("get", "/api/v1/regions"),
        ("get", "/health"),
        ("get", "/metrics"),
    } <= calls
    create = schema["paths"]["/api/v1/tasks"]["post"]
    assert create["responses"]["422"] == {"$ref": "#/components/responses/Problem422"}
    assert {"bearer", "session"} == set(schema["components"]["securitySchemes"])


@pytest.mark.parametrize("path", ["/", "/login", "/tasks/create", "/schema"])
async def test_page_asks_nothing_of_other_hosts(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    assert "<style" not in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"\son[a-z]+=", answer.text)


@pytest.mark.parametrize("path", ["/", "/tasks/create", "/schema"])
async def test_page_without_a_session_leads_to_the_login(
    anyone: httpx.AsyncClient, path: str
) -> None:
    answer = await anyone.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_scripts_never_parse_markup_or_text_as_code() -> None:
    for name, file in load_files("static").items():
        if name.endswith(".js"):
            text = file.content.decode()
            for sink in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
                assert sink not in text, (name, sink)
            for place in ("localStorage", "sessionStorage", "document.cookie"):
                assert place not in text, (name, place)


def test_dashboard_never_parses_markup_or_text_as_code() -> None:
    sources = [path for kind in ("*.svelte", "*.ts") for path in WEB.rglob(kind)]
    assert sources
    for path in sources:
        text = path.read_text()
        for sink in ("{@html", "innerHTML", "outerHTML", "insertAdjacent", "eval(", "new Function"):
            assert sink not in text, (path, sink)
        assert "document.cookie" not in text, path


async def test_static_file_that_the_browser_has_is_not_sent_again(
    anyone: httpx.AsyncClient,
) -> None:
    first = await anyone.get("/static/lpmos.css")
    second = await anyone.get("/static/lpmos.css", headers={"If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/login", "/health", "/api/v1/tasks", "/no/such/path"])
async def test_every_answer_binds_the_browser(anyone: httpx.AsyncClient, path: str) -> None:
    headers = (await anyone.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    assert "server" not in headers


async def test_long_answer_is_compressed(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for number in range(20):
        await control_plane.put_task(make_task(task_id=f"t{number}", sn=f"SN-{number}"))
    answer = await api.get("/api/v1/tasks")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["tasks"]) == 20
