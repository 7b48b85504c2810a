"""What is in the store when a migration begins: entries of older layouts, and v3 as it stands."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from lpmos.core.migration import listform, v1, v21
from lpmos.core.migration.entries import Entry, Reading
from lpmos.model.task import TaskPlace
from lpmos.store import keys
from lpmos.store.api import KV, Store

PAGE = 200
MAC_DIGITS = 12
KEPT = ("meta", "server", "unmatched")
"""Kinds of keys of v3 that a migration leaves as they are."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """That a task was carried over: from which parts, to which machine, when, as which document.

    It is written in the transaction of the task, and deleted in that of its source.
    """

    task_id: str
    layout: str
    place: str
    source_sha256: str
    document_sha256: str
    idc: str
    sn: str
    at: datetime


class Standing(msgspec.Struct, kw_only=True):
    """v3, as far as it bears on a migration; `present` has the task ids of machines."""

    present: dict[tuple[str, str], str] = {}
    macs: dict[tuple[str, str], str] = {}
    done: dict[str, Done] = {}
    keys: set[str] = set()


class Found(msgspec.Struct, kw_only=True):
    """All that a migration begins with; `entries` are those of older layouts."""

    entries: dict[str, Entry]
    standing: Standing
    alive: list[str]


class _Head(msgspec.Struct):
    task_id: str


async def look(store: Store, told: Callable[[int], None] | None = None) -> Found:
    """Read all that bears on a migration; raises as `Store.list`.

    Values of v3 are looked at while they pass and not kept, for they may be many.
    """
    found = Found(entries={}, standing=Standing(), alive=[])
    seen = 0
    for prefix in (v1.PREFIX, keys.ROOT, keys.MIGRATED):
        async for page in store.list(prefix, page=PAGE):
            for kv in page.kvs:
                _sort(kv, found)
            seen += len(page.kvs)
            if told is not None:
                told(seen)
    return found


def read(found: Found) -> Reading:
    """What the entries of older layouts hold; pure."""
    entries = found.entries.values()
    reading = Reading()
    v1.read((each for each in entries if v1.belongs(each.key)), reading)
    v21.read((each for each in entries if _of_v21(each)), reading)
    listform.read((each for each in entries if listform.belongs(each.key)), reading)
    return reading


def _of_v21(entry: Entry) -> bool:
    return not v1.belongs(entry.key) and v21.belongs(entry)


def _sort(kv: KV, found: Found) -> None:
    entry = Entry(kv.key, kv.value, kv.mod_revision, bool(kv.lease))
    if v1.belongs(kv.key) or listform.belongs(kv.key) or v21.belongs(entry):
        found.entries[kv.key] = entry
        if entry.leased and kv.key.endswith("/heartbeat"):
            found.alive.append(kv.key)
        return
    standing = found.standing
    if kv.key.startswith(keys.MIGRATED):
        if (done := _decoded(kv, Done)) is not None:
            standing.done[done.task_id] = done
        return
    name = keys.parse(kv.key)
    if name is not None and name.kind == "task":
        head = _decoded(kv, _Head)
        standing.present[name.idc, name.sn] = head.task_id if head else ""
    elif kv.key.startswith((keys.TEMPLATES, keys.GLOBAL_CONFIG)) or (name and name.kind in KEPT):
        standing.keys.add(kv.key)
    elif "/macs/" in kv.key:
        _sort_mac(kv, standing)


def _sort_mac(kv: KV, standing: Standing) -> None:
    place = _decoded(kv, TaskPlace)
    digits = kv.key.rpartition("/")[2]
    if place is not None and len(digits) == MAC_DIGITS:
        mac = ":".join(digits[at : at + 2] for at in range(0, MAC_DIGITS, 2))
        standing.macs[place.idc, mac] = place.sn


def _decoded(kv: KV, kind: Any) -> Any:
    """The document; None where it is damaged, which is for others to say."""
    try:
        return msgspec.json.decode(kv.value, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
