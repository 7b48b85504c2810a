"""What the readers of older layouts find: raw parts of tasks, servers, agents, reports, settings.

A reader sorts keys and decodes values, nothing more: it never looks into a field. What it cannot
sort or decode becomes a `Finding`, which names the key; everything else goes on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from lpmos.store.records import VALUE_LIMIT_BYTES


class Layout(StrEnum):
    """The older layouts, the earliest first: of two copies of a task the later layout's counts."""

    V1 = "v1"
    V2 = "v2"
    V21 = "v2.1"
    LIST = "v2.x list"


ORDER = tuple(Layout)


class Entry(msgspec.Struct, frozen=True):
    """One key of the store as it was read; `leased` where it ends with a lease."""

    key: str
    value: bytes
    mod_revision: int = 0
    leased: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not carried over as it was.

    `refused`: the whole task (or server, report, setting) is put aside; else only what `key` holds.
    """

    key: str
    kind: str
    reason: str
    refused: bool = True
    task_id: str | None = None


class RawTask(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded parts of one task, by name; `idc` and `sn` are what its keys say."""

    layout: Layout
    old_id: str
    place: str
    sources: tuple[str, ...]
    parts: Mapping[str, Any]
    idc: str | None = None
    sn: str | None = None

    @property
    def digest(self) -> str:
        """What the parts hold, as one text; it changes when somebody changes the source."""
        text = msgspec.json.encode(self.parts, order="sorted")
        return hashlib.sha256(text).hexdigest()


class RawServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server of a list; `entry` is its object, empty where the list has only its name."""

    idc: str
    sn: str
    source: str
    entry: Mapping[str, Any]


class RawAgent(msgspec.Struct, frozen=True, kw_only=True):
    """What was known of an agent, by the MAC of its key."""

    mac: str
    sources: tuple[str, ...]
    parts: Mapping[str, Any]


class RawReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report without a task."""

    idc: str
    source: str
    document: Mapping[str, Any]


class RawSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A template, or (`name` None) the global configuration."""

    source: str
    name: str | None
    document: Any


class Reading(msgspec.Struct, kw_only=True):
    """All that the readers found.

    `replaced` are keys that v3's own parts write anew; `lost` is how many tasks are there of which
    not even the parts could be read: their keys are in findings.
    """

    tasks: list[RawTask] = []
    servers: list[RawServer] = []
    agents: list[RawAgent] = []
    reports: list[RawReport] = []
    settings: list[RawSetting] = []
    replaced: list[str] = []
    findings: list[Finding] = []
    lost: int = 0

    def damaged(
        self, key: str, reason: str, *, refused: bool = True, kind: str = "damaged"
    ) -> None:
        """Put one entry aside."""
        self.findings.append(Finding(key=key, kind=kind, reason=reason, refused=refused))


class Unreadable(ValueError):
    """A value is not what its key promises; the text says how."""


def decoded(entry: Entry) -> Any:
    """The JSON of an entry.

    Raises:
        Unreadable: it is none, or it is over the limit of one key.
    """
    if len(entry.value) >= VALUE_LIMIT_BYTES:
        raise Unreadable(f"has {len(entry.value)} bytes, over {VALUE_LIMIT_BYTES}")
    try:
        return msgspec.json.decode(entry.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"is not JSON: {error}") from None


def object_of(entry: Entry) -> dict[str, Any]:
    """The JSON object of an entry; raises as `decoded`."""
    document = decoded(entry)
    if not isinstance(document, dict):
        raise Unreadable("is not a JSON object")
    return document


def text_of(entry: Entry) -> str:
    """A text that stands as it is, or as a JSON string.

    Raises:
        Unreadable: it is not UTF-8.
    """
    try:
        text = entry.value.decode().strip()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    if text.startswith('"'):
        document = decoded(entry)
        if not isinstance(document, str):
            raise Unreadable("is not a text")
        return document.strip()
    return text


def lines_of(entry: Entry) -> list[str]:
    """A log: JSON with a list of lines, or text; of any size, for it is cut later."""
    try:
        text = entry.value.decode()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    if text.lstrip().startswith(("[", '"')):
        try:
            return logged_lines(msgspec.json.decode(entry.value))
        except (msgspec.MsgspecError, Unreadable, RecursionError):
            pass  # `[INFO] …` begins with a bracket, too
    return text.splitlines()


def logged_lines(document: object) -> list[str]:
    """The lines of a log that is JSON.

    Raises:
        Unreadable: it is neither a text nor a list of texts.
    """
    if isinstance(document, str):
        return document.splitlines()
    if not isinstance(document, list) or not all(isinstance(line, str) for line in document):
        raise Unreadable("is not a list of lines")
    return document


_PARTS = {
    "metadata": object_of,
    "status": text_of,
    "hardware": object_of,
    "approval": object_of,
    "logs": lines_of,
    "error": decoded,
    "progress": decoded,
}
PART_NAMES = tuple(_PARTS)
DECISIVE = ("metadata", "status")
"""Without one of these there is no task; without another part only that part is missing."""


def parts_of(entries: Iterable[tuple[str, Entry]], reading: Reading) -> dict[str, Any] | None:
    """The parts of one task by name; None where a decisive one is damaged (it has been told)."""
    parts: dict[str, Any] = {}
    whole = True
    for name, entry in entries:
        try:
            parts[name] = _PARTS[name](entry)
        except Unreadable as error:
            refused = name in DECISIVE
            reading.damaged(entry.key, f"the {name} {error}", refused=refused)
            whole = whole and not refused
    return parts if whole else None
