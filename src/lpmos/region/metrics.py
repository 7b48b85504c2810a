"""What the region counts, in a registry of its own (O1)."""

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from lpmos.model.region import ClientState, DhcpNetworkState, OutboxState
from lpmos.model.standing import Ground


class Metrics:
    """The counters of one region."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lpmos_region_requests",
            "HTTP requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.bytes_sent = Counter(
            "lpmos_region_sent_bytes",
            "Bytes of bodies announced to clients, by route.",
            ("route",),
            registry=self._registry,
        )
        self.reports = Counter(
            "lpmos_region_reports",
            "Hardware reports, by whether a task was found.",
            ("result",),
            registry=self._registry,
        )
        self.agents_known = Counter(
            "lpmos_region_agent_identities",
            "Identities given to agents.",
            registry=self._registry,
        )
        self.agents_refused = Counter(
            "lpmos_region_agents_refused",
            "Calls without a valid identity of an agent, by why.",
            ("reason",),
            registry=self._registry,
        )
        self.progress_writes = Counter(
            "lpmos_region_progress_writes",
            "Progress updates written to the store.",
            registry=self._registry,
        )
        self.progress_write_seconds = Histogram(
            "lpmos_region_progress_write_seconds",
            "How long one of them took.",
            registry=self._registry,
        )

        self._serving = Gauge(
            "lpmos_region_serving",
            "1 where this client answers machines, by what lets it; 0 else.",
            ("by",),
            registry=self._registry,
        )
        self._promised_seconds = self._gauge(
            "lpmos_region_promised_seconds",
            "How long this client has promised another to answer no machine.",
        )
        self._offline_seconds = self._gauge(
            "lpmos_region_offline_seconds", "How long the store is away; 0 where it answers."
        )
        self._outbox_words = self._gauge(
            "lpmos_region_outbox_words", "Words of machines that wait for the store."
        )
        self._outbox_bytes = self._gauge("lpmos_region_outbox_bytes", "What they take.")
        self._outbox_oldest = self._gauge(
            "lpmos_region_outbox_oldest_seconds", "How long the oldest of them waits."
        )
        self._dhcp_leases = Gauge(
            "lpmos_region_dhcp_leases",
            "Addresses that are leased, by network.",
            ("network",),
            registry=self._registry,
        )
        self._dhcp_addresses = Gauge(
            "lpmos_region_dhcp_addresses",
            "Addresses that a network has for machines.",
            ("network",),
            registry=self._registry,
        )
        self._outbox_ended = Gauge(
            "lpmos_region_outbox_ended",
            "Words that left the outbox since the start, by whether they were refused.",
            ("result",),
            registry=self._registry,
        )

    def add(self, collector: Collector) -> None:
        """Have another collector's figures among these."""
        self._registry.register(collector)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)

    def show_standing(self, state: ClientState | None) -> None:
        """Take in what the client is at this moment; None: it is the only one there can be."""
        by = state.by if state else Ground.ALONE
        for ground in Ground:
            self._serving.labels(ground.value).set(ground is by)
        self._promised_seconds.set(state.promised_s if state else 0)

    def show_outbox(self, state: OutboxState, now: datetime) -> None:
        """Take in what the outbox is at this moment."""
        self._offline_seconds.set(_seconds(state.offline_since, now))
        self._outbox_words.set(state.waiting)
        self._outbox_bytes.set(state.size_bytes)
        self._outbox_oldest.set(_seconds(state.oldest_at, now))
        self._outbox_ended.labels("handed in").set(state.handed_in - state.refused)
        self._outbox_ended.labels("refused").set(state.refused)

    def show_dhcp(self, networks: Iterable[DhcpNetworkState]) -> None:
        """Take in how full the networks are."""
        for each in networks:
            name = f"{each.interface} {each.subnet or each.range}"
            self._dhcp_leases.labels(name).set(each.leases)
            self._dhcp_addresses.labels(name).set(each.size)

    def text(self) -> bytes:
        """All of it, in the format of `content_type`."""
        return generate_latest(self._registry)


def _seconds(since: datetime | None, now: datetime) -> float:
    return (now - since).total_seconds() if since else 0.0
