"""A machine and the names it goes by: MAC address, serial number, data center, host name."""

import re
from datetime import datetime
from typing import NewType

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.inventory import Inventory

Mac = NewType("Mac", str)
"""A MAC address as `52:54:00:12:34:56`: six lower-case octets with colons."""

_HEX = re.compile(r"[0-9a-f]{12}")
_SHAPES = re.compile(
    r"(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}"  # 52:54:.. or 52-54-..
    r"|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"  # 5254.0012.3456
    r"|[0-9A-Fa-f]{12}"
)
_SN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_IDC = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HOSTNAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")

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


def parse_hostname(text: str, field: str = "hostname") -> str:
    """A host name of one label (RFC 1123 section 2.1), or several with dots; lower-cased.

    Raises:
        InvalidInput: anything else.
    """
    name = text.lower()
    if len(name) > 253 or not all(_HOSTNAME.fullmatch(label) for label in name.split(".")):
        raise InvalidInput(FieldProblem(field, f"{text[:80]!r} is not a host name (RFC 1123)"))
    return name


def sn_from_mac(mac: Mac) -> str:
    """The serial number used for a machine whose own is not known."""
    return "mac-" + mac.replace(":", "")


def hostname_from_sn(sn: str) -> str:
    """The host name of a machine for which the task names none."""
    return re.sub(r"[^a-z0-9]+", "-", sn.lower()).strip("-")[:63].strip("-") or "machine"


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on a machine's disk, and by which task it came there."""

    generation: int
    task_id: str
    os_type: str
    os_version: str
    installed_at: datetime


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as the store keeps it (S3), apart from any task."""

    idc: str
    sn: str
    macs: tuple[str, ...]
    inventory: Inventory | None = None
    bmc_address: str | None = None
    tags: dict[str, str] = {}
    tenant: str | None = None
    installed: Installed | None = None
    first_seen_at: datetime
    updated_at: datetime


class ServerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The short entry of a server in its data center's list (S1)."""

    sn: str
    status: str
    mac: str
    added_at: datetime


class UnmatchedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A hardware report for which there was no task (S7)."""

    mac_address: str
    region: str
    sn: str | None = None
    hardware: Inventory
    received_at: datetime
    error: str
