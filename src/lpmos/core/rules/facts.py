"""What a condition may name: the machine, the task, the plan, the report, and their shapes.

The types of the model are the one description of the fields. A condition sees of them plain
numbers, text, lists and maps; what the hardware or the task does not say is not there, so that
`has()` tells.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from lpmos.model.diskplan import GIB, DiskPlan, Member, layout_name
from lpmos.model.inventory import (
    DOCUMENT_LIMIT_BYTES,
    Bios,
    Cpu,
    Dimm,
    Disk,
    Inventory,
    Memory,
    Nic,
    PciDevice,
    Product,
)
from lpmos.model.rule import SAMPLE_MAC, RuleKind
from lpmos.model.task import Task

UNNAMED = frozenset({"collected_at", "agent_version"})
"""Fields of an inventory that say nothing of the machine."""

UNKNOWN_WHERE_EMPTY = frozenset({"pci", "flags"})
"""Lists that are left out of a large inventory: an empty one says nothing."""

CONSTANTS: Mapping[str, int] = MappingProxyType(
    {
        **{f"{name}iB": 1024**power for power, name in enumerate("KMGTP", 1)},
        **{f"{name}B": 1000**power for power, name in enumerate("kMGTP", 1)},
    }
)
"""Sizes in bytes: KiB, MiB, GiB, TiB, PiB, and kB, MB, GB, TB, PB as disk makers count."""

Facts = Mapping[str, msgspec.Struct]
"""The values of a condition's variables."""


class Shape(msgspec.Struct, frozen=True):
    """What can stand in a place: `fields` of an object, `item` of a list or of a map's values."""

    kind: Literal["scalar", "list", "map", "object"]
    fields: Mapping[str, "Shape"] = {}
    item: "Shape | None" = None


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The task as a condition sees it; `job` names the steps of one that installs nothing."""

    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    disk_layout: str
    tags: dict[str, str]
    tenant: str | None
    attempt: int
    created_by: str
    job: tuple[str, ...]


class PlanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The disks that will be written: `device` to `model` are of the first one.

    `overwrites` is what stands on any of them now, `devices` are all of them.
    """

    device: str
    size_bytes: int
    serial: str | None
    wwn: str | None
    model: str | None
    overwrites: tuple[str, ...]
    devices: tuple[str, ...]


class ReportFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who reported; `sn` is there where the machine has a usable one."""

    idc: str
    mac: str
    sn: str | None


def facts_of_task(task: Task) -> Facts:
    """What is known of a task, its machine and its plan."""
    said = {
        "disk_layout": layout_name(task.disk_layout),
        "job": task.job.names if task.job else (),
    }
    facts: dict[str, msgspec.Struct] = {"task": _part(task, TaskFacts, **said)}
    if task.hardware is not None:
        facts["machine"] = task.hardware
    if task.plan is not None:
        facts["plan"] = _part(
            task.plan,
            PlanFacts,
            overwrites=task.plan.all_overwrites,
            devices=tuple(disk.device for disk in task.plan.disks),
        )
    elif task.job_plan is not None and (written := task.job_plan.written):
        facts["plan"] = _part(
            written[0],
            PlanFacts,
            overwrites=tuple(dict.fromkeys(kind for disk in written for kind in disk.overwrites)),
            devices=tuple(disk.device for disk in written),
        )
    return facts


def facts_of_report(idc: str, mac: str, sn: str | None, hardware: Inventory) -> Facts:
    """What is known of a machine without a task."""
    return {"report": ReportFacts(idc=idc, mac=mac, sn=sn), "machine": hardware}


def plain(value: Any) -> Any:
    """A value of the model as plain data, without what is not said."""
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return {name: plain(each) for name, each in fields if is_said(name, each)}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


def is_said(name: str, value: object) -> bool:
    """Whether a field of this name and value says anything."""
    return value is not None and not (name in UNKNOWN_WHERE_EMPTY and value == ())


def may_lack_disks(machine: Inventory) -> bool:
    """Whether the inventory may be one that was cut for keeping (`Inventory.bounded`).

    Disks are left out last, a quarter at a time, until the rest fits: such an inventory has no PCI
    devices and no CPU flags, and is large all the same.
    """
    if machine.pci or machine.cpu.flags:
        return False
    return machine.document_bytes() > DOCUMENT_LIMIT_BYTES // 2


def shape_of(kind: Any) -> Shape:
    """The shape of values of a type of the model."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = (field for field in msgspec.structs.fields(kind) if field.name not in UNNAMED)
        return Shape("object", {field.name: shape_of(field.type) for field in fields})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return shape_of(next(each for each in arguments if each is not NoneType))
    if origin is tuple:
        return Shape("list", item=shape_of(arguments[0]))
    if origin is dict:
        return Shape("map", item=shape_of(arguments[1]))
    return Shape("scalar")


