"""A simulated fleet is decided by its seed, and by nothing else."""

from collections import Counter

import msgspec

from lpmos.lab.fleet.profiles import SHARES, Fault, FleetSpec, inventory, profiles
from lpmos.model.inventory import Inventory

SPEC = FleetSpec(machines=3000, regions=3, seed=7)


def test_same_seed_is_the_same_fleet_and_another_is_another() -> None:
    assert profiles(SPEC) == profiles(SPEC)
    assert profiles(SPEC) != profiles(msgspec.structs.replace(SPEC, seed=8))


def test_machines_have_names_of_their_own_but_for_the_twins() -> None:
    fleet = profiles(SPEC)
    for name in ("sn", "mac", "address", "disk"):
        assert len({getattr(each, name) for each in fleet}) == SPEC.machines
    twins = [each for each in fleet if each.has(Fault.DUPLICATE_SERIAL)]
    assert twins
    for each in twins:
        other = fleet[each.number - SPEC.regions]
        assert (each.idc, each.says_sn, each.serial) == (other.idc, other.sn, other.serial)
    assert all(each.says_sn == each.sn for each in fleet if each not in twins)


def test_some_crash_just_after_their_claim() -> None:
    at = [each.crash_at for each in profiles(SPEC) if each.has(Fault.CRASH)]
    assert 0 < at.count(0.0) < len(at) / 2


def test_faults_come_about_as_often_as_they_should() -> None:
    fleet = profiles(SPEC)
    found = Counter(fault for each in fleet for fault in each.faults)
    for fault, share in SHARES.items():
        assert 0.5 * share < found[fault] / SPEC.machines < 2 * share
    assert all(
        each.must_fail == bool(each.faults & {Fault.CRASH, Fault.DISK_FAILS}) for each in fleet
    )


def test_fleet_without_faults_has_none_and_all_regions_have_machines() -> None:
    fleet = profiles(msgspec.structs.replace(SPEC, faults=False))
    assert not any(each.faults or each.clock_skew_s for each in fleet)
    assert Counter(each.idc for each in fleet) == {"dc1": 1000, "dc2": 1000, "dc3": 1000}


def test_inventory_is_one_that_regions_take() -> None:
    found = inventory(profiles(SPEC)[0], "2026-01-01T00:00:00Z")
    assert msgspec.convert(found, Inventory).disks[0].kind == "nvme"
