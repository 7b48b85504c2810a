import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.dhcp_events import PROBE_TRANSACTION, DhcpEvent, parse_line


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            "dnsmasq-dhcp[17]: 1633837924 DHCPDISCOVER(br0) 52:54:00:00:00:01 ",
            DhcpEvent(
                "info",
                "dhcp discover",
                {"interface": "br0", "mac": "52:54:00:00:00:01", "transaction": "1633837924"},
            ),
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
                    "transaction": "1",
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
                    "transaction": "1",
                },
            ),
        ),
        (
            "dnsmasq-dhcp[17]: 3321387236 PXE(br0) 52:54:00:00:00:01 proxy",
            DhcpEvent(
                "info",
                "dhcp pxe",
                {
                    "interface": "br0",
                    "mac": "52:54:00:00:00:01",
                    "extra": "proxy",
                    "transaction": "3321387236",
                },
            ),
        ),
        (
            "dnsmasq-dhcp[17]: 3321387236 vendor class: PXEClient:Arch:00007:UNDI:003016",
            DhcpEvent(
                "debug",
                "client class",
                {"transaction": "3321387236", "name": "PXEClient:Arch:00007:UNDI:003016"},
            ),
        ),
        (
            "dnsmasq-dhcp[17]: 14507770 client MAC address: 26:2c:8b:9f:cd:b9",
            DhcpEvent(
                "info",
                "dhcpv6 client",
                {"transaction": "14507770", "mac": "26:2c:8b:9f:cd:b9"},
            ),
        ),
        (
            "dnsmasq-dhcp[17]: 14507770 DHCPSOLICIT(br0) 00:03:00:01:52:54:00:00:00:06 ",
            DhcpEvent(
                "info",
                "dhcp solicit",
                {
                    "interface": "br0",
                    "duid": "00:03:00:01:52:54:00:00:00:06",
                    "transaction": "14507770",
                },
            ),
        ),
        (
            "dnsmasq-dhcp[17]: 14507771 DHCPREPLY(br0) fd92::188d 00:03:00:01:52:54:00:00:00:06 n1",
            DhcpEvent(
                "info",
                "dhcp reply",
                {
                    "interface": "br0",
                    "ip": "fd92::188d",
                    "duid": "00:03:00:01:52:54:00:00:00:06",
                    "extra": "n1",
                    "transaction": "14507771",
                },
            ),
        ),
        (
            "dnsmasq-tftp[17]: sent /srv/tftp/snponly.efi to fd92::188d",
            DhcpEvent("info", "tftp sent", {"file": "snponly.efi", "ip": "fd92::188d"}),
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


KINDS6 = ("SOLICIT", "REQUEST", "REPLY", "RENEW", "DECLINE", "INFORMATION-REQUEST")


@given(
    kind=st.sampled_from(KINDS6),
    transaction=st.integers(0, 0xFFFFFF),
    ip=st.none() | st.ip_addresses(v=6),
    duid=st.binary(min_size=7, max_size=130),  # RFC 8415 section 11.1: 128 octets after the type
    name=st.sampled_from(("", "node-1")),
)
def test_packet_of_dhcpv6_is_read_as_it_is_printed(
    kind: str, transaction: int, ip: object, duid: bytes, name: str
) -> None:
    address = f"{ip} " if ip else ""
    line = f"dnsmasq-dhcp[17]: {transaction} DHCP{kind}(br0) {address}{duid.hex(':')} {name}"
    event = parse_line(line)
    assert event is not None and event.event == f"dhcp {kind.lower()}"
    found = {"interface": "br0", "duid": duid.hex(":"), "transaction": str(transaction)}
    found |= {"ip": str(ip)} if ip else {}
    assert event.fields == found | ({"extra": name} if name else {})


@given(mac=st.binary(min_size=6, max_size=6), ip=st.none() | st.ip_addresses(v=4))
def test_packet_of_dhcpv4_is_none_of_dhcpv6(mac: bytes, ip: object) -> None:
    address = f"{ip} " if ip else ""
    event = parse_line(f"dnsmasq-dhcp[17]: 7 DHCPREQUEST(br0) {address}{mac.hex(':')} ")
    assert event is not None
    found = {"interface": "br0", "mac": mac.hex(":"), "transaction": "7"}
    found |= {"ip": str(ip)} if ip else {}
    assert event.fields == found


def test_file_of_machines_that_is_gone_already_is_no_warning() -> None:
    gone = "cannot read /x/dhcp.hosts/added/0001: No such file or directory"
    event = parse_line(f"dnsmasq: {gone}")
    assert event is not None
    assert event.level == "debug"
    event = parse_line("dnsmasq: cannot read /x/dhcp.hosts/base: No such file or directory")
    assert event is not None
    assert event.level == "warning"
