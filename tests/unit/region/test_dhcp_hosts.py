"""The lines that dnsmasq is given of known machines."""

from lpmos.core.machineindex import MachineRow
from lpmos.region.dhcp_hosts import hosts_of
from lpmos.region.probes import PROBE_MAC
from tests.support.builders import NOW

FIRST, SECOND, THIRD = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"


def row(sn: str, *macs: str, address: str | None = None) -> MachineRow:
    """A machine of a list."""
    return MachineRow(
        name=f"dc1/{sn}", idc="dc1", sn=sn, macs=macs, tags={}, tenant=None, address=address,
        updated_at=NOW, revision=1, words="",
    )  # fmt: skip


def test_every_mac_is_known_and_the_regions_own_probe() -> None:
    found = hosts_of([(row("a", FIRST, SECOND), None), (row("b"), THIRD)])
    assert found == {each: each for each in (PROBE_MAC, FIRST, SECOND, THIRD)}


def test_reserved_address_is_of_the_card_that_the_task_boots_from() -> None:
    machine = row("a", FIRST, SECOND, address="192.0.2.9")
    assert hosts_of([(machine, None)])[FIRST] == f"{FIRST},192.0.2.9"
    found = hosts_of([(machine, SECOND)])
    assert (found[FIRST], found[SECOND]) == (FIRST, f"{SECOND},192.0.2.9")


def test_address_and_mac_of_two_machines_are_the_first_ones() -> None:
    one, other = row("a", FIRST, address="192.0.2.9"), row("b", SECOND, FIRST, address="192.0.2.9")
    found = hosts_of([(one, None), (other, None)])
    assert (found[FIRST], found[SECOND]) == (f"{FIRST},192.0.2.9", SECOND)


def test_card_that_another_machine_claims_keeps_its_address() -> None:
    liar, owner = row("a", SECOND, FIRST), row("b", FIRST, address="192.0.2.9")
    found = hosts_of([(liar, None), (owner, None)])
    assert (found[FIRST], found[SECOND]) == (f"{FIRST},192.0.2.9", SECOND)


def test_no_line_has_a_tag() -> None:
    found = hosts_of([(row("a", FIRST, address="192.0.2.9"), None)])
    assert not [line for line in found.values() if "set:" in line]
