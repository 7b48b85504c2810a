"""A message as a person reads it, for mail and chat services: from the body that others get."""

from typing import Any, NamedTuple

import msgspec

DETAILS = ("reason", "by", "idc", "sn", "tenant")
TASK_DETAILS = ("hostname", "mac", "os_type", "os_version", "status")


class Text(NamedTuple):
    """What a service is given; plain text."""

    title: str
    body: str


def text_of(payload: bytes) -> Text:
    """The title and the lines for a body as `lpmos.core.notifications.payload` makes it."""
    message = msgspec.json.decode(payload)
    data: dict[str, Any] = message["data"]
    task: dict[str, Any] = data.get("task", {})
    where = " ".join(str(data[name]) for name in ("sn", "idc") if name in data)
    title = f"LPMOS: {message['type']} {where or data['target']}"
    lines = [f"{name}: {data[name]}" for name in DETAILS if name in data]
    lines += [f"{name}: {task[name]}" for name in TASK_DETAILS if name in task]
    lines += [f"{name}: {value}" for name, value in (data.get("after") or {}).items()]
    lines += list(data.get("links", {}).values())
    lines.append(f"{message['timestamp']} {data['event_id']}")
    return Text(title, "\n".join(dict.fromkeys(lines)))
