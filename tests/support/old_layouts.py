"""Stores as older versions left them, made from a seed: whole tasks with damaged ones among them.

Nothing here knows how they are read: what is expected of each task is said beside it.
"""

import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lpmos.store.api import Put, Store

BEGAN = datetime(2026, 1, 29, 10, 0, 0, tzinfo=UTC)
LAYOUTS = ("v1", "v2", "v2.1", "list")
DAMAGED_EVERY = 20
STATUSES = {
    "pending": "pending",
    "ready": "pending",
    "booting": "pending",
    "pending_approval": "pending",
    "approved": "pending",
    "installing": "failed",
    "completed": "completed",
    "failed": "failed",
}
"""What older versions wrote, and what must come of it."""


@dataclass
class OldTask:
    """A task of an older layout, and what v3 must have of it."""

    task_id: str
    idc: str
    sn: str | None
    mac: str
    was: str
    status: str
    os_version: str
    created_at: datetime
    created_by: str
    lines: int


@dataclass
class OldStore:
    """Keys and values; `good` tasks by id, `damaged` by id with the word that names the fault."""

    entries: dict[str, bytes] = field(default_factory=dict)
    good: dict[str, OldTask] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    async def put_into(self, store: Store) -> None:
        """Write all of it."""
        items = list(self.entries.items())
        for start in range(0, len(items), 100):
            await store.txn([], [Put(key, value) for key, value in items[start : start + 100]])


Parts = dict[str, Any]
Fault = tuple[str, Callable[[Parts], None]]


def _set(part: str, name: str, value: object) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        parts[part] = {**parts[part], name: value}

    return apply


def _drop(part: str, name: str) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        parts[part] = {key: value for key, value in parts[part].items() if key != name}

    return apply


def _whole(part: str, value: object) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        parts[part] = value

    return apply


FAULTS: tuple[Fault, ...] = (
    ("JSON", _whole("metadata", b'{"id": "cut off he')),
    ("object", _whole("metadata", b'["no", "object"]')),
    ("bytes, over", _whole("metadata", {"id": "x", "notes": "n" * 70_000})),
    ("target_mac", _set("metadata", "target_mac", "fe:b7:02:c0:95")),
    ("MAC address is missing", _drop("metadata", "target_mac")),
    ("os_type", _set("metadata", "os_type", ["ubuntu"])),
    ("os_version", _set("metadata", "os_version", "22.04 LTS (Jammy)")),
    ("created_at", _set("metadata", "created_at", "2026/01/30 10:00:09")),
    ("created_at", _set("metadata", "created_at", 1769680800)),
    ("created_at", _set("metadata", "created_at", "0001-01-01T00:00:00Z")),
    ("status", _whole("status", "half-done")),
    ("status", _whole("status", "")),
    ("network_config", _set("metadata", "network_config", "static")),
    ("tags", _set("metadata", "tags", ["a", "b"])),
    ("region_id", _set("metadata", "region_id", "Not A Region")),
)


