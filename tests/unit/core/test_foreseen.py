"""What can be known of a task before its machine reports: refused, or said beside the answer."""

from typing import Any

import msgspec
import pytest

from lpmos.core.bulk import Bulk, RowStatus
from lpmos.core.foreseen import refusals, warnings
from lpmos.model.bulk import Row
from lpmos.model.diskplan import GIB, PartitionWish, StorageLayout
from lpmos.model.errors import InvalidInput
from lpmos.model.image import OfferedOs
from lpmos.model.inventory import Disk, Inventory
from lpmos.model.job import DiskTest, Job
from lpmos.model.region import Capabilities, HeldImage, HeldInstaller
from lpmos.model.setup import CloudInit, Setup
from lpmos.store import keys, records
from tests.support.builders import NOW, actor, make_capabilities, make_inventory, make_spec
from tests.support.builders import make_task as task_of
from tests.unit.core.conftest import World

FILLING = PartitionWish(name="data", size_bytes=GIB)


def offering(family: str, *methods: Any, os_version: str = "12", **of_os: Any) -> Capabilities:
    """A region that installs Debian, or what is called so, by these methods."""
    system = OfferedOs(
        os_type="debian",
        os_version=os_version,
        unpacked_bytes=GIB,
        methods=methods or ("installer",),
        **of_os,
    )
    installer = HeldInstaller(
        name="debian-12",
        family=family,
        os_type="debian",
        os_version=os_version,
        repository="/mirror/debian-12",
        size_bytes=1,
        added_at=NOW,
    )
    held = (installer,) if "installer" in system.methods else ()
    return msgspec.structs.replace(make_capabilities(), offered=(system,), installers=held)


@pytest.mark.parametrize(
    ("family", "fields", "why"),
    [
        ("debian", {"disk_layout": "raid10"}, "raid10"),
        ("debian", {"disk_layout": StorageLayout(lvm=True, encrypt=True)}, "LUKS2"),
        ("debian", {"disk_layout": StorageLayout(partitions=(FILLING,))}, "without a mount point"),
        ("rhel", {"disk_layout": StorageLayout(filesystem="btrfs")}, "btrfs"),
        ("suse", {"disk_layout": StorageLayout(erase="discard")}, "erase=discard"),
        ("windows", {"disk_layout": "lvm"}, "leave disk_layout at auto"),
    ],
)
def test_layout_that_the_installer_never_makes_is_refused_by_its_field(
    family: str, fields: dict[str, Any], why: str
) -> None:
    (problem,) = refusals(task_of(**fields), offering(family))
    assert problem.field == "disk_layout"
    assert why in problem.message


@pytest.mark.parametrize(
    ("capabilities", "fields"),
    [
        (offering("ubuntu"), {"disk_layout": "raid10"}),
        (offering("rhel", os_version="7"), {"disk_layout": StorageLayout(filesystem="btrfs")}),
        (offering("debian", "image", "installer"), {"disk_layout": "raid10"}),
        (offering("of a later version"), {"disk_layout": "raid10"}),
        (None, {"disk_layout": "raid10"}),
        (msgspec.structs.replace(offering("debian"), installers=()), {"disk_layout": "raid10"}),
    ],
    ids=["made", "made by 7", "by image", "unknown family", "unknown region", "earlier region"],
)
def test_layout_that_may_be_made_is_not_refused(
    capabilities: Capabilities | None, fields: dict[str, Any]
) -> None:
    version = capabilities.offered[0].os_version if capabilities else "12"
    assert refusals(task_of(os_version=version, **fields), capabilities) == []


def test_root_that_is_too_small_for_the_image_is_refused() -> None:
    small = StorageLayout(partitions=(PartitionWish(mount="/", size_bytes=GIB),))
    (problem,) = refusals(task_of(disk_layout=small), offering("debian", "image"))
    assert (problem.field, "the image needs" in problem.message) == ("disk_layout", True)


def test_first_boot_that_an_image_cannot_tell_of_is_refused_where_the_task_has_hooks() -> None:
    image = HeldImage(
        name="debian-12", os_type="debian", os_version="12", sha256="ab" * 32, size_bytes=1,
        built_at=NOW, first_boot=False,
    )  # fmt: skip
    region = msgspec.structs.replace(offering("debian", "image"), images=(image,))
    hooked = task_of(setup=Setup(cloud_init=CloudInit(user_data="#cloud-config\n{}\n")))
    (problem,) = refusals(hooked, region)
    assert problem.field == "setup"
    assert refusals(task_of(), region) == []


def disk(**fields: Any) -> Disk:
    whole = Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial="DISK01")
    return msgspec.structs.replace(whole, **fields)


