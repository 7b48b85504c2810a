"""How full networks are, and when people are told."""

from structlog.testing import capture_logs

from lpmos.region.dhcp_networks import DhcpNetwork
from lpmos.region.dhcp_state import DhcpState
from lpmos.region.interfaces import parse_networks

ONE = DhcpNetwork(interface="eno1", range=("192.0.2.1", "192.0.2.10"))
OTHER = DhcpNetwork(interface="eno2", range=("198.51.100.1", "198.51.100.10"))
PROXY = DhcpNetwork(interface="eno3", mode="proxy", subnet="203.0.113.0/24")


def addresses(count: int) -> list[str]:
    """So many of the first network."""
    return [f"192.0.2.{number}" for number in range(1, count + 1)]


def test_leases_are_counted_in_their_network() -> None:
    state = DhcpState((ONE, OTHER, PROXY), idc="dc1")
    state.count([*addresses(3), "198.51.100.5", "10.0.0.1"])
    assert [(each.leases, each.size) for each in state.networks] == [(3, 10), (1, 10), (0, 0)]


def test_network_that_becomes_low_is_told_of_once_until_it_has_enough_again() -> None:
    state = DhcpState((ONE,), idc="dc1")
    with capture_logs() as said:
        for count in (8, 9, 10, 8, 9, 7, 9):
            state.count(addresses(count))
    assert [each["free"] for each in said] == [1, 1]
    assert said[0]["log_level"] == "warning"


def test_parse_networks_reads_what_ip_prints() -> None:
    text = '[{"addr_info": [{"local": "192.0.2.7", "prefixlen": 25}]}, {}]'
    assert [str(each) for each in parse_networks(text)] == ["192.0.2.0/25"]
    assert parse_networks("") == ()