def make(layout: str, tasks: int = 1000, *, seed: int = 1, damaged: bool = True) -> OldStore:
    """A store with `tasks` tasks, about one of `DAMAGED_EVERY` of them damaged."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    old = OldStore()
    for number in range(tasks):
        _add(old, layout, number, chance, FAULTS if damaged else ())
    if layout == "list":
        _add_lists(old)
    else:
        _add_surroundings(old, layout)
    return old


def _add(
    old: OldStore, layout: str, number: int, chance: random.Random, faults: tuple[Fault, ...]
) -> None:
    task_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    machine = number if layout == "list" else number - number % 7 // 6  # some have two tasks
    idc, mac = f"dc{machine % 3 + 1}", f"52:54:00:{machine >> 16:02x}:{machine >> 8 & 255:02x}:"
    mac += f"{machine & 255:02x}"
    parts, task = _task(layout, task_id, idc, mac, number, chance)
    if machine != number:  # the older one of two is over
        parts["status"], task.was, task.status = "completed", "completed", "completed"
        created = task.created_at - timedelta(days=400)
        parts["metadata"]["created_at"] = created.isoformat()
        task.created_at = created
        for name in ("hardware", "approval", "progress"):
            parts.pop(name, None)
        parts["metadata"].pop("updated_at", None)
    if faults and number % DAMAGED_EVERY == 3:
        words, apply = faults[number // DAMAGED_EVERY % len(faults)]
        if layout != "list" or isinstance(parts["metadata"], dict):
            apply(parts)
        old.damaged[task_id] = words
    else:
        old.good[task_id] = task
    _PLACES[layout](old, task, parts)


def _task(
    layout: str, task_id: str, idc: str, mac: str, number: int, chance: random.Random
) -> tuple[Parts, OldTask]:
    was = chance.choice(list(STATUSES))
    created = BEGAN + timedelta(minutes=number)
    version = chance.choice(["20.04", "22.04", "12"])
    notation = chance.choice([mac, mac.upper(), mac.replace(":", "-"), mac.replace(":", "")])
    lines = chance.choice([0, 3, 150])
    metadata = {
        "id": task_id,
        "region_id": idc,
        "target_mac": notation,
        "os_type": chance.choice(["ubuntu", "Ubuntu"]),
        "os_version": version,
        "disk_layout": "auto",
        "network_config": chance.choice(["dhcp", ""]),
        "created_at": chance.choice([created.isoformat(), _nanoseconds(created)]),
        "created_by": "ops@example.com",
        "tags": {"purpose": "web-server"},
        "status": "pending",
        "updated_at": _at(created, 30),
    }
    parts: Parts = {"metadata": metadata, "status": was}
    if was not in ("pending", "ready", "booting"):
        parts["hardware"] = _hardware(mac, created)
    if was in ("approved", "installing", "completed"):
        parts["approval"] = {"status": "approved", "approved_by": "eve", "notes": "go",
                             "approved_at": _at(created, 10)}  # fmt: skip
    if lines:
        parts["logs"] = "\n".join(f"[INFO] line {each} of {task_id}" for each in range(lines))
    if was == "failed":
        parts["error"] = {"code": "E_DISK", "message": "no disk", "occurred_at": _at(created, 20)}
    if was in ("installing", "completed") and layout != "v1":
        percent = 100 if was == "completed" else 45
        parts["progress"] = {"task_id": task_id, "stage": "downloading", "percentage": percent,
                             "message": "450MB / 1000MB", "updated_at": _at(created, 15),
                             "details": {"bytes_downloaded": 471859200}}  # fmt: skip
    sn = f"SN-{number:06}" if layout == "list" else None
    task = OldTask(
        task_id, idc, sn, mac, was, STATUSES[was], version, created, "ops@example.com", lines
    )
    return parts, task


def _hardware(mac: str, created: datetime) -> dict[str, Any]:
    return {
        "mac_address": mac,
        "cpu": {"model": "Intel Xeon E5-2680 v4", "cores": 28, "threads": 56},
        "memory": {
            "total_gb": 256,
            "dimms": [{"slot": "A1", "size_gb": 16, "type": "DDR4", "speed_mhz": 2400}],
        },
        "disks": [
            {"device": "/dev/sda", "size_gb": 480, "type": "SSD", "model": "Samsung 860 PRO"},
            {"device": "/dev/sdb", "size_gb": 2000, "type": "HDD", "model": "ST2000"},
        ],
        "network": [
            {"interface": "eth0", "mac": mac.upper(), "speed": "10Gbps"},
            {"interface": "tun0", "mac": "", "speed": "Unknown"},
        ],
        "bios": {"vendor": "Dell Inc.", "version": "2.10.0", "serial": "SN123456"},
        "collected_at": _at(created, 5),
    }


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def _place_lpmos(old: OldStore, task: OldTask, parts: Parts) -> None:
    for name, value in parts.items():
        old.entries[f"/lpmos/tasks/{task.task_id}/{name}"] = _bytes(value)
    old.entries[f"/lpmos/regions/{task.idc}/tasks/{task.task_id}"] = b""


def _place_v21(old: OldStore, task: OldTask, parts: Parts) -> None:
    for name, value in parts.items():
        key = f"/os/install/task/{task.idc}/{task.task_id}/{name}"
        old.entries[key] = _bytes(value)


def _place_list(old: OldStore, task: OldTask, parts: Parts) -> None:
    place = f"/os/{task.idc}/machines/{task.sn}"
    metadata = parts["metadata"]
    if isinstance(metadata, dict) and "id" in metadata and "notes" not in metadata:
        metadata = {**metadata, "task_id": task.task_id, "sn": task.sn}
    old.entries[f"{place}/tasks"] = _bytes(metadata)
    state = {name: value for name, value in parts.items() if name != "metadata"}
    old.entries[f"{place}/state"] = _bytes({**state, "logs": state.get("logs", "").splitlines()})


_PLACES = {"v1": _place_lpmos, "v2": _place_lpmos, "v2.1": _place_v21, "list": _place_list}


def _add_lists(old: OldStore) -> None:
    """The lists of servers: of those with tasks by name, and one more with all that is known."""
    for idc in ("dc1", "dc2", "dc3"):
        names: list[Any] = [task.sn for task in old.good.values() if task.idc == idc]
        number = int(idc[2:])
        names.append(
            {
                "sn": f"SPARE-{idc}",
                "mac": f"02:00:00:00:00:{number:02x}",
                "status": "added",
                "added_at": _at(BEGAN, 0),
            }
        )
        old.entries[f"/os/{idc}/servers"] = _bytes([*names, ""])


def _add_surroundings(old: OldStore, layout: str) -> None:
    """What stood beside the tasks: regions, agents, settings, reports without a task."""
    if layout == "v2.1":
        old.entries["/os/region/dc1/heartbeat"] = _at(BEGAN, 0).encode()
        old.entries["/os/region/dc1/status"] = b"online"
        for minute, mac in enumerate(["02:00:00:00:01:01", "02:00:00:00:01:01", "02-0x"]):
            report = {"mac_address": mac, "region": "dc1", "error": "No task found",
                      "hardware": _hardware("02:00:00:00:01:01", BEGAN),
                      "received_at": _at(BEGAN, minute)}  # fmt: skip
            key = f"/os/unmatched_reports/dc1/2026012910000{minute}-{mac}"
            old.entries[key] = _bytes(report)
        return
    entries = {
        "regions/dc1/client/heartbeat": _at(BEGAN, 0),
        "regions/dc1/client/status": "offline",
        "regions/dc1/client/capabilities": {"os": ["ubuntu"]},
        "agents/02:00:00:00:02:01/info": {"region_id": "dc1", "hostname": "ram"},
        "agents/02:00:00:00:02:01/last_seen": _at(BEGAN, 3),
        "agents/02:00:00:00:02:02/last_seen": "yesterday",
        "config/global": {"ntp": "192.0.2.1"},
        "config/templates/ubuntu": {"content": "host {{ task.hostname }}"},
        "config/templates/old": {"content": "host {{.Hostname}}"},
        "strange/key": "?",
    }
    old.entries |= {f"/lpmos/{key}": _bytes(value) for key, value in entries.items()}


def _at(created: datetime, minutes: int) -> str:
    return (created + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _nanoseconds(at: datetime) -> str:
    """As Go writes a time in another zone."""
    local = at + timedelta(hours=8)
    return local.strftime("%Y-%m-%dT%H:%M:%S.000000000") + "+08:00"