@pytest.mark.parametrize(
    ("fields", "machine", "field", "why"),
    [
        ({"disk_layout": "raid1"}, make_inventory(), "root_disk", "2 disks"),
        ({}, make_inventory(disks=(disk(contents=("ext4",)),)), "root_disk", "holds ext4"),
        (
            {"job": Job(steps=(DiskTest(),))},
            make_inventory(disks=()),
            "job",
            "the machine has no disk",
        ),
    ],
    ids=["too few disks", "foreign data", "job without a disk"],
)
def test_what_the_machine_speaks_against_is_a_warning(
    fields: dict[str, Any], machine: Inventory, field: str, why: str
) -> None:
    (warning,) = warnings(task_of(**fields), offering("ubuntu", "image"), machine)
    assert warning.field == field
    assert why in warning.message


def test_windows_on_a_machine_whose_loader_it_cannot_start_is_a_warning() -> None:
    machine = make_inventory(boot_mode="uefi", secure_boot=True)
    (warning,) = warnings(task_of(), offering("windows"), machine)
    assert warning.field == "hardware.secure_boot"
    large = make_inventory(disks=(disk(size_bytes=3 * 1024**4),))
    (warning,) = warnings(task_of(), offering("windows"), large)
    assert warning.field == "root_disk"


def test_disk_image_for_disks_of_other_sectors_is_a_warning() -> None:
    offered = offering("ubuntu", "image", whole_disk=True, sector_bytes=512)
    assert warnings(task_of(), offered, make_inventory(boot_mode="uefi")) == ()
    wide = make_inventory(boot_mode="uefi", disks=(disk(logical_block_bytes=4096),))
    (warning,) = warnings(task_of(), offered, wide)
    assert warning.field == "root_disk" and "sectors of 4096 bytes" in warning.message


@pytest.mark.parametrize("machine", [None, make_inventory()])
def test_machine_that_suits_or_is_not_known_has_no_warning(machine: Inventory | None) -> None:
    assert warnings(task_of(), offering("ubuntu", "image"), machine) == ()


def row(number: int, **fields: Any) -> Row:
    known = {"idc": "dc1", "sn": f"SN-{number}", "mac": f"52:54:00:00:00:{number:02x}"}
    document = known | {"os_type": "debian", "os_version": "12"} | fields
    return Row(number=number, document=msgspec.json.encode(document))


async def offer(world: World, capabilities: Capabilities) -> None:
    await world.store.put(keys.capabilities("dc1"), records.encode(capabilities))
    await world.synced()


async def test_creation_refuses_what_can_never_be_made_and_warns_of_what_may_fail(
    world: World,
) -> None:
    await offer(world, offering("debian"))
    with pytest.raises(InvalidInput, match="disk_layout: this installer does not make raid10"):
        await world.tasks.create(make_spec(disk_layout="raid10"), by=actor("admin"))
    await reported_and_cancelled(world)
    again = await world.tasks.create_once(make_spec(disk_layout="raid1"), by=actor("admin"))
    assert [each.field for each in again.warnings] == ["root_disk"]


async def test_repeated_call_is_warned_as_the_first_was_until_the_task_is_finished(
    world: World,
) -> None:
    await offer(world, offering("debian"))
    await reported_and_cancelled(world)

    async def asked() -> list[str]:
        spec = make_spec(disk_layout="raid1")
        made = await world.tasks.create_once(spec, by=actor("admin"), idempotency_key="k")
        await world.synced()
        return [each.field for each in made.warnings]

    assert (await asked(), await asked()) == (["root_disk"], ["root_disk"])
    (task,) = world.fleet.current_tasks()
    await world.tasks.cancel(task.task_id, by=actor("admin"))
    await world.synced()
    assert await asked() == []


async def test_repeated_requeue_is_warned_as_the_first_was(world: World) -> None:
    await offer(world, offering("debian"))
    task = await world.create(disk_layout="raid1")
    task = await world.report()  # it has one disk
    await world.synced()
    for _ in range(2):
        made = await world.tasks.requeue(task.task_id, by=actor("boss"), idempotency_key="k")
        await world.synced()
        assert [each.field for each in made.warnings] == ["root_disk"]


async def reported_and_cancelled(world: World) -> None:
    """SN-1 is known with its one disk, and free for another task."""
    task = await world.create()
    await world.report()
    await world.tasks.cancel(task.task_id, by=actor("admin"))
    await world.synced()


async def test_rows_are_refused_and_warned_of_one_by_one_in_a_dry_run_too(world: World) -> None:
    await offer(world, offering("debian"))
    await reported_and_cancelled(world)
    bulk = Bulk(world.store, world.fleet, world.tasks, world.clock)
    known = {"mac": task_of().mac, "disk_layout": "raid1"}
    rows = [row(1, **known), row(2, disk_layout="raid10"), row(3)]
    for dry_run, made in ((True, RowStatus.WOULD_CREATE), (False, RowStatus.CREATED)):
        report = await bulk.create(rows, by=actor("boss"), dry_run=dry_run)
        assert [each.status for each in report.rows] == [made, RowStatus.INVALID, made]
        assert [[w.field for w in each.warnings] for each in report.rows] == [["root_disk"], [], []]
