"""What DHCP and TFTP do, for Prometheus: messages, files, and the restarts of dnsmasq."""

from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.region.dhcp_events import DhcpEvent
from lpmos.region.supervisor import Dnsmasq

KINDS = (
    *("discover", "offer", "request", "ack", "nak", "decline", "release", "inform", "bootp"),
    *("solicit", "advertise", "reply", "confirm", "renew", "rebind"),
    "pxe",
)
"""Of RFC 2132 section 9.6 and RFC 8415 section 7.3, and what a proxy answers; any other counts as
`other`.
"""


class DhcpMetrics(Collector):
    """The figures of one region's DHCP and TFTP; whether dnsmasq runs only while it has to."""

    def __init__(self, active: Callable[[], bool]) -> None:
        """`active` says whether this client is the one that answers machines."""
        self._active = active
        self._messages: Counter[str] = Counter(dict.fromkeys((*KINDS, "other"), 0))
        self._files = 0
        self._dnsmasq: Dnsmasq | None = None
        self._restarts_before = 0

    def follow(self, dnsmasq: Dnsmasq) -> None:
        """Look at this one from now on; it follows another where the client was active before."""
        if self._dnsmasq is not None:
            self._restarts_before += self._dnsmasq.restarts
        self._dnsmasq = dnsmasq

    def hear(self, event: DhcpEvent) -> None:
        """Count what one line of dnsmasq says."""
        word, _, kind = event.event.partition(" ")
        if word == "dhcp":
            self._messages[kind if kind in KINDS else "other"] += 1
        elif event.event == "tftp sent":
            self._files += 1

    def sent(self) -> None:
        """Count a file that the region's own TFTP sent to its end."""
        self._files += 1

    def collect(self) -> Iterable[Metric]:
        """The figures of this moment."""
        messages = CounterMetricFamily(
            "lpmos_region_dhcp_messages", "DHCP messages that came or went.", labels=["kind"]
        )
        for kind, count in self._messages.items():
            messages.add_metric([kind], count)
        yield messages
        yield CounterMetricFamily(
            "lpmos_region_tftp_files", "Files that went out whole by TFTP.", self._files
        )
        restarts = self._dnsmasq.restarts if self._dnsmasq else 0
        yield CounterMetricFamily(
            "lpmos_region_dnsmasq_restarts",
            "How often dnsmasq ended by itself and was started again.",
            self._restarts_before + restarts,
        )
        if self._dnsmasq and self._active():
            yield GaugeMetricFamily(
                "lpmos_region_dnsmasq_running",
                "1 where dnsmasq runs, 0 where it ended and is not back yet.",
                int(self._dnsmasq.pid is not None),
            )
