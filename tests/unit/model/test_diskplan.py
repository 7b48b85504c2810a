"""The root disk: never one with data that was not named, never one too small."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.diskplan import GIB, MIB, RootDiskHints, StorageLayout, plan_disk
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


def planned_for_sectors(sector_bytes: int | None, *disks: Disk) -> str:
    there = msgspec.structs.replace(inventory(*disks), boot_mode="uefi")
    return plan_disk(
        there, "auto", RootDiskHints(), NEEDED, whole_image=True, sector_bytes=sector_bytes
    ).device


SECTORS = tuple(
    disk(f"/dev/sd{letter}", logical_block_bytes=sectors, physical_block_bytes=4096)
    for letter, sectors in (("a", 512), ("b", 4096))
)


@pytest.mark.parametrize(("sectors", "device"), [(512, "/dev/sda"), (4096, "/dev/sdb")])
def test_plan_disk_image_is_for_a_disk_of_its_sectors(sectors: int, device: str) -> None:
    fitting, other = sorted(SECTORS, key=lambda each: each.logical_block_bytes != sectors)
    assert planned_for_sectors(sectors, other, fitting) == device
    had = other.logical_block_bytes
    text = f"{other.device}: has sectors of {had} bytes, and the image .* of {sectors}: make"
    with pytest.raises(NoSuitableDisk, match=text):
        planned_for_sectors(sectors, other)


def test_plan_disk_image_that_says_nothing_of_sectors_is_for_any_disk() -> None:
    assert [planned_for_sectors(None, each) for each in SECTORS] == ["/dev/sda", "/dev/sdb"]


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


NAMESPACES = (
    disk("/dev/nvme0n1", serial="S", wwn="eui.1", path="pci-1-nvme-1", size_bytes=20 * GIB,
         contents=("ext4",)),
    disk("/dev/nvme0n2", serial="S", wwn="eui.2", path="pci-1-nvme-2", contents=("xfs",)),
)  # fmt: skip
"""Two namespaces of one NVMe controller, whose serial number both say."""


@pytest.mark.parametrize(
    "more", [{}, {"overwrite": True}, {"model": ""}, {"max_size_bytes": 2**50}]
)
def test_plan_serial_that_several_disks_have_names_none_of_them(more: dict[str, object]) -> None:
    text = "/dev/nvme0n1, /dev/nvme0n2 have the serial number S: name the WWN or by-path name too"
    with pytest.raises(NoSuitableDisk, match=f"^{text}$"):
        chosen(*NAMESPACES, serial="S", **more)


@pytest.mark.parametrize(
    "more",
    [
        {"wwn": "eui.1"},
        {"path": "/dev/disk/by-path/pci-1-nvme-1"},
        {"device": "/dev/nvme0n1"},
        {"min_size_bytes": 20 * GIB},
    ],
)
def test_plan_shared_serial_with_what_only_one_disk_has_names_that(more: dict[str, object]) -> None:
    assert chosen(*NAMESPACES, serial="S", **more) == "/dev/nvme0n1"


def test_plan_shared_serial_is_refused_also_where_only_one_of_the_disks_could_be_taken() -> None:
    first, second = NAMESPACES
    for other in ({"read_only": True}, {"removable": True}, {"size_bytes": GIB}):
        with pytest.raises(NoSuitableDisk, match="have the serial number S"):
            chosen(first, msgspec.structs.replace(second, **other), serial="S")


def test_plan_place_that_several_disks_have_names_none_of_them() -> None:
    volumes = [disk(f"/dev/sd{each}", path="pci-2-scsi-0:2:0:0") for each in "ab"]
    with pytest.raises(NoSuitableDisk, match="name the serial number or WWN too"):
        chosen(*volumes, path="pci-2-scsi-0:2:0:0")


def test_plan_disks_of_a_batch_with_one_wwn_are_no_paths() -> None:
    batch = [disk(f"/dev/sd{each}", serial=each.upper(), wwn="0x5") for each in "abc"]
    assert chosen(*batch, serial="B") == "/dev/sdb"


@pytest.mark.parametrize("contents", [(), ("ext4",)])
def test_plan_wwn_that_a_batch_of_disks_has_names_none_of_them(contents: tuple[str, ...]) -> None:
    batch = [
        disk(f"/dev/sd{each}", serial=each.upper(), wwn="0x5", contents=contents) for each in "abc"
    ]
    text = "/dev/sda, /dev/sdb, /dev/sdc have the WWN 0x5: name the serial number or by-path name"
    with pytest.raises(NoSuitableDisk, match=text):
        chosen(*batch, wwn="0x5")
    assert chosen(*batch, wwn="0x5", serial="B") == "/dev/sdb"


def test_plan_path_that_says_no_serial_is_a_path_to_the_disk_that_says_one() -> None:
    paths = [disk("/dev/sda", serial="S", wwn="0x5"), disk("/dev/sdb", wwn="0x5")]
    with pytest.raises(NoSuitableDisk, match="is one of 2 paths to one disk"):
        chosen(*paths, wwn="0x5")


def test_plan_two_paths_to_one_named_disk_are_told_as_paths() -> None:
    paths = [disk(f"/dev/sd{each}", serial="S", wwn="0x5") for each in "ab"]
    with pytest.raises(NoSuitableDisk, match="is one of 2 paths to one disk"):
        chosen(*paths, serial="S")


def test_plan_array_member_that_several_disks_are_is_refused() -> None:
    machine = inventory(*NAMESPACES, disk("/dev/sda", serial="T", size_bytes=20 * GIB))

    def planned(*members: RootDiskHints) -> tuple[str, ...]:
        layout = StorageLayout(raid="raid1", members=members)
        made = plan_disk(machine, layout, RootDiskHints(), NEEDED)
        return tuple(each.device for each in made.disks)

    other = RootDiskHints(serial="T")
    with pytest.raises(NoSuitableDisk, match="have the serial number S"):
        planned(other, RootDiskHints(serial="S"))
    assert planned(other, RootDiskHints(serial="S", wwn="eui.2")) == ("/dev/sda", "/dev/nvme0n2")


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
    named = hints.serial is not None
    assert not target.contents or hints.overwrite or named
    assert not named or [d.serial for d in disks].count(hints.serial) == 1
    assert not named or hints.serial == target.serial
    fixed = sum(p.size_bytes for p in plan.partitions if p.size_bytes)
    assert target.size_bytes - fixed - MIB >= NEEDED
    assert [p.number for p in plan.partitions if p.size_bytes is None] == [3]
