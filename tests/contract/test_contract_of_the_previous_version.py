"""What the version before this one wrote and said, as `requirements/check-upgrade` recorded it.

The parts of a system are updated one after the other, so for a while an old region works with a
new control plane, or the other way round. The rule that makes that safe is in
docs/reference/store.md ("Versions"); here it is held against the record.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from jsonschema import Draft202012Validator

from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.plan import parse_plan
from lpmos.agent.run import run_agent
from lpmos.core.backup.kinds import KINDS
from lpmos.core.fitting import fitted
from lpmos.model import machine, newtask, region, task
from lpmos.model.audit import Anchor, Head
from lpmos.model.diskplan import GIB, RootDiskHints, StorageLayout, plan_disk
from lpmos.model.installplan import InstallPlan
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.network import Ethernet, Network
from lpmos.model.rule import RuleTask
from lpmos.region import wire
from lpmos.store import records
from lpmos.store.api import KV
from tests.support.agent_region import TASK_ID, agent_region, plan_for
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.rules import make_rule

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_bytes())
REGION_KINDS: dict[str, type[msgspec.Struct]] = {
    "heartbeat": region.Heartbeat,
    "status": region.RegionStatus,
    "capabilities": region.Capabilities,
    "lease": machine.AgentLease,
    "active": region.LastActive,
}
REPLACED = {"StaticNetwork": "Network"}
"""Types that have another name now; what they write when nothing new is used has a test below."""

WIDENED = {
    ("NewTask", "disk_layout"),
    ("NewTask", "os_type"),
    ("NewTask", "os_version"),
    ("RuleTask", "disk_layout"),
    ("Task", "disk_layout"),
    ("TaskSpec", "disk_layout"),
    ("Partition", "role"),
}
"""Fields that take more than they did; a task that uses nothing of it has a test below."""

WORDS = ("title", "description", "default", "examples", "pattern", "not", "maxLength", "minLength")
"""Of a schema, what says nothing of the values that a stored document may have."""


def _kind(key: str) -> type[msgspec.Struct] | None:
    for _, pattern, kind in KINDS:
        if pattern.fullmatch(key) and kind is not None:
            return kind
    if "/clients/" in key:
        return region.RegionClient
    return REGION_KINDS.get(key.rpartition("/")[2])


def _kv(key: str, value: object) -> KV:
    return KV(key, msgspec.json.encode(value), 0, 0, 0)


def _types() -> dict[str, type[msgspec.Struct]]:
    found: dict[str, type[msgspec.Struct]] = {}
    waiting: list[Any] = [each for _, _, each in KINDS if each] + [Head, Anchor]
    for module in (region, machine, task, newtask):
        waiting += [each for each in vars(module).values() if isinstance(each, type)]
    for each in waiting:
        if issubclass(each, msgspec.Struct):
            found.setdefault(each.__name__, each)  # two may have one name: what is stored counts
    return found


TYPES = _types()
_, NEW = msgspec.json.schema_components(list(TYPES.values()), ref_template="#/$defs/{name}")
OLD: dict[str, Any] = RECORDED["schemas"]["documents"]
OLD_BODIES: dict[str, Any] = RECORDED["schemas"]["bodies"]
CALLS = {"report": "Report", "status": "StatusCall", "progress": "ProgressCall"}
IMAGE = b"image" * 100_000


def _bare(schema: Any) -> Any:
    """A schema without what is for people, or is checked where people write."""
    if isinstance(schema, dict):
        return {name: _bare(each) for name, each in schema.items() if name not in WORDS}
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    name = str(schema).removeprefix("#/$defs/")
    return f"#/$defs/{REPLACED[name]}" if name in REPLACED else schema


@pytest.mark.parametrize(
    "recorded", RECORDED["documents"], ids=[each["key"] for each in RECORDED["documents"]]
)
def test_document_of_the_previous_version_is_read_and_keeps_all_that_it_had(
    recorded: dict[str, Any],
) -> None:
    kind = _kind(recorded["key"])
    if kind is None:  # the control plane's own, which one version at a time writes
        assert recorded["key"].startswith(("/os/control/", "/os/tasks/", "/os/dc1/macs/"))
        return
    kv = _kv(recorded["key"], recorded["value"])
    document = records.decode(kv, kind)
    written = json.loads(records.encode(document, kv.value))
    for name, value in recorded["value"].items():
        assert name in written and _same(written[name], value), name
    Draft202012Validator({"$ref": f"#/$defs/{kind.__name__}", "$defs": OLD}).validate(written)


def _same(written: Any, recorded: Any) -> bool:
    """Whether all of what was recorded is in what was written."""
    if isinstance(recorded, dict) and isinstance(written, dict):
        return all(
            _same(written[name], value) if name in written else not value
            for name, value in recorded.items()
        )
    if isinstance(recorded, list) and isinstance(written, list) and len(written) == len(recorded):
        return all(_same(*pair) for pair in zip(written, recorded, strict=True))
    return bool(written == recorded)


@pytest.mark.parametrize("status", [each.value for each in Status])
def test_task_in_each_state_is_in_the_record(status: str) -> None:
    tasks = [each for each in RECORDED["documents"] if each["key"].endswith("/task")]
    assert status in {each["value"]["status"] for each in tasks}


@pytest.mark.parametrize("name", sorted(OLD.keys() - REPLACED))
def test_type_of_documents_has_what_the_previous_version_reads(name: str) -> None:
    """No field went, none became another or must be there that was not; no new word in an enum."""
    assert name in NEW, f"{name} is gone or renamed: the previous version still reads and writes it"
    old, new = _bare(OLD[name]), _bare(NEW[name])
    fields = old.pop("properties", {})
    now = new.pop("properties", {})
    for field, schema in fields.items():
        if (name, field) in WIDENED:
            assert field in now and now[field] != schema, f"{name}.{field}"
            continue
        assert now.get(field) == schema, f"{name}.{field}"
    required, before = set(new.pop("required", [])), set(old.pop("required", []))
    assert required <= before, name
    assert before - required <= {field for kind, field in WIDENED if kind == name}, name
    assert new == old, name


def _filled() -> dict[str, Any]:
    """A task as this version writes it, with every field that the previous one does not know."""
    given = {"reported_by": "0" * 32, "handed_over_at": NOW, "first_boot_sha256": "0" * 64}
    known = {field: value for field, value in given.items() if field in task.Task.__struct_fields__}
    approval = task.Approval(approved=True, status="approved", approved_by="anna", approved_at=NOW)
    if "fingerprint" in task.Approval.__struct_fields__:
        approval = msgspec.structs.replace(approval, fingerprint="0" * 64)
    filled = make_task(status=Status.INSTALLING, approval=approval, **known)
    return dict(json.loads(records.encode(filled)))


def test_task_with_all_that_is_new_is_read_by_the_previous_version() -> None:
    written = _filled()
    Draft202012Validator({"$ref": "#/$defs/Task", "$defs": OLD}).validate(written)
    assert written.keys() > set(OLD["Task"]["properties"])


@pytest.mark.parametrize("status", sorted(FINAL))
def test_finished_task_as_it_stays_is_read_by_the_previous_version(status: Status) -> None:
    hardware = make_inventory()
    plan = plan_disk(hardware, "auto", RootDiskHints(overwrite=True), GIB)
    logs = tuple(f"2026-01-02T03:04:05.000Z [INFO] line {number}" for number in range(50))
    task = make_task(status=status, hardware=hardware, plan=plan, logs=logs)
    document = fitted(task)[1]
    assert b'"folded":' in document
    Draft202012Validator({"$ref": "#/$defs/Task", "$defs": OLD}).validate(json.loads(document))


def test_network_of_one_address_is_read_by_the_previous_version_and_one_of_links_is_not() -> None:
    simple = make_task(network_config=Network(address="192.0.2.10/24", gateway="192.0.2.1"))
    links = Network(links=(Ethernet(name="eno1"),))
    old = Draft202012Validator({"$ref": "#/$defs/Task", "$defs": OLD})
    old.validate(json.loads(records.encode(simple)))
    assert not old.is_valid(json.loads(records.encode(make_task(network_config=links))))


def test_task_with_a_named_layout_is_read_by_the_previous_version_and_one_of_its_own_is_not() -> (
    None
):
    old = Draft202012Validator({"$ref": "#/$defs/Task", "$defs": OLD})
    inventory = make_inventory()
    plans = {
        name: plan_disk(inventory, name, RootDiskHints(overwrite=True), GIB)
        for name in ("auto", "lvm")
    }
    auto = make_task(root_disk=RootDiskHints(overwrite=True), plan=plans["auto"])
    old.validate(json.loads(records.encode(auto)))
    for other in ({"disk_layout": StorageLayout(lvm=True)}, {"plan": plans["lvm"]}):
        assert not old.is_valid(json.loads(records.encode(make_task(**other))))


def test_rule_is_read_by_the_previous_version_unless_it_approves_jobs() -> None:
    old = Draft202012Validator({"$ref": "#/$defs/Rule", "$defs": _closed("RuleFields")})
    for said in ({}, {"jobs": "none"}):
        written = json.loads(records.encode(make_rule(**said)))
        old.validate(written)
        assert written["fields"].keys() == OLD["RuleFields"]["properties"].keys()
    assert not old.is_valid(json.loads(records.encode(make_rule(jobs="reading"))))


@pytest.mark.parametrize("new", [{"kernel_arguments": "nomodeset"}, {"method": "installer"}])
def test_rule_that_creates_is_read_by_the_previous_version_unless_it_says_what_is_new(
    new: dict[str, Any],
) -> None:
    old = Draft202012Validator({"$ref": "#/$defs/Rule", "$defs": _closed("RuleTask")})
    nothing: dict[str, Any] = {"kernel_arguments": "", "method": None}
    for said in ({}, nothing):
        task = RuleTask(os_type="debian", os_version="12", **said)
        written = json.loads(records.encode(make_rule(task=task)))
        old.validate(written)
        assert written["fields"]["task"].keys() == OLD["RuleTask"]["properties"].keys()
    task = RuleTask(os_type="debian", os_version="12", **new)
    assert not old.is_valid(json.loads(records.encode(make_rule(task=task))))


def _closed(name: str) -> dict[str, Any]:
    """The schemas of the previous version, where the type of this name takes no unknown field."""
    return {**OLD, name: {**OLD[name], "additionalProperties": False}}


@pytest.mark.parametrize(
    "exchange",
    [each for each in RECORDED["exchanges"] if each["method"] == "POST"],
    ids=lambda each: f"{each['path']}-{each['status']}",
)
def test_call_of_an_agent_of_the_previous_version_is_understood(exchange: dict[str, Any]) -> None:
    bodies: dict[str, type[msgspec.Struct]] = {
        "report": wire.Report,
        "status": wire.StatusCall,
        "progress": wire.ProgressCall,
    }
    kind = bodies[exchange["path"].rpartition("/")[2]]
    body = msgspec.convert(exchange["request"], kind)
    assert msgspec.structs.asdict(body)["agent_id"] == exchange["request"]["agent_id"]


def _plan() -> dict[str, Any]:
    """The plan that a region of the previous version gave."""
    answers = [each["answer"] for each in RECORDED["exchanges"]]
    (plan,) = [dict(each["plan"]) for each in answers if each.get("plan")]
    return plan


def test_plan_of_the_previous_version_is_taken_and_this_versions_has_all_of_it() -> None:
    """A newer agent with an older region, and an older agent with a newer region."""
    taken = parse_plan(_plan())
    assert (taken.disk.serial, taken.first_boot) == (_plan()["disk"]["serial"], ())
    written = json.loads(msgspec.json.encode(msgspec.convert(_plan(), InstallPlan)))
    assert _same(written, _plan())


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:-1]], ids=["completed", "failed"])
def test_agent_under_a_plan_of_the_previous_version_says_only_what_that_understands(
    image: bytes,
) -> None:
    plan = msgspec.structs.replace(
        msgspec.convert(_plan(), InstallPlan), task_id=TASK_ID, image=plan_for(IMAGE).image
    )
    with agent_region(image, plan=plan, status="approved") as region:
        options = Options(region.url, "SIM-1", "52:54:00:00:00:01", simulate=True)
        code = run_agent(options, pace=Pace(first_s=0.01, most_s=0.05, scale=0.01))
        assert (code, region.status) == ((0, "completed") if image == IMAGE else (1, "failed"))
        for name, kind in CALLS.items():
            understood = Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": OLD_BODIES})
            said = region.heard(f"/api/v1/agent/{name}")
            assert said, name
            for body in said:
                understood.validate(body)
        paths = {urlsplit(call.path).path.rpartition("/")[0] for call in region.calls}
        known = {urlsplit(each["path"]).path.rpartition("/")[0] for each in RECORDED["exchanges"]}
        assert paths <= known | {"/boot/images"}
