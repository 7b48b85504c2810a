"""What tenants' webhooks may connect to."""

import socket
from ipaddress import ip_address, ip_network

import pytest

from lpmos.control.notify.reach import Reach


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "224.0.0.1", "239.1.1.1", "255.255.255.255", "192.0.2.7",
        "::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::1", "2001:0:0:0:0:0:7f00:1",
    ],
)  # fmt: skip
def test_address_of_our_own_networks_is_refused(address: str) -> None:
    assert not Reach().allows(ip_address(address))


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9"])
def test_public_address_is_allowed(address: str) -> None:
    assert Reach().allows(ip_address(address))


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7"])
def test_address_of_a_network_that_the_operator_allows_is_allowed(address: str) -> None:
    reach = Reach((ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    assert reach.allows(ip_address(address))
    assert not reach.allows(ip_address("10.2.0.1"))


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("LOCALHOST.", True),
        ("example.com", False), ("9.9.9.9", False),
    ],
)  # fmt: skip
def test_host_that_is_seen_to_be_ours_is_refused(host: str, refused: bool) -> None:
    assert Reach().refuses_host(host) is refused


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET6, ("fe80::1%lo", 80, 0, 1))],
)
def test_socket_for_a_refused_address_is_not_made(
    family: socket.AddressFamily, address: tuple[str, int]
) -> None:
    info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
    with pytest.raises(OSError, match="public addresses only"):
        Reach().guarded_socket(info)
