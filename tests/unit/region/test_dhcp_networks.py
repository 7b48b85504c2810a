"""Which networks are refused, and that each refusal names its field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.dhcp_networks import (
    DhcpNetwork,
    DhcpSettings,
    dhcp_problems,
    parsed_networks,
)

FULL = DhcpNetwork(interface="eno1", subnet="192.0.2.0/24", range=("192.0.2.10", "192.0.2.20"))
PROXY = DhcpNetwork(interface="eno2", mode="proxy", subnet="198.51.100.0/24")
RELAYED = DhcpNetwork(
    interface="eno1",
    mode="relayed",
    subnet="203.0.113.0/24",
    range=("203.0.113.10", "203.0.113.20"),
    router="203.0.113.1",
)

IPV6_ONLY = DhcpNetwork(interface="eno1", range6=("fd78::1000", "fd78::1fff"), address6="fd78::1")


def problems(*networks: DhcpNetwork) -> list[str]:
    """What is wrong with these."""
    return dhcp_problems(DhcpSettings(networks=networks))


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        ("198.51.100.7", "198.51.100.0/24 on eno2"),
        ("203.0.113.200", "203.0.113.0/24 on eno1"),
        ("192.0.2.15", None),
        ("10.0.0.1", None),
        ("2001:db8::1", None),
        ("", None),
    ],
)
def test_address_is_in_the_network_whose_uefi_machines_get_grub(ip: str, name: str | None) -> None:
    signed = (msgspec.structs.replace(each, secure_boot=True) for each in (PROXY, RELAYED))
    assert DhcpSettings(networks=(FULL, *signed)).signed_network(ip) == name


def test_networks_of_every_mode_stand_beside_one_another() -> None:
    assert problems(FULL, PROXY, RELAYED) == []
    assert problems(FULL, PROXY, RELAYED, IPV6_ONLY) == []


def test_network_with_ipv6_alone_needs_no_range_and_gives_no_address_of_ipv4() -> None:
    assert problems(IPV6_ONLY) == []
    assert IPV6_ONLY.name == "fd78::1000-fd78::1fff on eno1"
    assert not IPV6_ONLY.gives("192.0.2.15")
    assert not IPV6_ONLY.reserves("192.0.2.15")


@pytest.mark.parametrize(
    ("network", "changes", "said"),
    [
        (FULL, {"range": ("192.0.3.10", "192.0.3.20")}, "dhcp_range: 192.0.3.10 is not in"),
        (FULL, {"range": ("192.0.2.10", "192.0.2.255")}, "dhcp_range: 192.0.2.255 is no machine"),
        (FULL, {"range": ("192.0.2.20", "192.0.2.10")}, "dhcp_range: 192.0.2.20 is beyond"),
        (FULL, {"range": ()}, "dhcp_range: first and last"),
        (FULL, {"router": "192.0.2.15"}, "dhcp_router: 192.0.2.15 is in the range"),
        (FULL, {"router": "192.0.3.1"}, "dhcp_router: 192.0.3.1 is not in"),
        (FULL, {"address": "192.0.2.11"}, "address: 192.0.2.11 is in the range"),
        (FULL, {"address": "here"}, "address: 'here' is not an IPv4 address"),
        (FULL, {"dns": ("192.0.2.53", "x")}, "dhcp_dns: 'x'"),
        (FULL, {"lease_s": 60}, "lease_s: 60 is not from 120"),
        (FULL, {"subnet": "192.0.2.1/24"}, "subnet: '192.0.2.1/24' is not a network"),
        (FULL, {"subnet": "192.0.2.0"}, "subnet: '192.0.2.0' is not a network"),
        (FULL, {"interface": "eno1\nuser=x"}, "dhcp_interface: "),
        (FULL, {"range6": ("fd78::1",), "address6": "fd78::2"}, "range6: first and last"),
        (FULL, {"range6": ("fd78::1", "fd79::1"), "address6": "fd78::2"}, "range6: fd78::1 and"),
        (FULL, {"range6": ("fd78::9", "fd78::1"), "address6": "fd78::2"}, "range6: fd78::9 is be"),
        (FULL, {"range6": ("fd78::1", "fd78::9")}, "address6: is missing"),
        (FULL, {"range6": ("1.2.3.4", "fd78::9")}, "range6: '1.2.3.4' is not an IPv6 address"),
        (FULL, {"range6": ("fd78::1%a,b", "fd78::9")}, "range6: 'fd78::1%a,b' is not an IPv6"),
        (FULL, {"address6": "fd78::2"}, "address6: has no use"),
        (IPV6_ONLY, {"address6": "fd79::1"}, "address6: fd79::1 is not in the /64"),
        (IPV6_ONLY, {"router": "192.0.2.1"}, "router: is of IPv4"),
        (IPV6_ONLY, {"dns": ("192.0.2.53",)}, "dns: is of IPv4"),
        (IPV6_ONLY, {"secure_boot": True}, "secure_boot: GRUB asks over IPv4"),
        (IPV6_ONLY, {"mode": "proxy"}, "subnet: is missing"),
        (IPV6_ONLY, {"mode": "relayed"}, "dhcp_range: first and last"),
        (PROXY, {"subnet": None}, "subnet: is missing"),
        (PROXY, {"router": "198.51.100.1"}, "router: the other DHCP server gives it"),
        (RELAYED, {"subnet": None}, "subnet: is missing"),
        (RELAYED, {"router": None}, "router: is missing"),
    ],
)
def test_network_that_cannot_work_is_refused_by_its_field(
    network: DhcpNetwork, changes: dict[str, Any], said: str
) -> None:
    found = problems(msgspec.structs.replace(network, **changes))
    assert found
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (msgspec.structs.replace(FULL, interface="eno9"), "subnet: 192.0.2.0/24 and"),
        (msgspec.structs.replace(FULL, interface="eno9", subnet=None), "dhcp_range: 192.0.2.10-"),
        (msgspec.structs.replace(PROXY, interface="eno1"), "mode: eno1 cannot be both"),
    ],
)
def test_networks_that_cannot_stand_together_are_both_named(other: DhcpNetwork, said: str) -> None:
    assert problems(FULL, other) == [each for each in problems(FULL, other) if said in each]
    assert problems(FULL, other)[0].startswith("dhcp_network 1 and 2: ")


DUAL = msgspec.structs.replace(FULL, range6=("fd78::1000", "fd78::1fff"), address6="fd78::1")


@pytest.mark.parametrize(
    "changes",
    [{"address6": "fd79::1"}, {"range6": ("fd78::2", "fd78::ffff:ffff:ffff:ffff")}],
)
def test_network_with_ipv4_too_is_served_as_before_what_ipv6_alone_needs_was_asked_for(
    changes: dict[str, Any],
) -> None:
    beside = msgspec.structs.replace(PROXY, interface="eno9")
    assert problems(msgspec.structs.replace(DUAL, **changes), beside) == []


@pytest.mark.parametrize(
    ("network", "first", "last"),
    [
        (IPV6_ONLY, "fd78::5054:ff:fe78:301", "fd78::5054:ff:fe78:3ff"),
        (IPV6_ONLY, "fd78::1000", "fd78::ffff:ffff:ffff"),
        (IPV6_ONLY, "fd78::ff:ff00:0", "fd78::1ff:feff:ffff"),
        (DUAL, "fd78::ff:fe00:1000", "fd78::ff:fe00:1fff"),
    ],
)
def test_range_of_addresses_that_machines_make_of_their_macs_is_refused(
    network: DhcpNetwork, first: str, last: str
) -> None:
    (found,) = problems(msgspec.structs.replace(network, range6=(first, last)))
    assert found.startswith(f"range6: {first}-{last} has addresses with ff:fe in the middle")


def test_networks_whose_ranges_of_ipv6_overlap_are_both_named() -> None:
    other = msgspec.structs.replace(
        IPV6_ONLY, interface="eno9", range6=("fd78::1f00", "fd78::2fff")
    )
    assert problems(IPV6_ONLY, other) == [
        "dhcp_network 1 and 2: range6: fd78::1000-fd78::1fff and fd78::1f00-fd78::2fff overlap"
    ]


def test_no_network_at_all_is_refused() -> None:
    assert problems() == ["dhcp_network: 0 networks; from 1 to 200 can be"]


def test_parsed_networks_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="colour"):
        parsed_networks('[{"interface": "eno1", "colour": "red"}]')


def test_parsed_networks_reads_what_the_file_says() -> None:
    text = '[{"interface": "eno2", "mode": "proxy", "subnet": "198.51.100.0/24"}]'
    assert parsed_networks(text) == (PROXY,)


@given(st.text())
def test_parsed_networks_takes_or_refuses_any_text(text: str) -> None:
    try:
        found = parsed_networks(text)
    except ValueError:
        return
    assert isinstance(found, tuple)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_checked_texts_are_plain(interface: str, first: str, subnet: str) -> None:
    network = DhcpNetwork(interface=interface, range=(first, first), subnet=subnet)
    if not problems(network):
        assert not set(interface + first + subnet) & set(" ,\n\r\t=#")
