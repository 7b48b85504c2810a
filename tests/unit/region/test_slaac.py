"""The IPv6 address that a machine makes of its MAC, and whose an address is."""

from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.lease_holders import LeaseHolders
from lpmos.region.slaac import mac_of, may_be_of_macs, own_address

MACS = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
ADDRESSES = st.ip_addresses(v=6).map(str)


@pytest.mark.parametrize(
    ("mac", "address", "own"),
    [
        ("52:54:00:78:03:01", "fd78::1abc", "fd78::5054:ff:fe78:301"),
        ("00:00:5e:00:53:01", "2001:db8:0:1:ffff::1", "2001:db8:0:1:200:5eff:fe00:5301"),
        ("52:54:00:78:03:01", "fe80::1%br0", "fe80::5054:ff:fe78:301"),
        ("52:54:00:78:03:01", "192.0.2.7", "192.0.2.7"),
        ("52:54:00:78:03:01", "", ""),
    ],
)
def test_own_address_is_made_of_the_mac_in_the_same_network(
    mac: str, address: str, own: str
) -> None:
    assert own_address(mac, address) == own


@given(MACS, ADDRESSES)
def test_mac_of_an_own_address_is_the_mac(mac: str, address: str) -> None:
    assert mac_of(own_address(mac, address)) == mac


@given(ADDRESSES)
def test_mac_of_any_address_is_what_it_was_made_of_or_none(address: str) -> None:
    mac = mac_of(address)
    assert mac is None or own_address(mac, address) == address


@given(ADDRESSES, st.integers(0, 1 << 42))
def test_range_has_an_address_made_of_a_mac_where_one_lies_in_it(first: str, more: int) -> None:
    begin = int(IPv6Address(first))
    last = min(begin + more, (1 << 128) - 1)
    nearest = ((begin - 0xFFFFFFFFFF) & ~0xFFFFFFFFFF) + 0xFFFE000000
    blocks = (range(at, at + (1 << 24)) for at in range(nearest, last + 1, 1 << 40))
    lies = any(block.start <= last and begin < block.stop for block in blocks)
    assert may_be_of_macs(IPv6Address(begin), IPv6Address(last)) == lies


def test_address_of_dhcp_is_nobodys_and_one_made_of_a_mac_is_its(tmp_path: Path) -> None:
    holders = LeaseHolders(tmp_path / "none")
    assert holders.holder("fd78::1abc") is None
    assert holders.holder("fd78::5054:ff:fe78:301") == "52:54:00:78:03:01"
