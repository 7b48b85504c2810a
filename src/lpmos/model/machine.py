"""A machine and the names it goes by: MAC address, serial number, data center, host name."""

import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address
from typing import NewType

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.inventory import Inventory

Mac = NewType("Mac", str)
"""A MAC address as `52:54:00:12:34:56`: six lower-case octets with colons."""

_HEX = re.compile(r"[0-9a-f]{12}")
_BYTE = "[0-9A-Fa-f]{2}"


def _mac_shapes(first: str) -> str:
    """The usual notations of a MAC address whose first octet is like `first`."""
    octets = [f"{first}{between}({_BYTE}{between}){{4}}{_BYTE}" for between in (":", "-", "")]
    return f"^({'|'.join(octets)}|{first}{_BYTE}([.]{_BYTE}{_BYTE}){{2}})$"


MAC_PATTERN = _mac_shapes("[0-9A-Fa-f][02468ACEace]")
SN_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
IDC_PATTERN = "^[a-z0-9][a-z0-9-]{0,31}$"
TENANT_PATTERN = "^[a-z0-9][a-z0-9-]{0,31}$"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOSTNAME_PATTERN = f"^{_LABEL}([.]{_LABEL})*$"
IPV4_PATTERN = r"^\d{1,3}(\.\d{1,3}){3}$"
TAG_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
"""What the API's description says of each; the functions below see what a pattern cannot say."""

_SHAPES = re.compile(_mac_shapes(_BYTE))
_SN = re.compile(SN_PATTERN)
_IDC = re.compile(IDC_PATTERN)
_TENANT = re.compile(TENANT_PATTERN)
_HOSTNAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")

_TAG = re.compile(TAG_PATTERN)

TAGS_LIMIT = 64
TAGS_BYTES = 16_384
"""What all tags of a machine may take: its record holds an inventory too (S13)."""

TAG_CHARACTERS = 256

RESERVED_IDCS = frozenset(
    {"region", "config", "unmatched_reports", "dlq", "install", "tasks", "events", "control"}
)
"""Names that stand beside the data centers in the store's key space."""


def parse_mac(text: str, field: str = "mac") -> Mac:
    """Normalise a MAC address given in any usual notation and case.

    Raises:
        InvalidInput: not a MAC address, or one that no single NIC can have (zero, multicast).
    """
    if not _SHAPES.fullmatch(text):
        raise InvalidInput(FieldProblem(field, f"{text[:40]!r} is not a MAC address"))
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    if not _HEX.fullmatch(digits) or int(digits[:2], 16) & 1 or int(digits, 16) == 0:
        raise InvalidInput(FieldProblem(field, f"{text!r} is not the address of a single NIC"))
    return Mac(":".join(digits[i : i + 2] for i in range(0, 12, 2)))


def parse_sn(text: str, field: str = "sn") -> str:
    """A serial number that can stand in a store key: letters, digits and `._-`, at most 64.

    Raises:
        InvalidInput: anything else.
    """
    if not _SN.fullmatch(text):
        raise InvalidInput(
            FieldProblem(
                field, f"{text[:80]!r} is not a serial number (letters, digits, '.', '_', '-'; ≤64)"
            )
        )
    return text


def parse_idc(text: str, field: str = "idc") -> str:
    """The name of a data center: lower-case letters, digits and '-', at most 32.

    Raises:
        InvalidInput: anything else, or a reserved name.
    """
    if not _IDC.fullmatch(text) or text in RESERVED_IDCS:
        raise InvalidInput(
            FieldProblem(
                field, f"{text[:80]!r} is not a data center's name (a-z, 0-9, '-'; ≤32 characters)"
            )
        )
    return text


def parse_tenant(text: str, field: str = "tenant") -> str:
    """The name of a tenant: lower-case letters, digits and '-', at most 32.

    Raises:
        InvalidInput: anything else.
    """
    if not _TENANT.fullmatch(text):
        raise InvalidInput(
            FieldProblem(
                field, f"{text[:80]!r} is not a tenant's name (a-z, 0-9, '-'; ≤32 characters)"
            )
        )
    return text


