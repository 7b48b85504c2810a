"""What an operator watches of the store itself: its size, its quota, its alarms.

By the kind of the store: the embedded one has no quota, and etcd does not tell its own before 3.6.
"""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.core.storecare import StoreCare


class StoreCollector(Collector):
    """The store as it answered last; nothing before its first answer."""

    def __init__(self, care: StoreCare) -> None:
        self._care = care

    def collect(self) -> Iterable[Metric]:
        """The gauges as they were at the last look."""
        status = self._care.status
        if status is None:
            return
        figures = {
            "size_bytes": ("What the store's files take", status.size_bytes),
            "in_use_bytes": ("What of it is not free inside", status.in_use_bytes),
            "quota_bytes": ("Beyond this it takes no writes, where known", status.quota_bytes),
            "alarms": ("Alarms that are raised", len(status.alarms)),
        }
        for name, (text, value) in figures.items():
            if value is not None:
                gauge = GaugeMetricFamily(f"lpmos_store_{name}", text, labels=["backend"])
                gauge.add_metric([status.backend], value)
                yield gauge
