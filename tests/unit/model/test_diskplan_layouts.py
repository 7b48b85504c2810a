"""Layouts over one disk and several: exact, safe, and the same for the same machine."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.diskplan import (
    GIB,
    LAYOUTS,
    MIB,
    DiskPlan,
    Filesystem,
    PartitionWish,
    RootDiskHints,
    StorageLayout,
    Volume,
    layout_name,
    layout_problems,
    plan_disk,
)
from lpmos.model.diskplan.choice import differing_hint
from lpmos.model.diskplan.sizes import FEWEST
from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Disk, Inventory
from tests.support.builders import make_inventory

NEEDED = 2 * GIB
NO_HINTS = RootDiskHints()


def disk(device: str, **fields: object) -> Disk:
    values: dict[str, object] = {"size_bytes": 16 * GIB, "kind": "ssd", **fields}
    return Disk(device=device, **values)  # type: ignore[arg-type]


def machine(*disks: Disk) -> Inventory:
    return make_inventory(disks=disks)


FOUR = tuple(disk(f"/dev/sd{letter}", serial=letter.upper()) for letter in "abcd")


def plan(layout: str | StorageLayout, *disks: Disk, **hints: object) -> DiskPlan:
    wishes = RootDiskHints(**hints)  # type: ignore[arg-type]
    return plan_disk(machine(*(disks or FOUR)), layout, wishes, NEEDED)


def refusal(layout: str | StorageLayout, *disks: Disk, **hints: object) -> str:
    with pytest.raises(NoSuitableDisk) as caught:
        plan(layout, *disks, **hints)
    return str(caught.value)


@pytest.mark.parametrize(
    ("found", "digest"),
    [
        (
            disk("/dev/sda", size_bytes=8 * GIB, serial="S1", model="ACME 1",
                 contents=("gpt", "ext4")),
            "dad6b0085bdbb8593d560a9aed8d6c0082323b32e5e15ec7865d19b942acc232",
        ),
        (
            disk("/dev/vda", kind="hdd"),
            "588f6763d877a8aa8d5511ed761618dc7f4140eb91d46d382deaaac62e3d09a6",
        ),
    ],
)  # fmt: skip
def test_digest_of_auto_is_that_of_the_plans_that_are_stored(found: Disk, digest: str) -> None:
    hints = RootDiskHints(serial=found.serial)
    made = plan_disk(machine(found), "auto", hints, GIB)
    assert made.digest == digest
    kept = msgspec.json.decode(msgspec.json.encode(made), type=DiskPlan)
    assert kept.digest == digest


@pytest.mark.parametrize(
    "change",
    [
        {"members": plan("raid1").members},
        {"arrays": plan("raid1").arrays},
        {"groups": plan("lvm").groups},
        {"filesystems": plan("lvm").filesystems},
        {"erase": "discard"},
        {"whole_image": True},
    ],
)
def test_digest_is_another_where_the_plan_says_more(change: dict[str, object]) -> None:
    auto = plan("auto")
    assert msgspec.structs.replace(auto, **change).digest != auto.digest


def test_lvm_has_boot_beside_a_group_that_holds_the_root() -> None:
    made = plan("lvm")
    assert [(part.number, part.role) for part in made.partitions] == [
        (1, "bios_boot"), (2, "esp"), (3, "layer"), (4, "layer"),
    ]  # fmt: skip
    (group,) = made.groups
    assert (group.on, group.volumes) == ("p4", (Volume(name="root", size_bytes=None),))
    assert made.filesystems == (
        Filesystem(on="vg0/root", kind="ext4", mount="/"),
        Filesystem(on="p3", kind="ext4", mount="/boot"),
    )
    assert (made.members, made.arrays, made.encrypted) == ((), (), ())


@pytest.mark.parametrize(("name", "count"), [("raid1", 2), ("raid5", 3), ("raid10", 4)])
def test_raid_by_name_takes_the_fewest_disks_and_boots_from_each(name: str, count: int) -> None:
    made = plan(name)
    assert [each.device for each in made.disks] == [each.device for each in FOUR[:count]]
    assert [(each.id, each.level, each.partition) for each in made.arrays] == [
        ("md-boot", "raid1", 3), ("md-root", name, 4),
    ]  # fmt: skip
    assert [each.on for each in made.filesystems] == ["md-root", "md-boot"]


def test_raid_lvm_encryption_stand_one_on_the_other() -> None:
    layout = StorageLayout(
        raid="raid1", disks=3, lvm=True, encrypt=True, filesystem="xfs", swap_bytes=GIB + 1,
        partitions=(
            PartitionWish(mount="/var/log", size_bytes=GIB),
            PartitionWish(mount="/var", size_bytes=2 * GIB, filesystem="btrfs"),
            PartitionWish(name="data", fill=True, min_bytes=GIB),
            PartitionWish(mount="/", size_bytes=4 * GIB),
        ),
        erase="discard",
    )  # fmt: skip
    assert layout_problems(layout, NO_HINTS) == []
    made = plan(layout)
    assert len(made.disks) == 3 and made.erase == "discard"
    assert [(each.id, each.on) for each in made.encrypted] == [("crypt-root", "md-root")]
    (group,) = made.groups
    assert group.on == "crypt-root"
    assert group.volumes == (
        Volume(name="swap", size_bytes=GIB + 4 * MIB),
        Volume(name="var-log", size_bytes=GIB),
        Volume(name="var", size_bytes=2 * GIB),
        Volume(name="root", size_bytes=4 * GIB),
        Volume(name="data", size_bytes=None),
    )
    assert [(each.mount, each.kind) for each in made.filesystems] == [
        ("/", "xfs"), ("/boot", "ext4"), ("/var", "btrfs"), ("/var/log", "xfs"), (None, "swap"),
        (None, "xfs"),
    ]  # fmt: skip


def test_partitions_of_their_own_are_exact_and_the_root_takes_the_rest() -> None:
    layout = StorageLayout(
        swap_bytes=GIB,
        partitions=(
            PartitionWish(mount="/boot", size_bytes=512 * MIB),
            PartitionWish(mount="/srv", size_bytes=GIB + 5),
        ),
    )
    made = plan(layout)
    assert [part.size_bytes for part in made.partitions] == [
        MIB, 512 * MIB, 512 * MIB, GIB, GIB + MIB, None,
    ]  # fmt: skip
    assert [(each.on, each.mount) for each in made.filesystems] == [
        ("p6", "/"), ("p3", "/boot"), ("p5", "/srv"), ("p4", None),
    ]  # fmt: skip


def test_root_of_a_fixed_size_leaves_the_rest_free() -> None:
    made = plan(StorageLayout(partitions=(PartitionWish(mount="/", size_bytes=4 * GIB),)))
    assert made.partitions[-1].size_bytes == 4 * GIB


def test_root_too_small_for_the_image_is_refused_with_both_sizes() -> None:
    layout = StorageLayout(partitions=(PartitionWish(mount="/", size_bytes=GIB),))
    assert f"{GIB} bytes, and the image needs {NEEDED}" in refusal(layout)


def test_sizes_that_do_not_fit_are_refused_with_exact_numbers() -> None:
    layout = StorageLayout(partitions=(PartitionWish(mount="/srv", size_bytes=14 * GIB),))
    needed = NEEDED + 14 * GIB + GIB + 512 * MIB + 3 * MIB
    assert f"({16 * GIB} and {needed} bytes)" in refusal(layout, disk("/dev/sda"))
    plan(layout, disk("/dev/sda", size_bytes=needed))


def test_raid5_holds_what_one_of_its_disks_could_not() -> None:
    layout = StorageLayout(
        raid="raid5", partitions=(PartitionWish(mount="/srv", size_bytes=20 * GIB),)
    )
    made = plan(layout)
    share = made.partitions[3].size_bytes
    assert share is not None and 10 * GIB < share < 10 * GIB + 128 * MIB


@pytest.mark.parametrize(
    ("hints", "device"),
    [
        ({"nvme": True}, "/dev/nvme0n1"),
        ({"nvme": False}, "/dev/sda"),
        ({"path": "pci-0000:00:1f.2-ata-1"}, "/dev/sda"),
        ({"path": "/dev/disk/by-path/pci-0000:01:00.0-nvme-1"}, "/dev/nvme0n1"),
    ],
)
def test_hints_of_kind_and_place_select(hints: dict[str, object], device: str) -> None:
    sata = disk("/dev/sda", path="pci-0000:00:1f.2-ata-1")
    nvme = disk("/dev/nvme0n1", kind="nvme", path="pci-0000:01:00.0-nvme-1")
    assert plan("auto", sata, nvme, **hints).device == device


def test_place_alone_does_not_allow_overwriting() -> None:
    full = disk("/dev/sda", path="pci-1", contents=("zfs_member",))
    assert "holds zfs_member: name it by root_disk.serial" in refusal("auto", full, path="pci-1")


def test_members_are_found_each_by_its_hints_whatever_their_order() -> None:
    small = disk("/dev/nvme0n1", kind="nvme", size_bytes=8 * GIB, serial="N1")
    large = disk("/dev/nvme1n1", kind="nvme", serial="N2")
    layout = StorageLayout(
        raid="raid1", members=(RootDiskHints(nvme=True), RootDiskHints(serial="N1"))
    )
    assert [each.serial for each in plan(layout, small, large).disks] == ["N2", "N1"]


def test_member_that_is_not_there_is_named_with_every_disk() -> None:
    layout = StorageLayout(
        raid="raid1", members=(RootDiskHints(serial="A"), RootDiskHints(serial="Z"))
    )
    text = refusal(layout, *FOUR[:2])
    assert text.startswith(
        "no disk can be member 2 of 2: /dev/sda: does not match root_disk.serial"
    )


def test_too_few_disks_are_counted() -> None:
    full = disk("/dev/sdc", contents=("linux_raid_member",))
    text = refusal("raid5", *FOUR[:2], full)
    assert text.startswith("the layout is over 3 disks, and 2 can be taken: /dev/sda: is taken")
    assert "/dev/sdc: holds linux_raid_member" in text
    assert [each.device for each in plan("raid5", *FOUR[:2], full, overwrite=True).disks] == [
        "/dev/sda", "/dev/sdb", "/dev/sdc",
    ]  # fmt: skip


def test_paths_to_one_disk_are_no_two_members() -> None:
    twice = [disk(device, wwn="0x5") for device in ("/dev/sda", "/dev/sdb")]
    assert "is one of 2 paths to one disk" in refusal("raid1", *twice)


def test_erase_takes_only_disks_that_can() -> None:
    nvme = disk("/dev/nvme0n1", kind="nvme")
    blunt, sharp, unknown = (
        disk(f"/dev/sd{letter}", discard=can)
        for letter, can in (("a", False), ("b", True), ("c", None))
    )
    assert plan(StorageLayout(erase="nvme_format"), blunt, nvme).device == "/dev/nvme0n1"
    assert "is no NVMe disk" in refusal(StorageLayout(erase="nvme_format"), blunt)
    assert "cannot discard" in refusal(StorageLayout(erase="discard"), blunt)
    assert plan(StorageLayout(erase="discard"), blunt, sharp).device == "/dev/sdb"
    assert plan(StorageLayout(erase="discard"), unknown).device == "/dev/sdc"


def test_whole_image_brings_its_own_partitions() -> None:
    made = plan_disk(machine(*FOUR), "auto", NO_HINTS, NEEDED, whole_image=True)
    assert (made.whole_image, made.partitions, made.filesystems) == (True, (), ())
    with pytest.raises(NoSuitableDisk, match="leave disk_layout at auto"):
        plan_disk(machine(*FOUR), "raid1", NO_HINTS, NEEDED, whole_image=True)


def test_layout_is_called_by_its_name_or_custom() -> None:
    assert layout_name("raid5") == layout_name(StorageLayout(raid="raid5")) == "raid5"
    assert layout_name(StorageLayout(lvm=True, encrypt=True)) == "custom"


@pytest.mark.parametrize(
    ("layout", "hints", "fields"),
    [
        ("raid7", {}, ["disk_layout"]),
        ({"disks": 2}, {}, ["disk_layout.disks"]),
        ({"raid": "raid5", "disks": 2}, {}, ["disk_layout.disks"]),
        ({"raid": "raid1", "members": [{}]}, {}, ["disk_layout.members"]),
        ({"raid": "raid1", "disks": 3, "members": [{}, {}]}, {}, ["disk_layout.members"]),
        ({"raid": "raid1", "members": [{"serial": "A"}, {"serial": "A"}]}, {},
         ["disk_layout.members.0.serial", "disk_layout.members.1.serial"]),
        ({"raid": "raid1", "members": [{}, {}]}, {"serial": "A"}, ["root_disk"]),
        ("raid1", {"serial": "A"}, ["root_disk.serial"]),
        ("auto", {"path": "x" * 257}, ["root_disk.path"]),
        ({"members": [{"model": "x" * 257}]}, {}, ["disk_layout.members.0.model"]),
        ({"encrypt": True, "swap_bytes": 1}, {}, ["disk_layout.lvm"]),
        ({"partitions": [{"size_bytes": GIB}]}, {}, ["disk_layout.partitions.0.name"]),
        ({"partitions": [{"mount": "/usr", "size_bytes": GIB}]}, {},
         ["disk_layout.partitions.0.mount"]),
        ({"partitions": [{"mount": "/boot/efi", "size_bytes": GIB}]}, {},
         ["disk_layout.partitions.0.mount"]),
        ({"partitions": [{"mount": "/var"}]}, {}, ["disk_layout.partitions.0.size_bytes"]),
        ({"partitions": [{"mount": "/", "fill": True, "size_bytes": GIB}]}, {},
         ["disk_layout.partitions.0.size_bytes"]),
        ({"partitions": [{"mount": "/var", "fill": True}]}, {}, ["disk_layout.partitions.0.fill"]),
        ({"partitions": [{"mount": "/var", "min_bytes": 1, "size_bytes": GIB}]}, {},
         ["disk_layout.partitions.0.min_bytes"]),
        ({"partitions": [{"mount": "/srv", "size_bytes": MIB, "filesystem": "xfs"}]}, {},
         ["disk_layout.partitions.0.size_bytes"]),
        ({"partitions": [{"mount": "/boot", "filesystem": "xfs", "size_bytes": GIB}]}, {},
         ["disk_layout.partitions.0.filesystem"]),
        ({"partitions": [{"mount": "/a", "size_bytes": GIB}, {"mount": "/a", "size_bytes": GIB}]},
         {}, ["disk_layout.partitions.0.mount", "disk_layout.partitions.1.mount"]),
        ({"partitions": [{"mount": "/a/b", "size_bytes": GIB},
                         {"mount": "/a-b", "size_bytes": GIB}]},
         {}, ["disk_layout.partitions.0.name", "disk_layout.partitions.1.name"]),
        ({"partitions": [{"mount": "/a", "name": "swap", "size_bytes": GIB},
                         {"mount": "/b", "name": "root", "size_bytes": GIB}]},
         {}, ["disk_layout.partitions.0.name", "disk_layout.partitions.1.name"]),
        ({"partitions": [{"mount": "/" + "long" * 10, "size_bytes": GIB}]}, {},
         ["disk_layout.partitions.0.name"]),
        ({"raid": "raid1", "members": [{"model": f"{n}" * 250, "device": "d" * 250 + f"{n}"}
                                       for n in range(10)]},
         {}, ["disk_layout"]),
    ],
)  # fmt: skip
def test_problems_name_each_wrong_field(
    layout: object, hints: dict[str, object], fields: list[str]
) -> None:
    wanted = msgspec.convert(layout, str | StorageLayout)
    found = layout_problems(wanted, RootDiskHints(**hints))  # type: ignore[arg-type]
    assert [problem.field for problem in found] == fields


SIZES = st.integers(400 * MIB, 6 * GIB)
KINDS: st.SearchStrategy[Any] = st.sampled_from(["ext4", "xfs", "btrfs"])
ERASES: st.SearchStrategy[Any] = st.sampled_from(
    ["signatures", "signatures", "signatures", "discard", "nvme_format"]
)
HINTS = st.builds(RootDiskHints, overwrite=st.booleans(), nvme=st.sampled_from([None, None, True]))
NAMING = st.builds(RootDiskHints, serial=st.sampled_from("ABCDEF"))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[StorageLayout, RootDiskHints]:
    """A layout that can be asked for, and the hints beside it."""
    raid: Any = draw(st.sampled_from([None, "raid1", "raid5", "raid10"]))
    fewest = FEWEST.get(raid, 1)
    members: tuple[RootDiskHints, ...] = ()
    if draw(st.booleans()):
        some = draw(st.lists(NAMING, max_size=fewest, unique=True))
        members = (*some, *([draw(HINTS)] * (fewest - len(some))))
    mounts = draw(st.lists(st.sampled_from(["/var", "/var/log", "/srv"]), max_size=3, unique=True))
    wishes = [
        PartitionWish(mount=mount, size_bytes=draw(SIZES), filesystem=draw(st.none() | KINDS))
        for mount in mounts
    ]
    root = PartitionWish(mount="/", size_bytes=NEEDED + draw(st.integers(0, GIB)))
    rest = PartitionWish(name="rest", fill=True, min_bytes=draw(SIZES))
    wishes += draw(st.sampled_from([[], [root], [root, rest], [rest, root]]))
    several = len(wishes) > 1 or bool(mounts)
    swap_bytes = draw(st.just(0) | SIZES)
    lvm = draw(st.booleans())
    layout = StorageLayout(
        raid=raid,
        disks=None if members or raid is None else draw(st.sampled_from([None, fewest])),
        members=members,
        lvm=lvm,
        encrypt=draw(st.booleans()) and (lvm or not (several or swap_bytes)),
        filesystem=draw(KINDS),
        swap_bytes=swap_bytes,
        partitions=tuple(wishes),
        erase=draw(ERASES),
    )
    return layout, RootDiskHints() if members else draw(HINTS)


DISKS = st.lists(
    st.builds(
        disk,
        device=st.sampled_from([f"/dev/sd{letter}" for letter in "abcdefgh"]),
        size_bytes=st.integers(8, 64).map(lambda size: size * GIB + 512),
        kind=st.sampled_from(["ssd", "nvme", "nvme"]),
        removable=st.integers(0, 9).map(lambda at: at == 9),
        read_only=st.integers(0, 9).map(lambda at: at == 9),
        serial=st.none() | st.sampled_from("ABCDEF"),
        contents=st.sampled_from([(), (), (), (), (), ("ext4",), ("LVM2_member",)]),
        discard=st.sampled_from([None, True, False]),
    ),
    min_size=2,
    max_size=8,
    unique_by=lambda each: each.device,
)


NAMES = st.tuples(st.sampled_from(LAYOUTS), HINTS)


@given(NAMES | layouts(), DISKS, st.randoms())
def test_plan_of_any_layout_is_whole_safe_and_the_same_again(
    wanted: tuple[str | StorageLayout, RootDiskHints], disks: list[Disk], random: object
) -> None:
    layout, hints = wanted
    assert layout_problems(layout, hints) == []
    try:
        made = plan_disk(machine(*disks), layout, hints, NEEDED)
    except NoSuitableDisk as error:
        shared = "have the serial number" in str(error)
        assert shared or all(each.device in str(error) for each in disks)
        return
    random.shuffle(disks)  # type: ignore[attr-defined]
    assert plan_disk(machine(*disks), layout, hints, NEEDED) == made
    assert_safe(made, layout, hints, disks)
    assert_fits(made)
    assert_whole(made)


def assert_safe(
    made: DiskPlan, layout: str | StorageLayout, hints: RootDiskHints, disks: list[Disk]
) -> None:
    """Each disk is one of the machine's, no two are the same, and none was taken unasked."""
    members = () if isinstance(layout, str) else layout.members
    assert len({each.device for each in made.disks}) == len(made.disks)
    for number, each in enumerate(made.disks):
        (found,) = [disk for disk in disks if disk.device == each.device]
        asked = members[number] if members else hints
        assert (each.serial, each.size_bytes) == (found.serial, found.size_bytes)
        assert each.overwrites == found.contents
        assert not found.removable and not found.read_only
        assert asked.serial in (None, found.serial)
        assert not found.contents or asked.overwrite or asked.serial is not None
        fitting = [disk for disk in disks if differing_hint(disk, asked) is None]
        assert asked.serial is None or fitting == [found]
        assert made.erase != "nvme_format" or found.kind == "nvme"
        assert made.erase != "discard" or found.discard is not False


