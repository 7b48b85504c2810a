"""What the version after this one may write into a task, and callers of this one may not.

The types that callers fill stand in the stored document as well. A part that is one version older
must read, and keep, what a newer one wrote there. The rule is in docs/reference/store.md
("Versions").
"""

import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lpmos.core.fitting import fitted
from lpmos.core.problems import decode_body
from lpmos.core.taskrow import row_of_document
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.errors import Conflict, InvalidInput, NoSuitableDisk
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from lpmos.model.rule import Rule
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import KV
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor, make_capabilities, make_inventory, make_task
from tests.support.deadlines import SetClock, Warden
from tests.support.rules import make_rule

ASKED: dict[str, Any] = {
    "disk_layout": {"members": [{"serial": "S1"}], "partitions": [{"mount": "/srv", "fill": True}]},
    "root_disk": {"serial": "S1"},
    "network_config": {
        "links": [
            {
                "kind": "ethernet",
                "name": "lan0",
                "addresses": ["192.0.2.10/24"],
                "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.2"}],
            },
            {"kind": "vlan", "name": "v7", "over": "lan0", "id": 7, "dhcp": True},
            {"kind": "bond", "name": "bond0", "members": ["lan1", "lan2"]},
            {"kind": "bridge", "name": "br0", "members": ["lan3"]},
        ]
    },
    "setup": {
        "users": [{"name": "anna"}],
        "cloud_init": {"user_data": "#cloud-config\n{}\n"},
        "ansible": {"repository": "https://git.example.net/site.git"},
        "puppet": {"server": "puppet.example.net"},
    },
}
"""Each object that callers fill and a task has, by the path to it."""
PLACES = (
    "disk_layout",
    "disk_layout.members.0",
    "disk_layout.partitions.0",
    "root_disk",
    "network_config",
    "network_config.links.0",
    "network_config.links.0.routes.0",
    "network_config.links.1",
    "network_config.links.2",
    "network_config.links.3",
    "setup",
    "setup.users.0",
    "setup.cloud_init",
    "setup.ansible",
    "setup.puppet",
)
LAYOUT = tuple(place for place in PLACES if place.startswith("disk_layout"))
PASSED_OVER = tuple(place for place in PLACES if place not in LAYOUT)
KEY = keys.task("dc1", "SN-1")
JOB: dict[str, Any] = {"steps": [{"step": "disk_erase", "disks": [{"serial": "S1"}]}]}


def _with_new(document: Any, place: str) -> Any:
    """A copy of `document` with a member `new` in the object at `place`."""
    name, _, rest = place.partition(".")
    if not name:
        return {**document, "new": {"any": 1}}
    if isinstance(document, list):
        return [
            _with_new(each, rest) if at == int(name) else each for at, each in enumerate(document)
        ]
    return {**document, name: _with_new(document[name], rest)}


def _task(**asked: Any) -> dict[str, Any]:
    """The document of a task, as plain JSON."""
    return dict(json.loads(records.encode(make_task())), **asked)


def _kv(document: Any) -> KV:
    return KV(KEY, msgspec.json.encode(document), 0, 0, 0)


@pytest.mark.parametrize("place", PASSED_OVER)
def test_what_is_new_in_a_stored_task_is_passed_over_and_kept(place: str) -> None:
    newer = _with_new(_task(**ASKED), place)
    task = records.decode(_kv(newer), Task)
    if place != "root_disk":
        assert task == records.decode(_kv(_task(**ASKED)), Task)
    changed = msgspec.structs.replace(task, status=Status.FAILED, tags={"changed": "yes"})
    for over, status in ((task, task.status), (changed, Status.FAILED)):
        document = fitted(over, msgspec.json.encode(newer))[1]
        kept = json.loads(document)
        assert {name: kept[name] for name in ASKED} == _expanded(newer, kept)
        assert row_of_document(_kv(kept)).status is status


