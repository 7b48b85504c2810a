"""Differences between two reports: nothing for the same machine, each part once, in words."""

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Bios, Dimm, Disk, Inventory, Memory, Nic
from lpmos.model.inventorydiff import HardwareChange, hardware_changes
from tests.support.builders import NOW, make_inventory

NAMES = st.sampled_from([None, "A", "B", "C"])
disks = st.builds(
    Disk,
    device=st.sampled_from(["/dev/sda", "/dev/sdb"]),
    size_bytes=st.sampled_from([8 * GIB, 16 * GIB]),
    kind=st.sampled_from(["ssd", "hdd"]),
    serial=NAMES,
    contents=st.sampled_from([(), ("gpt",)]),
)
dimms = st.builds(Dimm, slot=NAMES, size_bytes=st.sampled_from([0, GIB]), serial=NAMES)
nics = st.builds(
    Nic,
    interface=st.just("eth0"),
    mac=st.sampled_from(["52:54:00:00:00:01", "52:54:00:00:00:02"]),
    driver=NAMES,
    carrier=st.booleans(),
)
inventories = st.builds(
    Inventory,
    collected_at=st.just(NOW),
    boot_mode=st.sampled_from(["bios", "uefi"]),
    bios=st.builds(Bios, version=NAMES),
    memory=st.builds(
        Memory,
        total_bytes=st.sampled_from([2 * GIB, 4 * GIB]),
        dimms=st.lists(dimms, max_size=3).map(tuple),
    ),
    disks=st.lists(disks, max_size=3).map(tuple),
    nics=st.lists(nics, max_size=3).map(tuple),
    tpm_version=NAMES,
    secure_boot=st.none() | st.booleans(),
)


@given(inventories)
def test_changes_of_the_same_hardware_are_none(inventory: Inventory) -> None:
    later = msgspec.structs.replace(inventory, collected_at=NOW + timedelta(days=1))
    assert hardware_changes(inventory, later) == ()


@given(inventories, inventories)
def test_changes_name_each_part_once_and_say_what_kind_they_are(
    before: Inventory, after: Inventory
) -> None:
    found = hardware_changes(before, after)
    assert len({change.path for change in found}) == len(found)
    for change in found:
        assert change.before != change.after
        kinds = {(True, False): "added", (False, True): "removed", (False, False): "changed"}
        assert change.change == kinds[change.before is None, change.after is None]


@given(inventories, inventories)
def test_changes_backwards_are_the_same_the_other_way_round(
    before: Inventory, after: Inventory
) -> None:
    backwards = [(c.path, c.after, c.before) for c in hardware_changes(after, before)]
    assert backwards == [(c.path, c.before, c.after) for c in hardware_changes(before, after)]


def test_disk_that_is_another_one_is_gone_and_came() -> None:
    other = Disk(device="/dev/vda", size_bytes=960 * 10**9, kind="nvme", serial="DISK02", model="X")
    assert hardware_changes(make_inventory(), make_inventory(disks=(other,))) == (
        HardwareChange(
            path="disks/DISK01",
            change="removed",
            what="disk DISK01",
            before="8.6 GB ssd",
            after=None,
        ),
        HardwareChange(
            path="disks/DISK02",
            change="added",
            what="disk DISK02",
            before=None,
            after="960.0 GB nvme X",
        ),
    )


def test_disk_under_another_name_with_other_contents_is_the_same() -> None:
    disk = make_inventory().disks[0]
    moved = msgspec.structs.replace(disk, device="/dev/vdb", contents=("gpt",))
    assert hardware_changes(make_inventory(), make_inventory(disks=(moved,))) == ()


def test_memory_module_in_an_empty_slot_is_added() -> None:
    empty, full = Dimm(slot="A1"), Dimm(slot="A1", size_bytes=32 * GIB, type="DDR5")
    before = make_inventory(memory=Memory(total_bytes=2 * GIB, dimms=(empty,)))
    after = make_inventory(memory=Memory(total_bytes=34 * GIB, dimms=(full,)))
    total, module = hardware_changes(before, after)
    assert (total.path, total.before, total.after) == ("memory/total", "2.0 GiB", "34.0 GiB")
    assert (module.change, module.what, module.after) == (
        "added",
        "memory module A1",
        "32.0 GiB DDR5",
    )


def test_memory_that_another_kernel_counts_otherwise_is_the_same() -> None:
    after = make_inventory(memory=Memory(total_bytes=2 * GIB - 8 * 1024 * 1024))
    assert hardware_changes(make_inventory(), after) == ()


def test_firmware_of_another_version_is_changed() -> None:
    before = make_inventory(bios=Bios(version="2.4"))
    (change,) = hardware_changes(before, make_inventory(bios=Bios(version="2.5")))
    assert (change.path, change.change, change.before, change.after) == (
        "bios/version",
        "changed",
        "2.4",
        "2.5",
    )
