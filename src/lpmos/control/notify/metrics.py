"""How notifications fare, for Prometheus; no label has more than a few values."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.core.clock import Clock
from lpmos.core.notifications.deliveries import Deliveries
from lpmos.core.notifications.duty import DeliveryDuty

KINDS = ("http", "service")
RESULTS = ("sent", "retry", "failed")


class NotificationCollector(Collector):
    """Reads what is there when it is asked for."""

    def __init__(self, deliveries: Deliveries, duty: DeliveryDuty, clock: Clock) -> None:
        self._deliveries = deliveries
        self._duty = duty
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """The results of this control plane's tries, and what waits for whoever leads."""
        tries = CounterMetricFamily(
            "lpmos_notification_tries",
            "Tries to deliver a notification, by what came of them",
            labels=["kind", "result"],
        )
        for kind in KINDS:
            for result in RESULTS:
                tries.add_metric([kind, result], self._duty.results[kind, result])
        yield tries
        waiting = [held.document.created_at for held in self._deliveries.index.all_waiting()]
        queue = GaugeMetricFamily("lpmos_notifications_waiting", "Deliveries that are not sent yet")
        queue.add_metric([], len(waiting))
        yield queue
        oldest = GaugeMetricFamily(
            "lpmos_notification_oldest_seconds", "How long the oldest of them has waited"
        )
        age_s = (self._clock() - min(waiting)).total_seconds() if waiting else 0.0
        oldest.add_metric([], max(age_s, 0.0))
        yield oldest
