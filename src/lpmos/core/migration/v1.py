"""v1 and v2 (M1, M2): everything below `/lpmos/`, a key for each part of a task."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from lpmos.core.migration.entries import (
    PART_NAMES,
    Entry,
    Layout,
    RawAgent,
    RawSetting,
    RawTask,
    Reading,
    Unreadable,
    decoded,
    object_of,
    parts_of,
    text_of,
)

PREFIX = "/lpmos/"
_TASK = re.compile(rf"/lpmos/tasks/([^/]+)/({'|'.join(PART_NAMES)})")
_REGION = re.compile(
    r"/lpmos/regions/[^/]+/(client/(heartbeat|status|capabilities)|tasks(/[^/]*)?)/?"
)
_AGENT = re.compile(r"/lpmos/agents/([^/]+)/(info|last_seen|task_id)")
_GLOBAL = re.compile(r"/lpmos/config/global/?")
_TEMPLATES = re.compile(r"/lpmos/config/templates/?")
_TEMPLATE = re.compile(r"/lpmos/config/templates/([^/]+)")


def belongs(key: str) -> bool:
    """Whether a key is of this layout."""
    return key.startswith(PREFIX)


def read(entries: Iterable[Entry], reading: Reading) -> None:
    """Sort what lies below `/lpmos/` into `reading`."""
    tasks: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    agents: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    for entry in entries:
        if match := _TASK.fullmatch(entry.key):
            tasks[match[1]].append((match[2], entry))
        elif match := _AGENT.fullmatch(entry.key):
            agents[match[1]].append((match[2], entry))
        elif _REGION.fullmatch(entry.key):
            reading.replaced.append(entry.key)
        else:
            _read_setting(entry, reading)
    for task_id, found in tasks.items():
        _read_task(task_id, found, reading)
    for mac, found in agents.items():
        _read_agent(mac, found, reading)


def _read_task(task_id: str, found: list[tuple[str, Entry]], reading: Reading) -> None:
    parts = parts_of(found, reading)
    if parts is None:
        reading.lost += 1
        return
    reading.tasks.append(
        RawTask(
            layout=Layout.V2 if any(name == "progress" for name, _ in found) else Layout.V1,
            old_id=task_id,
            place=f"/lpmos/tasks/{task_id}/",
            sources=tuple(entry.key for _, entry in found),
            parts=parts,
        )
    )


def _read_agent(mac: str, found: list[tuple[str, Entry]], reading: Reading) -> None:
    parts: dict[str, Any] = {}
    for name, entry in found:
        try:
            parts[name] = object_of(entry) if name == "info" else text_of(entry)
        except Unreadable as error:
            reading.damaged(entry.key, f"the agent's {name} {error}")
            return
    reading.agents.append(
        RawAgent(mac=mac, sources=tuple(entry.key for _, entry in found), parts=parts)
    )


def _read_setting(entry: Entry, reading: Reading) -> None:
    try:
        if _GLOBAL.fullmatch(entry.key):
            setting = RawSetting(source=entry.key, name=None, document=object_of(entry))
            reading.settings.append(setting)
        elif match := _TEMPLATE.fullmatch(entry.key):
            reading.settings.append(_template(entry, match[1], _content(entry)))
        elif _TEMPLATES.fullmatch(entry.key):
            documents = object_of(entry).items()
            reading.settings += [_template(entry, name, each) for name, each in documents]
        else:
            reading.damaged(entry.key, "is no key of this layout", kind="unknown-key")
    except Unreadable as error:
        reading.damaged(entry.key, str(error))


def _template(entry: Entry, name: str, document: object) -> RawSetting:
    return RawSetting(source=entry.key, name=name, document=document)


def _content(entry: Entry) -> Any:
    """A template is an object with its text, or the text itself."""
    try:
        return decoded(entry)
    except Unreadable:
        return text_of(entry)
