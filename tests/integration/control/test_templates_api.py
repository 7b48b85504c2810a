"""Templates over HTTP: versions, conditional changes, preview for a task, validation."""

import httpx

from lpmos.model.access import Role
from lpmos.model.machine import Machine
from lpmos.model.task import Task
from lpmos.store import keys, records
from tests.support.builders import NOW, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until

TEXT = "hostname={{ task.hostname }}\n"


async def test_template_put_is_read_with_its_version_and_revision(api: httpx.AsyncClient) -> None:
    made = await api.put("/api/v1/templates/preseed", json={"content": TEXT, "description": "d"})
    assert made.status_code == 200, made.text
    assert made.json()["version"] == 1
    shown = await api.get("/api/v1/templates/preseed")
    assert shown.json() == made.json()
    assert shown.headers["etag"] == f'"{made.json()["revision"]}"'
    listed = (await api.get("/api/v1/templates")).json()["templates"]
    assert [(each["name"], each["version"]) for each in listed] == [("preseed", 1)]


async def test_template_changed_keeps_every_version_and_the_same_text_makes_none(
    api: httpx.AsyncClient,
) -> None:
    for text in (TEXT, TEXT, TEXT + "x\n"):
        await api.put("/api/v1/templates/preseed", json={"content": text})
    versions = (await api.get("/api/v1/templates/preseed/versions")).json()["versions"]
    assert [(each["version"], each["content"]) for each in versions] == [
        (2, TEXT + "x\n"),
        (1, TEXT),
    ]
    assert (await api.get("/api/v1/templates/preseed/versions/1")).json()["content"] == TEXT
    await api.delete("/api/v1/templates/preseed")
    assert (await api.get("/api/v1/templates/preseed")).status_code == 404
    again = await api.put("/api/v1/templates/preseed", json={"content": TEXT})
    assert again.json()["version"] == 3


async def test_template_change_of_a_stale_revision_is_412_and_changes_nothing(
    api: httpx.AsyncClient,
) -> None:
    made = await api.put("/api/v1/templates/a", json={"content": "1"})
    stale = {"If-Match": f'"{made.json()["revision"] - 1}"'}
    for call in (
        api.put("/api/v1/templates/a", json={"content": "2"}, headers=stale),
        api.delete("/api/v1/templates/a", headers=stale),
    ):
        assert (await call).status_code == 412
    assert (await api.get("/api/v1/templates/a")).json()["content"] == "1"
    wrong = await api.put("/api/v1/templates/a", json={"content": "2"}, headers={"If-Match": "x"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "If-Match"


async def test_template_that_is_wrong_is_refused_by_line_and_name(api: httpx.AsyncClient) -> None:
    answer = await api.put("/api/v1/templates/a", json={"content": "ok\n{{ nothing.x }}"})
    assert answer.status_code == 422
    assert "line 2" in answer.json()["errors"][0]["message"]
    assert (await api.put("/api/v1/templates/A..", json={"content": "x"})).status_code == 422
    checked = await api.post("/api/v1/templates/validate", json={"content": "{% if %}"})
    assert checked.json()["valid"] is False
    assert (await api.get("/api/v1/templates")).json()["templates"] == []


async def test_template_preview_is_rendered_for_a_task_without_its_intent(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    task = make_task(hostname="web1")
    await control_plane.put_task(task)
    await api.put("/api/v1/templates/a", json={"content": TEXT})
    seen = await api.post("/api/v1/templates/a/preview", json={"task_id": task.task_id})
    assert seen.json() == {"text": "hostname=web1\n"}
    tried = await api.post(
        "/api/v1/templates/a/preview",
        json={"task_id": task.task_id, "content": "{{ task.intent }}"},
    )
    assert tried.status_code == 422
    unknown = await api.post("/api/v1/templates/a/preview", json={"task_id": "none"})
    assert unknown.status_code == 404


async def test_template_preview_shows_nothing_of_a_machine_that_is_anothers_now(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    task = make_task(tenant="acme")
    await control_plane.put_task(task)
    machine = Machine(
        idc=task.idc,
        sn=task.sn,
        macs=(task.mac,),
        tenant="globex",
        tags={"owner": "globex"},
        first_seen_at=NOW,
        updated_at=NOW,
    )
    key = keys.meta(task.idc, task.sn)
    await control_plane.store.put(key, records.encode(machine))
    await until(lambda: _has_machine(control_plane, task))
    viewer = await control_plane.as_user([Role.VIEWER], tenant="acme")
    asked = {"task_id": task.task_id, "content": "{{ machine.tags.owner }}"}

    await api.put("/api/v1/templates/a", json={"content": TEXT})
    place = "/api/v1/templates/a/preview"
    theirs = await api.post(place, json=asked, headers={"Authorization": f"Bearer {viewer}"})
    providers = await api.post(place, json=asked)

    assert theirs.status_code == 422, theirs.text
    assert providers.json() == {"text": "globex"}


async def _has_machine(control_plane: RunningControlPlane, task: Task) -> bool:
    return control_plane.fleet.machine(task.idc, task.sn) is not None


async def test_versions_of_a_template_that_never_was_are_not_found(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/v1/templates/never/versions")).status_code == 404
