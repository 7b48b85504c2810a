"""Every key of the store (REQUIREMENTS section 2): the only place where one is put together."""

import re
from datetime import datetime
from typing import NamedTuple

ROOT = "/os/"
EVENTS = "/os/events/"
TEMPLATES = "/os/config/templates/"

AUDIT = "/os-audit/"
"""The audit log stands apart from `ROOT`, so that nobody keeps all of it in memory."""

MIGRATED = "/os-migration/"
"""What says of what is in an older layout that it was carried over; apart from `ROOT`, too."""

RESTORING = "/os-election/restoring"
"""There while a backup is being restored, and after a restore that was cut off."""

GLOBAL_CONFIG = "/os/config/global"
"""S8, what held for all regions of an older layout."""

AUDIT_HEAD = "/os-audit/head"
AUDIT_ANCHOR = "/os-audit/anchor"
AUDIT_ENTRIES = "/os-audit/entries/"
AUDIT_DAMAGED = "/os-audit/damaged/"
AUDIT_BLOCK = 1000
AUDIT_CHUNK = 100


def idc_prefix(idc: str) -> str:
    """All that a region reads and watches (S12)."""
    return f"/os/{idc}/"


def server(idc: str, sn: str) -> str:
    """S1, the server's entry."""
    return f"/os/{idc}/servers/{sn}"


def task(idc: str, sn: str) -> str:
    """S2, the machine's present task."""
    return f"/os/{idc}/machines/{sn}/task"


def meta(idc: str, sn: str) -> str:
    """S3, the machine."""
    return f"/os/{idc}/machines/{sn}/meta"


def lease(idc: str, sn: str) -> str:
    """S4, there while the machine's agent lives."""
    return f"/os/{idc}/machines/{sn}/lease"


def evidence(idc: str, sn: str) -> str:
    """What the region saw last of a machine with an unfinished task, layer by layer."""
    return f"/os/{idc}/machines/{sn}/evidence"


def history(idc: str, sn: str, task_id: str) -> str:
    """S5, one finished task."""
    return f"/os/{idc}/machines/{sn}/history/{task_id}"


def history_prefix(idc: str, sn: str) -> str:
    """S5, all finished tasks of one machine."""
    return f"/os/{idc}/machines/{sn}/history/"


def task_secrets(idc: str, sn: str = "") -> str:
    """What is secret of the machine's last task, sealed; without one, the prefix of all."""
    return f"/os/{idc}/sealed/{sn}"


def heartbeat(idc: str) -> str:
    """S6, there while the region is online."""
    return f"/os/region/{idc}/heartbeat"


def capabilities(idc: str) -> str:
    """S6, what the region can install."""
    return f"/os/region/{idc}/capabilities"


def region_status(idc: str) -> str:
    """S6, what the region said last of itself: online or offline."""
    return f"/os/region/{idc}/status"


def region_client(idc: str, identity: str) -> str:
    """S6, one regional client, active or standby; there while it lives."""
    return f"/os/region/{idc}/clients/{identity}"


def region_active(idc: str) -> str:
    """S6, the regional client that answered machines last, also while it is away."""
    return f"/os/region/{idc}/active"


def dhcp_lease(idc: str, ip: str) -> str:
    """An address that the region's DHCP gave to a machine; without one, the prefix of all."""
    return f"/os/{idc}/dhcp/{ip}"


def signer(idc: str, key_id: str) -> str:
    """The public key of a regional client; without one, the prefix of all."""
    return f"/os/{idc}/signers/{key_id}"


def log_reader(idc: str) -> str:
    """The public key of the control planes, which may read the logs of tasks at the region."""
    return f"/os/{idc}/log_reader"


def taken(idc: str, name: str) -> str:
    """What machines may take once only, and one took; gone when it is worth nothing anyhow."""
    return f"/os/{idc}/taken/{name}"


def reservation(idc: str, ip: str) -> str:
    """For which machine DHCP reserves an address: its serial number."""
    return f"/os/{idc}/reserved/{ip}"


def outbox(idc: str, outbox_id: str, lane: str = "") -> str:
    """How far a region's outbox is handed in, by machine; without one, the prefix of all."""
    return f"/os/{idc}/outbox/{outbox_id}/{lane}"


UNMATCHED = "/os/unmatched_reports/"
"""S7, of all data centers."""


def unmatched(idc: str, received_at: datetime, mac: str) -> str:
    """S7, one report without a task; the time sorts as text."""
    return f"/os/unmatched_reports/{idc}/{received_at:%Y%m%dT%H%M%S.%fZ}-{mac.replace(':', '')}"


def unmatched_prefix(idc: str) -> str:
    """S7, all reports without a task of one data center."""
    return f"/os/unmatched_reports/{idc}/"


def unmatched_report(idc: str, rest: str) -> str:
    """S7, one report by the last part of its key."""
    return f"/os/unmatched_reports/{idc}/{rest}"


def dead_letter(idc: str, task_id: str) -> str:
    """S9, one failed task set aside."""
    return f"/os/dlq/{idc}/{task_id}"


