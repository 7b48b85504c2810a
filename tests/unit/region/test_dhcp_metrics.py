"""dnsmasq's words as figures: every message has a kind, and the kinds are few."""

from lpmos.region.dhcp_events import DhcpEvent, parse_line
from lpmos.region.dhcp_metrics import KINDS, DhcpMetrics

MAC = "52:54:00:00:00:01"
LINES = (
    f"dnsmasq-dhcp: 12 DHCPDISCOVER(br0) {MAC}",
    f"dnsmasq-dhcp: 12 DHCPDISCOVER(br0) {MAC}",
    f"dnsmasq-dhcp: 12 DHCPACK(br0) 192.0.2.42 {MAC} web-1",
    f"dnsmasq-dhcp: 12 DHCPUNHEARDOF(br0) {MAC}",
    "dnsmasq-tftp: sent /srv/tftp/snponly.efi to 192.0.2.42",
    "dnsmasq: started, version 2.90",
)


def shown(metrics: DhcpMetrics) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("kind", "")): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }


def test_messages_are_counted_by_kind_and_files_all_together() -> None:
    metrics = DhcpMetrics(lambda: True)
    for line in LINES:
        event = parse_line(line)
        assert isinstance(event, DhcpEvent)
        metrics.hear(event)
    found = shown(metrics)
    name = "lpmos_region_dhcp_messages_total"
    assert {kind: found[name, kind] for kind in ("discover", "ack", "nak", "other")} == {
        "discover": 2,
        "ack": 1,
        "nak": 0,
        "other": 1,
    }
    assert len([kind for each, kind in found if each == name]) == len(KINDS) + 1
    assert found["lpmos_region_tftp_files_total", ""] == 1


def test_region_without_dnsmasq_does_not_say_that_it_is_down() -> None:
    assert "lpmos_region_dnsmasq_running" not in {name for name, _ in shown(DhcpMetrics(bool))}
