"""What the region counts, in a registry of its own (O1)."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


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

    def text(self) -> bytes:
        """All of it, in the format of `content_type`."""
        return generate_latest(self._registry)
