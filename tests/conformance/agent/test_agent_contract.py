"""The agent protocol from both sides: the agent's own JSON against the model's types, the region's
encoding against the agent's reading, and both against `docs/reference/agent-protocol.md`.
"""

import io
import json
import re
import typing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.console import BATCH_BYTES, BATCH_LINES, LINE_CHARACTERS, Console
from lpmos.agent.diskplan import ERASE_LEVELS, FILESYSTEMS, KINDS, LEAST_DISKS, ROLES
from lpmos.agent.errors import OUTPUT_BYTES, InstallError
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.plan import parse_plan
from lpmos.agent.run import run_agent
from lpmos.agent.simulation import SimulatedMachine
from lpmos.model import diskplan, installplan, inventory, machine
from lpmos.region import wire
from tests.support.agent_machines import NAMES, recorded_machine
from tests.support.agent_region import AgentRegion, agent_region

PROTOCOL = Path(__file__).parents[3] / "docs/reference/agent-protocol.md"
IMAGE = b"image" * 100_000


class _Wire(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    mac_address: str
    agent_id: str


class Report(_Wire):
    sn: str | None
    hardware: inventory.Inventory


class Identify(_Wire):
    nonce: str


class Claim(_Wire, tag_field="status", tag="installing"):
    task_id: str
    intent_id: str
    progress: float
    message: str


class FailureCause(msgspec.Struct, forbid_unknown_fields=True):
    command: str
    output: str
    hint: str


class Failure(_Wire, tag_field="status", tag="failed"):
    task_id: str
    progress: float
    message: str
    error: FailureCause


class ProgressReport(_Wire):
    task_id: str
    stage: Literal["partitioning", "downloading", "installing", "configuring"]
    percentage: float
    message: str
    bytes_done: int | None = None
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    log: list[str] = []
    log_first: int = 0


STAGE_BOUNDS = {
    "partitioning": (0, 20),
    "downloading": (20, 60),
    "installing": (60, 90),
    "configuring": (90, 100),
}


WIRE: dict[str, Any] = {
    "report": wire.Report,
    "status": wire.StatusCall,
    "progress": wire.ProgressCall,
    "identity": wire.IdentityCall,
}


def _fields(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("name", NAMES)
def test_inventory_of_every_recorded_machine_is_the_models(name: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(recorded_machine(name, tmp_path).inventory()))
    found = msgspec.convert(document, inventory.Inventory)
    assert json.loads(msgspec.json.encode(found)) == document


def test_inventory_has_exactly_the_models_fields(tmp_path: Path) -> None:
    found: Any = recorded_machine("two-socket-uefi", tmp_path).inventory()
    assert set(found) == _fields(inventory.Inventory)
    for part, kind in (
        (found["product"], inventory.Product),
        (found["board"], inventory.Product),
        (found["bios"], inventory.Bios),
        (found["cpu"], inventory.Cpu),
        (found["memory"], inventory.Memory),
        (found["memory"]["dimms"][0], inventory.Dimm),
        (found["disks"][0], inventory.Disk),
        (found["nics"][0], inventory.Nic),
        (found["pci"][0], inventory.PciDevice),
    ):
        assert set(part) == _fields(kind)


@pytest.mark.parametrize("name", NAMES)
def test_macs_of_every_recorded_machine_are_normal(name: str, tmp_path: Path) -> None:
    found: Any = recorded_machine(name, tmp_path).inventory()
    assert [machine.parse_mac(nic["mac"]) for nic in found["nics"]] == [
        nic["mac"] for nic in found["nics"]
    ]


@given(st.integers(0, 10_000))
def test_inventory_of_every_simulated_machine_is_the_models(number: int) -> None:
    options = Options("http://region", f"SIM-{number}", "52:54:00:00:00:01", simulate=True)
    document = SimulatedMachine(options).inventory()
    found = msgspec.convert(document, inventory.Inventory)
    assert found.disks[0].contents == ()
    assert machine.parse_sn(str(found.product.serial)) == f"SIM-{number}"


def _run(region: AgentRegion) -> int:
    options = Options(region.url, "SIM-1", "52:54:00:00:00:01", simulate=True)
    return run_agent(options, pace=Pace(first_s=0.01, most_s=0.05, scale=0.01))


def test_every_call_of_an_install_is_the_protocols() -> None:
    with agent_region(IMAGE, nonce="n.o.nce") as region:
        region.set("approved")
        assert _run(region) == 0
        calls = {
            "identity": Identify,
            "report": Report,
            "status": Claim,
            "progress": ProgressReport,
        }
        for name, kind in calls.items():
            bodies = region.heard(f"/api/v1/agent/{name}")
            assert bodies
            for body in bodies:
                made = msgspec.convert(body, kind)
                assert re.fullmatch(r"[0-9a-f]{32}", made.agent_id)
                run, _ = wire.parse(json.dumps(body).encode(), WIRE[name])
                assert (run.mac, run.agent_id) == (body["mac_address"], body["agent_id"])
        for body in region.heard("/api/v1/agent/progress"):
            low, high = STAGE_BOUNDS[body["stage"]]
            assert low <= body["percentage"] <= high
            assert len(body["log"]) <= BATCH_LINES
            assert body["log_first"] >= 1
            assert all(re.match(r"\[(INFO|WARN|ERROR)\] ", line) for line in body["log"])
        polls = [call.path for call in region.calls if "/approval/" in call.path]
        pattern = r"/api/v1/agent/approval/52:54:00:00:00:01\?task_id=[0-9a-f-]+&wait=25"
        assert all(re.fullmatch(pattern, path) for path in polls)


def test_the_last_word_of_a_failed_install_is_the_protocols() -> None:
    with agent_region(IMAGE) as region:
        region.image = IMAGE[:-1] + b"x"
        region.set("approved")
        assert _run(region) == 1
        body = region.heard("/api/v1/agent/status")[-1]
        failure = msgspec.convert(body, Failure)
        _, call = wire.parse(json.dumps(body).encode(), wire.StatusCall)
        assert call.task_error().hint == failure.error.hint
        assert "sha256" in call.task_error().reason


texts = st.text(max_size=20)
sizes = st.integers(1, 1 << 45)
WISHES = (
    diskplan.PartitionWish(mount="/var/lib", size_bytes=1 << 30, filesystem="xfs"),
    diskplan.PartitionWish(name="data", min_bytes=1 << 30, filesystem="btrfs"),
)
LAYOUTS: tuple[str | diskplan.StorageLayout, ...] = (
    *diskplan.LAYOUTS,
    diskplan.StorageLayout(swap_bytes=1 << 30, partitions=WISHES, erase="discard"),
    diskplan.StorageLayout(raid="raid5", lvm=True, swap_bytes=1 << 30, partitions=WISHES),
    diskplan.StorageLayout(raid="raid1", lvm=True, encrypt=True, erase="nvme_format"),
    diskplan.StorageLayout(encrypt=True, filesystem="btrfs"),
)


def _disk_plan(layout: str | diskplan.StorageLayout) -> diskplan.DiskPlan:
    disks = tuple(
        inventory.Disk(device=f"/dev/nvme{n}n1", size_bytes=1 << 36, kind="nvme", serial=f"S{n}")
        for n in range(4)
    )
    found = inventory.Inventory(
        collected_at=datetime(2024, 1, 1, tzinfo=UTC),
        boot_mode="bios",
        memory=inventory.Memory(total_bytes=1),
        disks=disks,
    )
    return diskplan.plan_disk(found, layout, diskplan.RootDiskHints(), 1 << 30)


def _data(value: object) -> object:
    """What the agent took, as data: its tuples with names as objects, the others as arrays."""
    if not isinstance(value, tuple):
        return value
    if hasattr(value, "_asdict"):
        return {name: _data(field) for name, field in value._asdict().items()}
    return [_data(item) for item in value]


plans = st.builds(
    installplan.InstallPlan,
    task_id=texts,
    intent_id=texts,
    hostname=texts,
    image=st.builds(
        installplan.ImageSource,
        name=texts,
        url=texts.map(lambda text: "/boot/images/" + text),
        sha256=texts,
        size_bytes=sizes,
        unpacked_bytes=sizes,
        format=st.just("tar.zst"),
    ),
    disk=st.builds(
        lambda disk, changes: msgspec.structs.replace(disk, **changes),
        st.sampled_from([_disk_plan(layout) for layout in LAYOUTS]),
        st.fixed_dictionaries(
            {
                "device": texts,
                "size_bytes": sizes,
                "serial": st.none() | texts,
                "wwn": st.none() | texts,
                "model": st.none() | texts,
                "overwrites": st.lists(texts, max_size=2).map(tuple),
            }
        ),
    ),
    disk_passphrase=st.just("correct horse"),
    files=st.lists(
        st.builds(installplan.PlannedFile, path=texts, content=texts, mode=st.integers(0, 0o7777)),
        max_size=3,
    ).map(tuple),
    boot_entry=texts,
    kernel_arguments=texts,
)


@given(plans)
def test_plan_as_the_region_encodes_it_is_read_whole(plan: installplan.InstallPlan) -> None:
    taken = parse_plan(json.loads(msgspec.json.encode(plan)))
    for name in ("task_id", "intent_id", "hostname", "boot_entry", "kernel_arguments"):
        assert getattr(taken, name) == getattr(plan, name)
    for name in taken.image._fields:
        assert getattr(taken.image, name) == getattr(plan.image, name)
    assert _data(taken.disk) == json.loads(msgspec.json.encode(plan.disk))
    assert taken.disk_passphrase == plan.disk_passphrase
    assert [tuple(file) for file in taken.files] == [
        msgspec.structs.astuple(file) for file in plan.files
    ]


def test_plan_of_a_whole_disk_is_read_with_the_disks_size() -> None:
    disk = msgspec.structs.replace(_disk_plan("auto"), partitions=(), whole_image=True)
    image = installplan.ImageSource(
        name="rocky-9",
        url="/boot/images/x",
        sha256="ab" * 32,
        size_bytes=1,
        unpacked_bytes=10 << 30,
        format="raw.zst",
        disk_bytes=10 << 30,
    )
    plan = installplan.InstallPlan(
        task_id="t",
        intent_id="i",
        hostname="web-1",
        image=image,
        disk=disk,
        files=(),
        boot_loader="image",
        boot_entry="rocky",
        kernel_arguments="",
    )
    document = json.loads(msgspec.json.encode(plan))
    taken = parse_plan(document)
    assert (taken.disk.whole_image, taken.image.disk_bytes) == (True, 10 << 30)
    document["disk"]["whole_image"] = False
    with pytest.raises(InstallError):
        parse_plan(document)


def test_the_agent_knows_every_role_and_file_system_of_the_model() -> None:
    hints = typing.get_type_hints(diskplan.Partition)
    assert typing.get_args(hints["role"]) == ROLES
    known = {name for names in FILESYSTEMS.values() for name in names if name is not None}
    assert set(FILESYSTEMS) == set(ROLES)
    literal = next(arg for arg in typing.get_args(hints["filesystem"]) if typing.get_args(arg))
    assert set(typing.get_args(literal)) == known
    kind = typing.get_type_hints(diskplan.Filesystem)["kind"]
    assert set(typing.get_args(kind)) == set(KINDS)
    assert set(typing.get_args(typing.get_type_hints(diskplan.Array)["level"])) == set(LEAST_DISKS)
    assert typing.get_args(typing.get_type_hints(diskplan.DiskPlan)["erase"]) == ERASE_LEVELS


def test_the_plan_in_the_documentation_is_one_that_both_sides_take() -> None:
    blocks = re.findall(r"```json\n(.*?)```", PROTOCOL.read_text(), re.DOTALL)
    (document,) = [json.loads(block) for block in blocks if '"boot_loader"' in block]
    assert parse_plan(document).hostname == "web-1"
    assert msgspec.convert(document, installplan.InstallPlan).hostname == "web-1"


def test_limits_of_the_agent_are_within_those_of_the_region() -> None:
    assert BATCH_LINES <= wire.LINES_LIMIT
    assert LINE_CHARACTERS <= wire.LINE_CHARACTERS
    assert BATCH_BYTES + 8192 <= wire.BODY_LIMIT_BYTES
    # A control character takes six bytes of JSON.
    assert OUTPUT_BYTES * 6 + 8192 <= wire.BODY_LIMIT_BYTES


def test_console_levels_are_those_of_the_documentation() -> None:
    console = Console(stream=io.StringIO())
    console.info("a")
    console.warn("b")
    console.error("c")
    text = PROTOCOL.read_text()
    for line in console.batch()[1]:
        assert f"`{line.partition(' ')[0]}`" in text
