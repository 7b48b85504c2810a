import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.dhcp_events import PROBE_TRANSACTION, DhcpEvent, parse_line


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            "dnsmasq-dhcp[17]: 1633837924 DHCPDISCOVER(br0) 52:54:00:00:00:01 ",
            DhcpEvent("info", "dhcp discover", {"interface": "br0", "mac": "52:54:00:00:00:01"}),
        ),
        (
            "dnsmasq-dhcp[17]: 1 DHCPACK(br0) 10.0.0.5 52:54:00:00:00:01 node-1",
            DhcpEvent(
                "info",
                "dhcp ack",
                {
                    "interface": "br0",
                    "ip": "10.0.0.5",
                    "mac": "52:54:00:00:00:01",
                    "extra": "node-1",
                },
            ),
        ),
        (
            "dnsmasq-dhcp[17]: 1 DHCPNAK(br0) 10.0.0.5 52:54:00:00:00:01 wrong network",
            DhcpEvent(
                "warning",
                "dhcp nak",
                {
                    "interface": "br0",
                    "ip": "10.0.0.5",
                    "mac": "52:54:00:00:00:01",
                    "extra": "wrong network",
                },
            ),
        ),
        (
            "dnsmasq-tftp[17]: sent /srv/tftp/undionly.kpxe to 10.0.0.5",
            DhcpEvent("info", "tftp sent", {"file": "undionly.kpxe", "ip": "10.0.0.5"}),
        ),
        (
            "dnsmasq-tftp[17]: file /srv/tftp/x not found for 10.0.0.5",
            DhcpEvent("warning", "dnsmasq-tftp: file /srv/tftp/x not found for 10.0.0.5", {}),
        ),
        (
            "dnsmasq-tftp[17]: error 8 User aborted the transfer received from 10.0.0.5",
            DhcpEvent(
                "debug",
                "dnsmasq-tftp: error 8 User aborted the transfer received from 10.0.0.5",
                {},
            ),
        ),
        (
            "dnsmasq: failed to bind DHCP server socket: Address already in use",
            DhcpEvent(
                "warning",
                "dnsmasq: failed to bind DHCP server socket: Address already in use",
                {},
            ),
        ),
        (
            "dnsmasq[17]: started, version 2.90 DNS disabled",
            DhcpEvent("debug", "dnsmasq: started, version 2.90 DNS disabled", {}),
        ),
    ],
)
def test_parse_line_known_shape_is_its_event(line: str, event: DhcpEvent) -> None:
    assert parse_line(line) == event


@pytest.mark.parametrize(
    "line",
    [
        f"dnsmasq-dhcp[17]: {PROBE_TRANSACTION} DHCPINFORM(br0) 10.0.0.1 02:00:6c:70:6d:6f",
        "dnsmasq-tftp[17]: sent /srv/tftp/health to 10.0.0.1",
    ],
)
def test_parse_line_of_our_own_probe_is_left_out(line: str) -> None:
    assert parse_line(line) is None


@given(st.text())
def test_parse_line_any_text_is_an_event(line: str) -> None:
    event = parse_line(line)
    assert event is None or event.event


def test_file_of_machines_that_is_gone_already_is_no_warning() -> None:
    gone = "cannot read /x/dhcp.hosts/added/0001: No such file or directory"
    event = parse_line(f"dnsmasq: {gone}")
    assert event is not None
    assert event.level == "debug"
    event = parse_line("dnsmasq: cannot read /x/dhcp.hosts/base: No such file or directory")
    assert event is not None
    assert event.level == "warning"