VARIABLES: Mapping[RuleKind, Mapping[str, Shape]] = MappingProxyType(
    {
        "approve": {
            "machine": shape_of(Inventory),
            "task": shape_of(TaskFacts),
            "plan": shape_of(PlanFacts),
        },
        "create": {"machine": shape_of(Inventory), "report": shape_of(ReportFacts)},
    }
)

_PRODUCT = Product(vendor="Dell Inc.", name="PowerEdge R650", version="1", serial="S1", uuid="0")
_DISK = Disk(
    device="/dev/nvme0n1",
    size_bytes=894 * GIB,
    kind="nvme",
    model="SAMSUNG MZQL2960HCJR",
    serial="S64FNE0R",
    wwn="eui.36",
    bus="nvme",
    contents=("gpt",),
)
_DIMM = Dimm(
    slot="A1",
    size_bytes=16 * GIB,
    type="DDR4",
    speed_mts=3200,
    manufacturer="Samsung",
    part_number="M393",
    serial="1",
)
_SAMPLE_MACHINE = Inventory(
    collected_at=datetime(2026, 1, 1, tzinfo=UTC),
    boot_mode="uefi",
    product=_PRODUCT,
    board=_PRODUCT,
    bios=Bios(vendor="Dell Inc.", version="2", date="01/01/2026"),
    cpu=Cpu(model="Xeon", vendor="GenuineIntel", cores=64, threads=128, sockets=2, flags=("aes",)),
    memory=Memory(total_bytes=256 * GIB, dimms=(_DIMM, _DIMM)),
    disks=(_DISK, _DISK),
    nics=(
        Nic(
            interface="eno1",
            mac=SAMPLE_MAC,
            speed_mbps=25000,
            driver="ice",
            carrier=True,
            booted=True,
        ),
    ),
    bmc_address="192.0.2.1",
    tpm_version="2.0",
    secure_boot=True,
    pci=(
        PciDevice(
            address="0000:01:00.0",
            vendor_id="10de",
            device_id="20b5",
            class_id="030200",
            driver="nvidia",
        ),
    ),
)
_SAMPLE_TASK = TaskFacts(
    idc="dc1",
    sn="S1",
    mac=SAMPLE_MAC,
    hostname="s1",
    os_type="debian",
    os_version="12",
    disk_layout="auto",
    tags={"role": "web"},
    tenant="acme",
    attempt=1,
    created_by="alice",
    job=(),
)


def sample_facts(kind: RuleKind) -> Facts:
    """A machine that says everything, to try a new condition on."""
    if kind == "create":
        return facts_of_report("dc1", SAMPLE_MAC, "S1", _SAMPLE_MACHINE)
    plan = PlanFacts(
        device=_DISK.device,
        size_bytes=_DISK.size_bytes,
        serial=_DISK.serial,
        wwn=_DISK.wwn,
        model=_DISK.model,
        overwrites=_DISK.contents,
        devices=(_DISK.device,),
    )
    return {"machine": _SAMPLE_MACHINE, "task": _SAMPLE_TASK, "plan": plan}


def _part(
    value: Task | DiskPlan | Member, kind: type[msgspec.Struct], **otherwise: object
) -> msgspec.Struct:
    """The fields of `kind` as `value` has them, but for those that are given."""
    names = set(kind.__struct_fields__) - otherwise.keys()
    return kind(**otherwise, **{name: getattr(value, name) for name in names})
