"""The firmware matrix: what its spread covers, and that its page says what ran and no more."""

from itertools import product

from lpmos.install import required_bytes
from lpmos.model.diskplan import RootDiskHints, plan_disk
from lpmos.model.inventory import Disk
from tests.matrix.__main__ import kept_results
from tests.matrix.cells import BUSES, CI, LAID, NICS, PRODUCT, SPREAD
from tests.matrix.layouts import LAYOUTS
from tests.matrix.page import PAGE, page
from tests.matrix.play import is_filled
from tests.support.builders import make_inventory, make_manifest

DEBIAN_BYTES = 700_000_000
FULL_KINDS = ("bios", "uefi", "http", "secure")


def test_spread_has_each_pair_that_it_promises() -> None:
    assert set(product(FULL_KINDS, BUSES)) <= {(cell.kind, cell.bus) for cell in SPREAD}
    assert set(product(NICS, BUSES)) <= {(cell.nic, cell.bus) for cell in SPREAD}
    disks = {(cell.kind, cell.disks) for cell in SPREAD}
    assert set(product(FULL_KINDS, ("one", "two", "4k", "lvm"))) <= disks


def test_spread_is_a_part_of_the_product_and_names_are_unique() -> None:
    assert set(SPREAD) <= set(PRODUCT)
    assert len({cell.name for cell in (*PRODUCT, *LAID)}) == len(PRODUCT) + len(LAID)


def test_ci_has_a_part_of_the_spread_with_each_card_secure_boot_and_foreign_lvm() -> None:
    assert set(CI) <= set(SPREAD)
    assert {cell.kind for cell in CI} == {"bios", "http", "secure"}
    assert {cell.nic for cell in CI} == set(NICS)
    assert {cell.bus for cell in CI} == {"virtio", "sata", "nvme"}
    assert {cell.disks for cell in CI} == {"one", "named", "4k", "lvm-kept"}
    assert {cell.spec().memory_mib for cell in CI} == {512}


def test_each_layout_is_played_and_fits_its_disks() -> None:
    assert sorted(cell.disks for cell in LAID) == sorted(LAYOUTS)
    for cell in LAID:
        assert cell.layout is not None
        disks = [
            Disk(
                device=f"/dev/sd{letter}",
                size_bytes=disk.size_bytes,
                serial=disk.serial,
                kind="nvme" if disk.bus == "nvme" else "ssd",
            )
            for letter, disk in zip("abcdef", cell.spec().disks, strict=False)
        ]
        needed = required_bytes(make_manifest(unpacked_bytes=DEBIAN_BYTES))
        machine = make_inventory(disks=tuple(disks))
        plan = plan_disk(machine, cell.layout.wanted, RootDiskHints(), needed)
        assert len(plan.partitions) == len(cell.layout.roles)


def test_page_says_what_ran() -> None:
    assert PAGE.read_text() == page(kept_results())


def test_arrays_are_filled_when_all_that_began_or_was_put_off_is_done() -> None:
    begun = "[ 56.7] md: resync of RAID array md126\n"
    put_off = "[ 56.8] md: delaying recovery of md127 until md126 has finished\n"
    done = "web login: [ 88.1] md: md126: resync done.\n"
    assert not is_filled("")
    assert not is_filled(begun)
    assert is_filled(begun + done)
    assert not is_filled(begun + put_off + done)
    assert is_filled(begun + put_off + done + "[ 99.1] md: md127: recovery done.\n")
