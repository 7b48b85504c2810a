"""Which machine reported, and by which hardware: identity and fingerprint of an inventory.

The identity is what firmware says of the machine itself; two reports of which both know a field and
differ in it come from two machines, whatever their MACs say. The fingerprint is of all that an
approval stands for: identity, NICs and disks. Both read the bounded inventory, which is what is
kept, so that a report and what was kept of it are the same.
"""

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from lpmos.model.errors import InvalidInput
from lpmos.model.inventory import Disk, Inventory, Nic
from lpmos.model.machine import parse_mac, parse_sn

PLACEHOLDERS = frozenset(
    {
        # Board makers' reference firmware; systemd's hwdb/20-dmi-id.hwdb calls these rubbish.
        *("to be filled by o.e.m.", "default string", "o.e.m.", "oem", "n/a"),
        *("system serial number", "systemserialnumb", "serial number", "serial"),
        *("chassis serial number", "board serial number", "base board serial number"),
        *("type1 - system serial number", "type2 - board serial number"),
        *("not specified", "not available", "not applicable", "not present", "not settable"),
        *("default", "empty", "invalid", "none", "null", "standard", "unknown", "unspecified"),
        *("0123456789", "123456789", "1234567890", "012345678", "12345678"),
        *("mb-1234567890", "nb-1234567890", "tag 12345", "123456789abc", "abcdefghijkl"),
        # UUIDs: DSP0134 (SMBIOS) 7.2.1 has all zeros and all ones, seen by their one digit; these
        # are what reference firmware leaves in place.
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)
"""Words that firmware gives in place of a serial number or UUID; they name thousands."""


_USB_DRIVERS = frozenset({"cdc_ether", "cdc_eem", "cdc_ncm", "cdc_subset", "rndis_host"})
"""Of the card that a BMC shows its host over USB: some have another MAC at each boot."""


_SIGNS = re.compile(r"[^a-z0-9]+")


def _plain(text: str) -> str:
    """Letters and digits alone, in lower case: makers differ in dots, dashes and spaces."""
    return _SIGNS.sub("", text.lower())


_PLAIN = frozenset(map(_plain, PLACEHOLDERS))


def is_placeholder(text: str) -> bool:
    """Whether a serial number or UUID names no machine: a known word, or one sign repeated."""
    plain = _plain(text)
    return len(set(plain)) < 2 or plain in _PLAIN


def usable_sn(text: str | None) -> str | None:
    """The serial number where it can name one machine, else None: then its MAC names it."""
    sn = (text or "").strip()
    if is_placeholder(sn):
        return None
    try:
        return parse_sn(sn)
    except InvalidInput:
        return None


class Difference(msgspec.Struct, frozen=True):
    """A field of the identity in which two machines differ: its name, and what each has."""

    what: str
    ours: str
    theirs: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What firmware says of the machine itself; None: nothing, or a placeholder."""

    serial: str | None = None
    uuid: str | None = None
    board_serial: str | None = None

    def differences(self, other: "Identity") -> tuple[Difference, ...]:
        """Each field that both know and differ in; empty where they may be one machine."""
        pairs = ((what, getattr(self, n), getattr(other, n)) for n, what in _WORDS.items())
        return tuple(
            Difference(what, ours, theirs)
            for what, ours, theirs in pairs
            if ours and theirs and ours != theirs
        )


_WORDS = {"serial": "serial number", "uuid": "UUID", "board_serial": "board's serial number"}


def identity_of(inventory: Inventory) -> Identity:
    """The identity of the machine that an inventory is of."""
    product = inventory.product
    return Identity(
        serial=known_serial(product.serial),
        uuid=known_uuid(product.uuid),
        board_serial=known_serial(inventory.board.serial),
    )


def known_serial(text: str | None) -> str | None:
    """A serial number without the space around it; None for a placeholder."""
    return text.strip() if text and not is_placeholder(text) else None


def known_uuid(text: str | None) -> str | None:
    """A UUID in lower case; None for a placeholder."""
    return text.strip().lower() if text and not is_placeholder(text) else None


def cards_of(inventory: Inventory) -> tuple[str, ...]:
    """The MACs of its NICs, normalised, in their order; what is no MAC is left out."""
    found: list[str] = []
    for nic in inventory.nics:
        with suppress(InvalidInput):
            found.append(parse_mac(nic.mac))
    return tuple(found)


def fingerprint(inventory: Inventory) -> str:
    """SHA-256 over identity, NICs and fixed disks, as 64 hex digits; their order is no matter.

    Control planes and regions of two versions compare it: what it is made of stays.
    """
    bounded = inventory.bounded()
    parts = (
        msgspec.structs.astuple(identity_of(bounded)),
        sorted(_macs(bounded.nics)),
        sorted(_disk(disk) for disk in bounded.disks if not disk.removable),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def fingerprint_changes(before: Inventory, after: Inventory) -> str:
    """Why two reports have different fingerprints, as one line; empty where they have not."""
    was, now = before.bounded(), after.bounded()
    changes = [
        f"its {words} was {old or 'unknown'} and is {new or 'unknown'}"
        for name, words in _WORDS.items()
        if (old := getattr(identity_of(was), name)) != (new := getattr(identity_of(now), name))
    ]
    changes += _moved("network interface", _macs(was.nics), _macs(now.nics))
    changes += _moved("disk", _disk_names(was.disks), _disk_names(now.disks))
    return "; ".join(changes)


def _moved(what: str, before: Iterable[str], after: Iterable[str]) -> list[str]:
    was, now = set(before), set(after)
    gone = [f"{what} {name} is gone" for name in sorted(was - now)]
    return gone + [f"{what} {name} is new" for name in sorted(now - was)]


def _macs(nics: Iterable[Nic]) -> list[str]:
    found: list[str] = []
    for nic in nics:
        if nic.driver in _USB_DRIVERS:
            continue
        with suppress(InvalidInput):
            found.append(parse_mac(nic.mac))
    return found


def _disk(disk: Disk) -> tuple[str, str, int]:
    return disk.serial or "", disk.wwn or "", disk.size_bytes


def _disk_names(disks: Iterable[Disk]) -> list[str]:
    fixed = [disk for disk in disks if not disk.removable]
    return [f"{d.serial or d.wwn or d.device} of {d.size_bytes} bytes" for d in fixed]
