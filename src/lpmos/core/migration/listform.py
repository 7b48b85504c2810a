"""v2.x's list form (M4): servers as one list, a machine's task and state as two keys."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from lpmos.core.migration.entries import (
    Entry,
    Layout,
    RawServer,
    RawTask,
    Reading,
    Unreadable,
    decoded,
    logged_lines,
    object_of,
)
from lpmos.model.machine import RESERVED_IDCS

_SERVERS = re.compile(r"/os/([^/]+)/servers")
_MACHINE = re.compile(r"/os/([^/]+)/machines/([^/]+)/(tasks|state)")
STATE_PARTS = ("status", "progress", "logs", "approval", "error", "hardware")
"""What the state says before what the task says."""


def belongs(key: str) -> bool:
    """Whether a key is of this layout."""
    match = _SERVERS.fullmatch(key) or _MACHINE.fullmatch(key)
    return match is not None and match[1] not in RESERVED_IDCS


def read(entries: Iterable[Entry], reading: Reading) -> None:
    """Sort the entries of this layout into `reading`."""
    machines: dict[tuple[str, str], dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        if match := _MACHINE.fullmatch(entry.key):
            machines[match[1], match[2]][match[3]] = entry
        elif match := _SERVERS.fullmatch(entry.key):
            _read_servers(match[1], entry, reading)
    for (idc, sn), found in machines.items():
        _read_machine(idc, sn, found, reading)


def _read_servers(idc: str, entry: Entry, reading: Reading) -> None:
    try:  # the list of all servers may be longer than a value of today
        listed = msgspec.json.decode(entry.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reading.damaged(entry.key, f"the list of servers is not JSON: {error}")
        return
    if not isinstance(listed, list):
        reading.damaged(entry.key, "the list of servers is not a JSON list")
        return
    for number, each in enumerate(listed):
        fields = each if isinstance(each, dict) else {"sn": each}
        sn = fields.get("sn")
        if isinstance(sn, str) and sn:
            rest = {name: value for name, value in fields.items() if name != "sn"}
            reading.servers.append(RawServer(idc=idc, sn=sn, source=entry.key, entry=rest))
        else:
            reading.damaged(f"{entry.key}#{number}", "the server has no serial number")


def _read_machine(idc: str, sn: str, found: dict[str, Entry], reading: Reading) -> None:
    sources = tuple(entry.key for entry in found.values())
    if "tasks" not in found:
        reading.damaged(found["state"].key, "there is a state but no task", kind="orphan")
        return
    place = found["tasks"].key
    try:
        tasks = _tasks(found["tasks"])
    except Unreadable as error:
        _lose(place, f"the machine's tasks: {error}", reading)
        return
    try:
        state = _state(found.get("state"), tasks)
    except Unreadable as error:
        _lose(found["state"].key, f"the machine's state: {error}", reading, len(tasks))
        return
    for number, task in enumerate(tasks):
        task_id = _id(task)
        if task_id is None:
            _lose(f"{place}#{number}", "the task has no id", reading)
            continue
        mine = state if _id(state) in (None, task_id) else {}
        parts = _parts(task, mine, place, reading)
        if parts is not None:
            reading.tasks.append(
                RawTask(
                    layout=Layout.LIST,
                    old_id=task_id,
                    place=place,
                    sources=sources,
                    parts=parts,
                    idc=idc,
                    sn=sn,
                )
            )


def _tasks(entry: Entry) -> list[dict[str, Any]]:
    document = decoded(entry)
    tasks = document if isinstance(document, list) else [document]
    if not all(isinstance(task, dict) for task in tasks):
        raise Unreadable("is neither a task nor a list of tasks")
    return tasks


def _state(entry: Entry | None, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """The machine's state, empty where there is none; it must be clear which task it is of."""
    if entry is None:
        return {}
    state = object_of(entry)
    if _id(state) is None and len(tasks) != 1:
        raise Unreadable("names none of the several tasks")
    return state


def _parts(
    task: dict[str, Any], state: dict[str, Any], place: str, reading: Reading
) -> dict[str, Any] | None:
    parts: dict[str, Any] = {"metadata": {k: v for k, v in task.items() if k not in STATE_PARTS}}
    for name in STATE_PARTS:
        value = state.get(name, task.get(name))
        if value is not None:
            parts[name] = value
    if isinstance(updated := state.get("updated_at"), str):
        parts["metadata"]["updated_at"] = updated
    if not isinstance(parts.get("status", ""), str):
        _lose(place, "the status is not a text", reading)
        return None
    try:
        if "logs" in parts:
            parts["logs"] = logged_lines(parts["logs"])
    except Unreadable as error:
        reading.damaged(place, f"the logs: {error}", refused=False)
        del parts["logs"]
    return parts


def _lose(key: str, reason: str, reading: Reading, tasks: int = 1) -> None:
    """Put aside what should be tasks."""
    reading.damaged(key, reason)
    reading.lost += tasks


def _id(fields: dict[str, Any]) -> str | None:
    found = fields.get("task_id", fields.get("id"))
    return found if isinstance(found, str) and found else None