def parse_ipv4(text: str, field: str = "address") -> str:
    """An IPv4 address that a machine can have.

    Raises:
        InvalidInput: anything else, or one that no machine has (multicast, loopback and the like).
    """
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise InvalidInput(FieldProblem(field, f"{text[:40]!r} is not an IPv4 address")) from None
    reserved = address.is_multicast or address.is_loopback or address.is_unspecified
    if reserved or address.is_link_local or address.is_reserved:
        raise InvalidInput(FieldProblem(field, f"{text} is not the address of a machine"))
    return str(address)


def parse_hostname(text: str, field: str = "hostname") -> str:
    """A host name of one label (RFC 1123 section 2.1), or several with dots; lower-cased.

    Raises:
        InvalidInput: anything else.
    """
    name = text.lower()
    if len(name) > 253 or not all(_HOSTNAME.fullmatch(label) for label in name.split(".")):
        raise InvalidInput(FieldProblem(field, f"{text[:80]!r} is not a host name (RFC 1123)"))
    return name


def tag_problems(tags: Mapping[str, str | None], field: str = "tags") -> list[FieldProblem]:
    """All that is wrong with tags, of a task or a machine; empty where nothing is."""
    problems = []
    if len(tags) > TAGS_LIMIT:
        problems.append(FieldProblem(field, f"more than {TAGS_LIMIT} tags"))
    text = f"keys: up to 63 of A-Z a-z 0-9 . _ / -; values: up to {TAG_CHARACTERS}"
    return problems + [
        FieldProblem(f"{field}.{key[:64]}", text)
        for key, value in tags.items()
        if not _TAG.fullmatch(key) or len(value or "") > TAG_CHARACTERS
    ]


def tags_fit(tags: Mapping[str, str]) -> bool:
    """Whether a machine can have all these tags."""
    size_bytes = sum(len(text.encode()) for text in (*tags, *tags.values()))
    return len(tags) <= TAGS_LIMIT and size_bytes <= TAGS_BYTES


def with_tags(known: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The known tags and as many of the new ones as a machine can have with them."""
    tags = dict(known)
    for key, value in new.items():
        if tags_fit(more := {**tags, key: value}):
            tags = more
    return tags


def sn_from_mac(mac: Mac) -> str:
    """The serial number used for a machine whose own is not known."""
    return "mac-" + mac.replace(":", "")


def hostname_from_sn(sn: str) -> str:
    """The host name of a machine for which the task names none."""
    return re.sub(r"[^a-z0-9]+", "-", sn.lower()).strip("-")[:63].strip("-") or "machine"


class InstalledDisk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk that a system was installed on, as the agent reported it."""

    device: str
    serial: str | None = None
    wwn: str | None = None


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on a machine's disk, and by which task it came there.

    `disk` is None where an earlier version installed it; `members` are the further disks that it
    is on, where it is on several.
    """

    generation: int
    task_id: str
    os_type: str
    os_version: str
    installed_at: datetime
    disk: InstalledDisk | None = None
    members: tuple[InstalledDisk, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as the store keeps it (S3), apart from any task.

    A task's tags become the machine's with its first report for that task, which `tagged_by` names:
    what people change afterwards stays. `address` is reserved for it by DHCP. `reported_at` is when
    an agent reported last.
    """

    idc: str
    sn: str
    macs: tuple[str, ...]
    inventory: Inventory | None = None
    bmc_address: str | None = None
    tags: dict[str, str] = {}
    tagged_by: str | None = None
    tenant: str | None = None
    address: str | None = None
    installed: Installed | None = None
    first_seen_at: datetime
    reported_at: datetime | None = None
    updated_at: datetime


class AgentLease(msgspec.Struct, frozen=True, kw_only=True):
    """The agent of a machine lives (S4): bound to a lease of the store that the region keeps."""

    agent_id: str
    mac: str
    at: datetime


class ServerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The short entry of a server in its data center's list (S1)."""

    sn: str
    status: str
    mac: str
    added_at: datetime


class UnmatchedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A hardware report for which there was no task (S7).

    `same_mac_as` is the serial number of the known machine whose MAC this other machine uses.
    """

    mac_address: str
    region: str
    sn: str | None = None
    hardware: Inventory
    received_at: datetime
    error: str
    same_mac_as: str | None = None