def _expanded(newer: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """What was asked for in `newer`, with the defaults that `kept` writes out."""
    return {name: _over(newer[name], kept[name]) for name in ASKED}


def _over(said: Any, kept: Any) -> Any:
    if isinstance(said, dict) and isinstance(kept, dict):
        return {**kept, **{name: _over(each, kept.get(name)) for name, each in said.items()}}
    if isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
        return [_over(*pair) for pair in zip(said, kept, strict=True)]
    return said


@pytest.mark.parametrize("place", PLACES)
def test_what_is_unknown_in_a_callers_task_is_refused_by_name(place: str) -> None:
    body = {
        "idc": "dc1",
        "mac": "52:54:00:12:34:56",
        "os_type": "debian",
        "os_version": "12",
        **ASKED,
    }
    decode_body(msgspec.json.encode(body), NewTask)
    with pytest.raises(InvalidInput) as refused:
        decode_body(msgspec.json.encode(_with_new(body, place)), NewTask)
    assert [(each.field, each.message) for each in refused.value.problems] == [
        (f"{place}.new", "is unknown")
    ]


def test_disk_hint_that_is_not_known_is_matched_by_no_disk() -> None:
    """Passed over, it would let the task have a disk that it does not want."""
    asked = {"root_disk": {"overwrite": True}}
    known = records.decode(_kv(_task(**asked)), Task)
    plan_disk(make_inventory(), known.disk_layout, known.root_disk, GIB)
    task = records.decode(_kv(_with_new(_task(**asked), "root_disk")), Task)
    with pytest.raises(NoSuitableDisk, match=r"root_disk\.new, which a newer version"):
        plan_disk(make_inventory(), task.disk_layout, task.root_disk, GIB)
    assert RootDiskHints().unknown is None


@pytest.mark.parametrize("place", [*LAYOUT, "job", "job.steps.0", "job.steps.0.disks.0"])
def test_layout_or_job_of_which_something_is_not_known_is_not_read(place: str) -> None:
    """What it may write could be limited by just that. Lists show the task all the same."""
    asked = {**ASKED, "job": JOB}
    records.decode(_kv(_task(**asked)), Task)
    newer = _kv(_with_new(_task(**asked), place))
    with pytest.raises(records.DamagedRecord, match="new"):
        records.decode(newer, Task)
    assert row_of_document(newer).task_id == make_task().task_id


JOB_PLAN = {"steps": [{"asked": {**JOB["steps"][0], "new": 1}, "writes": True}], "new": 1}


def test_list_shows_a_task_whose_parts_have_more_than_is_known() -> None:
    """Also where it has to be taken apart: then the hardware comes as it was, for its sum."""
    hardware = {**msgspec.to_builtins(make_inventory()), "new": {"any": 1}}
    newer = _task(job=_with_new(JOB, "steps.0"), job_plan=JOB_PLAN, hardware=hardware)
    row = row_of_document(_kv(newer))
    assert row.hardware_sum == zlib.crc32(msgspec.json.encode(hardware))


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Warden]:
    """A control plane over a store of its own, in which dc1 offers Debian 12."""
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    warden = Warden(store, SetClock())
    async with warden.listening():
        yield warden
    await store.close()


async def _set_aside(control: Warden, document: Any) -> tuple[str, bytes]:
    """Store a failed task with its dead letter; its id and document."""
    failed = {**document, "status": "failed"}
    task_id, value = failed["task_id"], msgspec.json.encode(failed)
    place = records.encode(TaskPlace(idc="dc1", sn="SN-1"))
    for key in (KEY, keys.dead_letter("dc1", task_id)):
        await control.store.put(key, value)
    await control.store.put(keys.task_place(task_id), place)
    await control.synced()
    return task_id, value


@pytest.mark.parametrize("place", PLACES)
async def test_task_that_asks_for_what_is_not_known_is_not_tried_again(
    control: Warden, place: str
) -> None:
    """The new task would lack it, or be kept from every disk by a hint that nobody gave."""
    task_id, value = await _set_aside(control, _with_new(_task(**ASKED), place))
    refused = records.DamagedRecord if place in LAYOUT else Conflict
    for again in (control.tasks.retry, control.tasks.requeue):
        with pytest.raises(refused, match="newer version" if refused is Conflict else "new"):
            await again(task_id, by=actor())
    kept = await control.store.get(KEY)
    assert kept is not None and kept.value == value
    assert await control.store.get(keys.dead_letter("dc1", task_id)) is not None


async def test_task_of_which_all_that_it_asks_for_is_known_is_tried_again(control: Warden) -> None:
    task_id, _ = await _set_aside(control, _with_new(_task(**ASKED), ""))
    made = await control.tasks.retry(task_id, by=actor())
    assert made.task.retry_of == task_id
    assert made.task.disk_layout == records.decode(_kv(_task(**ASKED)), Task).disk_layout


@pytest.mark.parametrize("place", ["fields", "fields.task", "fields.task.root_disk"])
def test_rule_of_which_something_is_not_known_is_not_read(place: str) -> None:
    task = {"os_type": "debian", "os_version": "12", "root_disk": {}}
    rule = json.loads(records.encode(make_rule()))
    rule["fields"] |= {"kind": "create", "task": task}
    records.decode(_kv(rule), Rule)
    with pytest.raises(records.DamagedRecord, match="new"):
        records.decode(_kv(_with_new(rule, place)), Rule)
