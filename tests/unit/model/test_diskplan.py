"""The root disk: never one with data that was not named, never one too small."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.diskplan import GIB, MIB, RootDiskHints, plan_disk
from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Disk, Inventory
from tests.support.builders import make_inventory

NEEDED = 2 * GIB


def disk(device: str = "/dev/sda", **fields: object) -> Disk:
    values: dict[str, object] = {"device": device, "size_bytes": 8 * GIB, "kind": "ssd", **fields}
    return Disk(**values)  # type: ignore[arg-type]


def inventory(*disks: Disk) -> Inventory:
    return make_inventory(disks=disks)


def chosen(*disks: Disk, **hints: object) -> str:
    wishes = RootDiskHints(**hints)  # type: ignore[arg-type]
    return plan_disk(inventory(*disks), "auto", wishes, NEEDED).device


def test_plan_blank_disks_takes_the_smallest_that_suffices() -> None:
    small, large = disk("/dev/sdb", size_bytes=4 * GIB), disk("/dev/sda", size_bytes=9 * GIB)
    tiny = disk("/dev/sdc", size_bytes=1 * GIB)
    assert chosen(large, small, tiny) == "/dev/sdb"


def test_plan_disk_with_data_is_refused_unless_named() -> None:
    full = disk(serial="S1", contents=("LVM2_member",))
    with pytest.raises(NoSuitableDisk, match="LVM2_member"):
        chosen(full)
    assert chosen(full, serial="S1") == full.device
    assert chosen(full, overwrite=True) == full.device


@pytest.mark.parametrize("boot_mode", ["uefi", "unknown"])
def test_plan_disk_of_4096_byte_sectors_is_for_uefi(boot_mode: str) -> None:
    wide = disk(logical_block_bytes=4096, physical_block_bytes=4096)
    there = msgspec.structs.replace(inventory(wide), boot_mode=boot_mode)
    assert plan_disk(there, "auto", RootDiskHints(), NEEDED).device == wide.device


def test_plan_disk_of_4096_byte_sectors_is_refused_for_a_bios() -> None:
    wide = disk(logical_block_bytes=4096, physical_block_bytes=4096)
    there = msgspec.structs.replace(inventory(wide), boot_mode="bios")
    with pytest.raises(NoSuitableDisk, match="sectors of 4096 bytes, from which no BIOS starts"):
        plan_disk(there, "auto", RootDiskHints(serial=None, overwrite=True), NEEDED)


def test_plan_hints_by_model_do_not_allow_overwriting() -> None:
    with pytest.raises(NoSuitableDisk, match="name it"):
        chosen(disk(model="ACME 1", contents=("ext4",)), model="acme")


def test_plan_named_disk_that_is_too_small_says_both_sizes() -> None:
    with pytest.raises(NoSuitableDisk, match=r"has 1\.0 GiB, needs 2\.5 GiB"):
        chosen(disk(serial="S1", size_bytes=GIB), serial="S1")


@pytest.mark.parametrize(
    ("hints", "device"),
    [
        ({"serial": "B"}, "/dev/sdb"),
        ({"wwn": "0x2"}, "/dev/sdb"),
        ({"device": "/dev/sdb"}, "/dev/sdb"),
        ({"model": "big"}, "/dev/sdb"),
        ({"rotational": True}, "/dev/sdb"),
        ({"min_size_bytes": 9 * GIB}, "/dev/sdb"),
        ({"max_size_bytes": 9 * GIB}, "/dev/sda"),
    ],
)
def test_plan_each_hint_selects(hints: dict[str, object], device: str) -> None:
    a = disk("/dev/sda", serial="A", wwn="0x1", model="Small One")
    b = disk("/dev/sdb", serial="B", wwn="0x2", model="Big One", rotational=True,
             size_bytes=16 * GIB)  # fmt: skip
    assert chosen(a, b, **hints) == device


def test_plan_removable_and_read_only_disks_are_never_chosen() -> None:
    with pytest.raises(NoSuitableDisk, match=r"removable.*read-only"):
        chosen(disk("/dev/sda", removable=True), disk("/dev/sdb", read_only=True))


def test_plan_machine_without_disks_says_so() -> None:
    with pytest.raises(NoSuitableDisk, match="the machine has none"):
        chosen()


DISKS = st.lists(
    st.builds(
        disk,
        device=st.sampled_from(["/dev/sda", "/dev/sdb", "/dev/nvme0n1"]),
        size_bytes=st.integers(0, 64 * GIB),
        removable=st.booleans(),
        read_only=st.booleans(),
        serial=st.none() | st.sampled_from(["A", "B"]),
        contents=st.sampled_from([(), ("ext4",), ("gpt", "vfat")]),
    ),
    max_size=4,
    unique_by=lambda d: d.device,
)
HINTS = st.builds(
    RootDiskHints, serial=st.none() | st.sampled_from(["A", "B"]), overwrite=st.booleans()
)


@given(DISKS, HINTS)
def test_plan_whatever_the_machine_has_the_target_is_safe(
    disks: list[Disk], hints: RootDiskHints
) -> None:
    try:
        plan = plan_disk(inventory(*disks), "auto", hints, NEEDED)
    except NoSuitableDisk:
        return
    target = next(d for d in disks if d.device == plan.device)
    assert not target.removable and not target.read_only
    assert not target.contents or hints.overwrite or hints.serial == target.serial
    fixed = sum(p.size_bytes for p in plan.partitions if p.size_bytes)
    assert target.size_bytes - fixed - MIB >= NEEDED
    assert [p.number for p in plan.partitions if p.size_bytes is None] == [3]
