"""A disk plan in lines: every disk, what is lost, what stands on what."""

import msgspec

from lpmos.cli.client import Document
from lpmos.cli.disk_plan import layers, plan_lines
from lpmos.model.diskplan import GIB, RootDiskHints, StorageLayout, plan_disk
from lpmos.model.inventory import Disk
from tests.support.builders import make_inventory

DISKS = (
    Disk(device="/dev/sda", size_bytes=960 * 10**9, kind="ssd", model="ACME 1", serial="S1"),
    Disk(device="/dev/sdb", size_bytes=960 * 10**9, kind="ssd", wwn="0x5", contents=("gpt", "xfs")),
)


def document(layout: str | StorageLayout) -> Document:
    hints = RootDiskHints(overwrite=True)
    found: Document = msgspec.to_builtins(
        plan_disk(make_inventory(disks=DISKS), layout, hints, GIB)
    )
    return found


def test_lines_of_a_mirror_name_both_disks_and_what_is_lost() -> None:
    assert list(plan_lines(document("raid1"))) == [
        "/dev/sda 960 GB ACME 1 serial S1",
        "  blank",
        "/dev/sdb 960 GB wwn 0x5",
        "  LOST: gpt, xfs",
        "  partition 1 BIOS boot of each of 2 disks 1 MiB",
        "  partition 2 EFI system of each of 2 disks 512 MiB vfat at /boot/efi",
        "  partition 3 of each of 2 disks 1 GiB",
        "    md-boot RAID 1 over 2 disks ext4 at /boot",
        "  partition 4 of each of 2 disks the rest",
        "    md-root RAID 1 over 2 disks ext4 at /",
    ]


def test_layers_stand_one_on_the_other() -> None:
    layout = StorageLayout(lvm=True, encrypt=True, swap_bytes=GIB, erase="discard")
    found = layers(document(layout))
    assert [(layer.depth, layer.name, layer.filesystem, layer.mount) for layer in found][3:] == [
        (0, "partition 4", "", ""),
        (1, "crypt-root", "", ""),
        (2, "vg0", "", ""),
        (3, "swap", "swap", ""),
        (3, "root", "ext4", "/"),
    ]
    assert list(plan_lines(document(layout)))[-1].startswith("Erased: every block is discarded")


def test_lines_of_a_plan_of_a_version_before_are_whole() -> None:
    old = {
        name: value
        for name, value in document("auto").items()
        if name in {"device", "size_bytes", "serial", "partitions"}
    }
    assert list(plan_lines(old))[-1] == "  partition 3 root the rest ext4 at /"


def test_lines_show_nothing_that_moves_the_cursor() -> None:
    planted = document("auto") | {"model": "evil\x1b[31m\nmodel", "overwrites": ["\x1b[2J"]}
    assert "\x1b" not in "".join(plan_lines(planted))


def test_image_of_a_whole_disk_is_said_so() -> None:
    whole = document("auto") | {"partitions": [], "whole_image": True}
    assert list(plan_lines(whole))[-1].startswith("The image writes the whole disk")
