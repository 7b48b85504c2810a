"""What the installed system is told of its disks."""

from lpmos.install.storage import RUN_UNIT, RUN_WANTED, files
from lpmos.model.diskplan import (
    GIB,
    DiskPlan,
    PartitionWish,
    RootDiskHints,
    StorageLayout,
    plan_disk,
)
from lpmos.model.inventory import Disk
from tests.support.builders import make_inventory

INVENTORY = make_inventory(
    disks=tuple(Disk(device=f"/dev/sd{name}", size_bytes=64 * GIB, kind="ssd") for name in "abcd")
)


def plan(layout: str | StorageLayout) -> DiskPlan:
    return plan_disk(INVENTORY, layout, RootDiskHints(), GIB)


def contents(made: DiskPlan) -> dict[str, str]:
    return {file.path: file.content for file in files(made)}


def test_auto_has_the_mounts_that_it_always_had() -> None:
    assert contents(plan("auto")) == {
        "/etc/fstab": "UUID={{ROOT_UUID}} / ext4 defaults,errors=remount-ro 0 1\n"
        "UUID={{ESP_UUID}} /boot/efi vfat umask=0077,nofail 0 1\n"
    }


def test_array_of_each_file_system_is_named_by_its_uuid() -> None:
    written = contents(plan("raid1"))
    assert written["/etc/fstab"] == (
        "UUID={{UUID:md-root}} / ext4 defaults,errors=remount-ro 0 1\n"
        "UUID={{UUID:md-boot}} /boot ext4 defaults 0 2\n"
        "UUID={{ESP_UUID}} /boot/efi vfat umask=0077,nofail 0 1\n"
    )
    assert written["/etc/mdadm/mdadm.conf"] == (
        "MAILADDR root\n"
        "ARRAY /dev/md/md-boot metadata=1.2 UUID={{ARRAY_UUID:md-boot}}\n"
        "ARRAY /dev/md/md-root metadata=1.2 UUID={{ARRAY_UUID:md-root}}\n"
    )
    assert written["/etc/initramfs-tools/conf.d/resume"] == "RESUME=none\n"
    assert "/etc/crypttab" not in written
    assert "mdadm --incremental --run --scan" in written[RUN_UNIT]
    assert written[RUN_WANTED] == "[Unit]\nWants=lpmos-arrays.service\n"
    assert RUN_UNIT not in contents(plan("lvm"))


def test_volumes_over_encryption_are_unlocked_mounted_and_swapped_on() -> None:
    layout = StorageLayout(
        raid="raid1",
        lvm=True,
        encrypt=True,
        filesystem="xfs",
        swap_bytes=GIB,
        partitions=(
            PartitionWish(mount="/var/log", size_bytes=GIB, filesystem="btrfs"),
            PartitionWish(mount="/var", size_bytes=GIB, filesystem="ext4"),
            PartitionWish(name="data", size_bytes=GIB),
        ),
    )
    written = contents(plan(layout))
    assert written["/etc/fstab"] == (
        "UUID={{UUID:vg0/root}} / xfs defaults 0 0\n"
        "UUID={{UUID:md-boot}} /boot ext4 defaults 0 2\n"
        "UUID={{ESP_UUID}} /boot/efi vfat umask=0077,nofail 0 1\n"
        "UUID={{UUID:vg0/var}} /var ext4 defaults 0 2\n"
        "UUID={{UUID:vg0/var-log}} /var/log btrfs defaults 0 0\n"
        "UUID={{UUID:vg0/swap}} none swap sw 0 0\n"
    )
    assert written["/etc/crypttab"] == "crypt-root UUID={{UUID:md-root}} none luks\n"
    assert written["/etc/initramfs-tools/conf.d/resume"] == "RESUME=UUID={{UUID:vg0/swap}}\n"


def test_image_of_a_whole_disk_keeps_its_own_word() -> None:
    made = plan_disk(INVENTORY, "auto", RootDiskHints(), GIB, whole_image=True)
    assert files(made) == ()
