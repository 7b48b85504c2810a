"""What the version after this one may write into a task, and callers of this one may not.

The types that callers fill stand in the stored document as well. A part that is one version older
must read, and keep, what a newer one wrote there. The rule is in docs/reference/store.md
("Versions").
"""

import json
from typing import Any

import msgspec
import pytest

from lpmos.core.fitting import fitted
from lpmos.core.problems import decode_body
from lpmos.core.taskrow import row_of_document
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.errors import InvalidInput, NoSuitableDisk
from lpmos.model.lifecycle import Status
from lpmos.model.rule import Rule
from lpmos.model.task import NewTask, Task
from lpmos.store import records
from lpmos.store.api import KV
from tests.support.builders import make_inventory, make_task
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
HINTS = ("root_disk", "disk_layout.members.0")
JOB = {"steps": [{"step": "disk_erase", "disks": [{"serial": "S1"}]}]}


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
    return KV("/os/dc1/machines/SN-1/task", msgspec.json.encode(document), 0, 0, 0)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_new_in_a_stored_task_is_passed_over_and_kept(place: str) -> None:
    newer = _with_new(_task(**ASKED), place)
    task = records.decode(_kv(newer), Task)
    if place not in HINTS:
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


@pytest.mark.parametrize("place", HINTS)
def test_disk_hint_that_is_not_known_is_matched_by_no_disk(place: str) -> None:
    """Passed over, it would let the task have a disk that it does not want."""
    asked = {
        "disk_layout": {"members": [{}]} if place != "root_disk" else "auto",
        "root_disk": {"overwrite": True} if place == "root_disk" else {},
    }
    known = records.decode(_kv(_task(**asked)), Task)
    plan_disk(make_inventory(), known.disk_layout, known.root_disk, GIB)
    task = records.decode(_kv(_with_new(_task(**asked), place)), Task)
    with pytest.raises(NoSuitableDisk, match=r"root_disk\.new, which a newer version"):
        plan_disk(make_inventory(), task.disk_layout, task.root_disk, GIB)
    assert RootDiskHints().unknown is None


@pytest.mark.parametrize("place", ["job", "job.steps.0", "job.steps.0.disks.0"])
def test_job_of_which_something_is_not_known_is_not_read(place: str) -> None:
    """What it may write could be limited by just that."""
    records.decode(_kv(_task(job=JOB)), Task)
    with pytest.raises(records.DamagedRecord, match="new"):
        records.decode(_kv(_with_new(_task(job=JOB), place)), Task)


@pytest.mark.parametrize("place", ["fields", "fields.task", "fields.task.root_disk"])
def test_rule_of_which_something_is_not_known_is_not_read(place: str) -> None:
    task = {"os_type": "debian", "os_version": "12", "root_disk": {}}
    rule = json.loads(records.encode(make_rule()))
    rule["fields"] |= {"kind": "create", "task": task}
    records.decode(_kv(rule), Rule)
    with pytest.raises(records.DamagedRecord, match="new"):
        records.decode(_kv(_with_new(rule, place)), Rule)