def assert_fits(made: DiskPlan) -> None:
    """Partitions and volumes are whole steps, within the smallest disk, one at most the rest."""
    assert [part.number for part in made.partitions] == list(range(1, len(made.partitions) + 1))
    fixed = [part.size_bytes for part in made.partitions if part.size_bytes is not None]
    assert all(size % MIB == 0 for size in fixed)
    assert all(part.size_bytes is not None for part in made.partitions[:-1])
    smallest = min(each.size_bytes for each in made.disks)
    assert sum(fixed) + MIB <= smallest
    for group in made.groups:
        sizes = [volume.size_bytes for volume in group.volumes]
        assert None not in sizes[:-1]
        assert all(size is None or size % (4 * MIB) == 0 for size in sizes)
        factor = {"raid5": len(made.disks) - 1, "raid10": len(made.disks) / 2}
        levels = {each.id: each.level for each in made.arrays}
        room = (smallest - sum(fixed)) * factor.get(levels.get("md-root", ""), 1)
        assert sum(size or 0 for size in sizes) < room


def assert_whole(made: DiskPlan) -> None:
    """Every layer stands on one below it, every block is used once, and the root is there once."""
    if not made.filesystems:
        assert [part.role for part in made.partitions][-1] == "root"
        return
    layers = {f"p{part.number}" for part in made.partitions if part.role == "layer"}
    used = [f"p{each.partition}" for each in made.arrays]
    blocks = {*layers, *(each.id for each in made.arrays), *(each.id for each in made.encrypted)}
    blocks |= {f"{g.id}/{volume.name}" for g in made.groups for volume in g.volumes}
    used += [each.on for each in made.encrypted] + [each.on for each in made.groups]
    used += [each.on for each in made.filesystems]
    groups = {each.on for each in made.groups}
    assert len(used) == len(set(used)) and set(used) == blocks | groups
    mounts = [each.mount for each in made.filesystems]
    assert mounts.count("/") == mounts.count("/boot") == 1
    named = [mount for mount in mounts if mount is not None]
    assert named == sorted(named) and mounts[: len(named)] == named
    if made.members:
        assert {f"p{each.partition}" for each in made.arrays} == layers
        assert made.arrays[0].id == "md-boot" and made.arrays[0].level == "raid1"


@given(st.from_type(StorageLayout), st.from_type(RootDiskHints))
def test_problems_of_any_document_are_found_without_a_failure(
    layout: StorageLayout, hints: RootDiskHints
) -> None:
    for problem in layout_problems(layout, hints):
        assert problem.field.startswith(("disk_layout", "root_disk")) and problem.message