def task_place(task_id: str) -> str:
    """Where a task is: so that who knows only its id need not scan for it."""
    return f"/os/tasks/{task_id}"


def mac_place(idc: str, mac: str) -> str:
    """Which machine had the last task with this MAC; creations of tasks meet in it."""
    return f"/os/{idc}/macs/{mac.replace(':', '')}"


def event(event_id: str) -> str:
    """Something that happened and was not taken into the audit log yet."""
    return f"{EVENTS}{event_id}"


def template(name: str) -> str:
    """S8, one template as it is now."""
    return f"{TEMPLATES}{name}"


def control(collection: str, name: str = "") -> str:
    """A document of the control plane's own; without a name, the prefix of its collection."""
    return f"/os/control/{collection}/{name}"


def migrated(task_id: str) -> str:
    """That a task of an older layout was carried over, and from where."""
    return f"{MIGRATED}tasks/{task_id}"


def migrated_key(key: str) -> str:
    """That the document of `key` came from an older layout."""
    return f"{MIGRATED}keys{key}"


def audit_entry(seq: int) -> str:
    """One entry of the audit log, under its block."""
    return f"{audit_block(seq // AUDIT_BLOCK)}{seq:012d}"


def audit_block(number: int) -> str:
    """The prefix of `AUDIT_BLOCK` entries."""
    return f"{AUDIT_ENTRIES}{number:09d}/"


def audit_chunk(number: int) -> str:
    """The prefix of `AUDIT_CHUNK` entries: of those whose number is `seq // AUDIT_CHUNK`."""
    return audit_entry(number * AUDIT_CHUNK)[:-2]


def audit_damaged(seq: int) -> str:
    """An event that could not be read; entry `seq` of the audit log tells of it."""
    return f"{AUDIT_DAMAGED}{seq:012d}"


class KeyName(NamedTuple):
    """What a key names; `idc` and `sn` are empty where the kind has none."""

    kind: str
    idc: str
    sn: str = ""
    rest: str = ""


_KINDS = (
    ("region", re.compile(r"/os/region/([^/]+)/(heartbeat|status|capabilities)")),
    ("client", re.compile(r"/os/region/([^/]+)/clients/([^/]+)")),
    ("unmatched", re.compile(r"/os/unmatched_reports/([^/]+)/([^/]+)")),
    ("dlq", re.compile(r"/os/dlq/([^/]+)/([^/]+)")),
    ("server", re.compile(r"/os/([^/]+)/servers/([^/]+)")),
    ("history", re.compile(r"/os/([^/]+)/machines/([^/]+)/history/([^/]+)")),
    ("task", re.compile(r"/os/([^/]+)/machines/([^/]+)/task")),
    ("meta", re.compile(r"/os/([^/]+)/machines/([^/]+)/meta")),
    ("lease", re.compile(r"/os/([^/]+)/machines/([^/]+)/lease")),
    ("evidence", re.compile(r"/os/([^/]+)/machines/([^/]+)/evidence")),
    ("signer", re.compile(r"/os/([^/]+)/signers/([^/]+)")),
    ("taken", re.compile(r"/os/([^/]+)/taken/([^/]+)")),
    ("sealed", re.compile(r"/os/([^/]+)/sealed/([^/]+)")),
    ("log_reader", re.compile(r"/os/([^/]+)/log_reader")),
)


def parse(key: str) -> KeyName | None:
    """What `key` names; None for a key of no known kind.

    For kind `region` the `sn` is empty and `rest` is heartbeat, status or capabilities; for
    `client`, `unmatched`, `dlq`, `signer`, `taken` and `sealed` `rest` is the last part.
    """
    for kind, pattern in _KINDS:
        if match := pattern.fullmatch(key):
            groups = match.groups()
            if kind in ("region", "client", "unmatched", "dlq", "signer", "taken", "sealed"):
                return KeyName(kind, groups[0], "", groups[1])
            return KeyName(kind, *groups)
    return None


_COLLECTION = re.compile(r"[a-z][a-z_-]{0,39}")
_OF_ALL = frozenset({"events", "config", "region", "unmatched_reports", "dlq", "tasks"})
_OF_A_REGION = frozenset(
    {
        *("servers", "machines", "sealed", "dhcp", "signers", "log_reader"),
        *("taken", "reserved", "outbox", "macs"),
    }
)


def kind_of(key: str) -> str:
    """The kind of a key or prefix, one of few words: nothing of the names that stand in it."""
    if known := parse(key):
        return known.kind
    found = "other"
    match key.split("/")[1:]:
        case ["os-audit" | "os-migration" | "os-election" as root, *_]:
            found = root.removeprefix("os-")
        case ["os", kind, *_] if kind in _OF_ALL:
            found = kind
        case ["os", "control", collection, *_] if _COLLECTION.fullmatch(collection):
            found = f"control.{collection}"
        case ["os", _, kind, *_] if kind in _OF_A_REGION:
            found = kind
    return found
