"""Templates of answer files over HTTP: the package's own, an operator's, and what is refused."""

import httpx
import pytest

from lpmos.install import answers
from lpmos.model.installer import FAMILIES, Family
from lpmos.model.setup import Setup
from tests.support.answers import answer_task
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane

PLACE = "/api/v1/templates"
WAIT_S = 60.0
"""A process of its own tries each template, which takes its time on a busy machine."""


def place(family: Family) -> str:
    return f"{PLACE}/{answers.TEMPLATE_NAMES[family]}"


async def test_packages_own_template_is_shown_until_one_is_stored(api: httpx.AsyncClient) -> None:
    own = (await api.get(place("rhel"))).json()
    assert (own["version"], own["revision"], own["updated_by"]) == (0, 0, "lpmos")
    assert own["content"] == answers.default_template("rhel")
    none = {"If-Match": '"0"'}
    changed = own["content"].replace("keyboard us", "keyboard de")
    made = await api.put(place("rhel"), json={"content": changed}, headers=none, timeout=WAIT_S)
    assert made.status_code == 200, made.text
    assert made.json()["version"] == 1
    assert (await api.get(place("rhel"))).json()["content"] == changed
    await api.delete(place("rhel"))
    assert (await api.get(place("rhel"))).json()["content"] == own["content"]


@pytest.mark.parametrize("family", FAMILIES)
async def test_packages_own_template_is_taken_as_it_is(
    api: httpx.AsyncClient, family: Family
) -> None:
    content = answers.default_template(family)
    made = await api.put(place(family), json={"content": content}, timeout=WAIT_S)
    assert made.status_code == 200, made.text


@pytest.mark.parametrize(
    ("family", "change", "why"),
    [
        ("rhel", ("{{ locale }}", "{{ machine.sn }}"), "there is no variable 'machine'"),
        ("rhel", ("{{ locale }}", "{{ task.rack }}"), "no attribute 'rack'"),
        ("rhel", ("keyboard us", "keybord us"), "keybord"),
        ("debian", ("d-i time/zone string", "time zone"), "is no line of a preseed file"),
        ("ubuntu", ("  timezone:", "  time-zone:"), "autoinstall has no key 'time-zone'"),
        ("suse", ("</general>", "</generl>"), "mismatched tag"),
        ("windows", ("</OOBE>", "</OBE>"), "mismatched tag"),
    ],
)
async def test_template_that_makes_no_answer_file_is_refused_when_it_is_saved(
    api: httpx.AsyncClient, family: Family, change: tuple[str, str], why: str
) -> None:
    content = answers.default_template(family).replace(*change)
    refused = await api.put(place(family), json={"content": content}, timeout=WAIT_S)
    assert refused.status_code == 422
    assert why in refused.json()["errors"][0]["message"]
    body = {"content": content, "name": answers.TEMPLATE_NAMES[family]}
    checked = (await api.post(f"{PLACE}/validate", json=body, timeout=WAIT_S)).json()
    assert not checked["valid"]
    assert checked["errors"] == refused.json()["errors"]
    assert (await api.get(place(family))).json()["version"] == 0


async def test_preview_shows_what_the_installer_gets_without_secrets(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    setup = Setup(packages=("tmux",), commands=("true",), secret_names=("TOKEN",))
    task = answer_task(layout="lvm", hostname="web1", setup=setup)
    await control_plane.put_task(task)
    seen = await api.post(
        f"{place('rhel')}/preview", json={"task_id": task.task_id}, timeout=WAIT_S
    )
    assert seen.status_code == 200, seen.text
    text = seen.json()["text"]
    assert "\ntmux\n" in text
    assert "volgroup vg0 pv.vg0\n" in text
    assert "********" in text


async def test_preview_of_a_task_without_a_disk_plan_says_why(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    task = make_task()
    await control_plane.put_task(task)
    seen = await api.post(
        f"{place('suse')}/preview", json={"task_id": task.task_id}, timeout=WAIT_S
    )
    assert seen.status_code == 422
    assert "disks are not known yet" in seen.json()["errors"][0]["message"]
