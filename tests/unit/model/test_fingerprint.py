"""One machine is the same in every report of it, and no two are taken for one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.fingerprint import (
    PLACEHOLDERS,
    Identity,
    fingerprint,
    fingerprint_changes,
    identity_of,
    is_placeholder,
    usable_sn,
)
from lpmos.model.inventory import Disk, Inventory, Nic, PciDevice, Product
from tests.support.builders import NOW, make_inventory

UUID = "4c4c4544-0042-4a10-8035-b4c04f4d3232"
words = st.text(alphabet=st.characters(codec="ascii"), max_size=24)
maybe = st.none() | words
products = st.builds(Product, serial=maybe, uuid=maybe, vendor=maybe)
disks = st.builds(
    Disk,
    device=words,
    size_bytes=st.integers(0, 2**50),
    kind=st.just("ssd"),
    serial=maybe,
    wwn=maybe,
    removable=st.booleans(),
)
nics = st.builds(
    Nic, interface=words, mac=st.from_regex(r"52(:[0-9a-fA-F]{2}){5}", fullmatch=True) | words
)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    return make_inventory(
        product=draw(products),
        board=draw(products),
        disks=tuple(draw(st.lists(disks, max_size=6))),
        nics=tuple(draw(st.lists(nics, max_size=4))),
    )


@given(inventories(), st.integers(0, 5000))
def test_fingerprint_of_what_is_kept_is_that_of_the_whole(found: Inventory, extra: int) -> None:
    pci = PciDevice(address="0000:00:1f.2", vendor_id="8086", device_id="1c02", class_id="010601")
    whole = msgspec.structs.replace(found, pci=(pci,) * extra)
    assert fingerprint(whole.bounded()) == fingerprint(whole)
    assert identity_of(whole.bounded()) == identity_of(whole)
    kept = msgspec.json.decode(msgspec.json.encode(whole.bounded()), type=Inventory)
    assert fingerprint(kept) == fingerprint(whole)


def test_fingerprint_of_more_disks_than_are_kept_is_that_of_the_kept() -> None:
    many = tuple(
        Disk(device=f"/dev/sd{n}", size_bytes=n, kind="hdd", serial=f"S{n}" * 40)
        for n in range(400)
    )
    whole = make_inventory(disks=many)
    assert len(whole.bounded().disks) < len(many)
    assert fingerprint(whole.bounded()) == fingerprint(whole)


@given(inventories(), st.randoms(use_true_random=False))
def test_fingerprint_does_not_depend_on_any_order(found: Inventory, random: object) -> None:
    def shuffled(parts: Sequence[object]) -> tuple[object, ...]:
        mixed = list(parts)
        random.shuffle(mixed)  # type: ignore[attr-defined]
        return tuple(mixed)

    other = msgspec.structs.replace(
        found,
        disks=shuffled(found.disks),
        nics=shuffled(found.nics),
    )
    assert fingerprint(other) == fingerprint(found)
    assert fingerprint_changes(found, other) == ""


@given(inventories(), inventories())
def test_differences_are_said_of_both_sides_alike_and_never_of_oneself(
    one: Inventory, other: Inventory
) -> None:
    mine, theirs = identity_of(one), identity_of(other)
    assert mine.differences(mine) == ()
    assert {d.what for d in mine.differences(theirs)} == {d.what for d in theirs.differences(mine)}
    if mine.differences(theirs):
        assert fingerprint(one) != fingerprint(other)


@dataclass(frozen=True)
class Change:
    name: str
    fields: dict[str, object]
    said: str


DISK = make_inventory().disks[0]
CHANGES = [
    Change("serial", {"product": Product(serial="7CZ0123")}, "its serial number was unknown"),
    Change("uuid", {"product": Product(uuid=UUID)}, f"UUID was unknown and is {UUID}"),
    Change("board", {"board": Product(serial="B-77")}, "its board's serial number was unknown"),
    Change(
        "nic",
        {"nics": (*make_inventory().nics, Nic(interface="eth1", mac="52:54:00:00:00:02"))},
        "network interface 52:54:00:00:00:02 is new",
    ),
    Change("no disk", {"disks": ()}, "disk DISK01 of 8589934592 bytes is gone"),
    Change("size", {"disks": (msgspec.structs.replace(DISK, size_bytes=5),)}, "5 bytes is new"),
    Change("wwn", {"disks": (msgspec.structs.replace(DISK, wwn="0x5000"),)}, ""),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_fingerprint_changes_with_each_part_that_an_approval_stands_for(change: Change) -> None:
    other = make_inventory(**change.fields)
    assert fingerprint(other) != fingerprint(make_inventory())
    assert change.said in fingerprint_changes(make_inventory(), other)


SAME: dict[str, dict[str, Any]] = {
    "names of the kernel": {"disks": (msgspec.structs.replace(DISK, device="/dev/sdq"),)},
    "contents": {"disks": (msgspec.structs.replace(DISK, contents=("gpt", "ext4")),)},
    "a stick": {"disks": (DISK, Disk(device="/dev/sdb", size_bytes=9, kind="ssd", removable=True))},
    "the time": {"collected_at": NOW.replace(year=2030)},
    "a link": {"nics": (msgspec.structs.replace(make_inventory().nics[0], carrier=True),)},
    "letters of a MAC": {"nics": (Nic(interface="x", mac="52-54-00-00-00-01"),)},
    "a placeholder": {"product": Product(serial="To Be Filled By O.E.M.", uuid="0" * 32)},
}


@pytest.mark.parametrize("name", SAME)
def test_fingerprint_stays_with_what_changes_by_itself(name: str) -> None:
    assert fingerprint(make_inventory(**SAME[name])) == fingerprint(make_inventory())


@pytest.mark.parametrize(
    "text",
    [
        *sorted(PLACEHOLDERS),
        *("To Be Filled By O.E.M.", "TO BE FILLED BY O.E.M", "Default string", "DEFAULT-STRING"),
        *("", " ", "0", "00000000", "xxxx", "....", "N/A", "None"),
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
    ],
)
def test_placeholder_is_no_name(text: str) -> None:
    assert is_placeholder(text)
    assert usable_sn(text) is None
    product = Product(serial=text, uuid=text)
    assert identity_of(make_inventory(product=product, board=product)) == Identity()


@pytest.mark.parametrize("text", ["7CZ0123", "SN-1", "SIM-1", "VMware-56 4d 1f", UUID, "J3000042"])
def test_real_name_is_kept(text: str) -> None:
    assert not is_placeholder(text)
    found = identity_of(make_inventory(product=Product(serial=f" {text} ", uuid=text.upper())))
    assert (found.serial, found.uuid) == (text, text.lower())


def test_what_one_side_does_not_know_is_no_difference() -> None:
    known = Identity(serial="A", uuid="u", board_serial="B")
    assert known.differences(Identity()) == ()
    assert [d.what for d in known.differences(Identity(serial="A", uuid="v"))] == ["UUID"]


def test_card_of_the_bmc_that_changes_its_mac_changes_nothing() -> None:
    def booted(last: str) -> Inventory:
        card = Nic(interface="usb0", mac=f"02:00:00:00:00:{last}", driver="cdc_ether")
        found = make_inventory()
        return msgspec.structs.replace(found, nics=(*found.nics, card))

    assert fingerprint(booted("01")) == fingerprint(booted("02")) == fingerprint(make_inventory())
    assert fingerprint_changes(booted("01"), booted("02")) == ""
