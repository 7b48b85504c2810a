"""What a region tells of the images that it fetches (O1)."""

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.region.image_fetching import ImageFetching
from lpmos.region.image_source import Reason


class ImageMetrics(Collector):
    """The figures of one client's copy."""

    def __init__(self, fetching: ImageFetching) -> None:
        self._fetching = fetching

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        counted, waiting = self._fetching.counted, self._fetching.waiting
        yield CounterMetricFamily(
            "lpmos_region_images_fetched_bytes",
            "Bytes of images fetched from the control plane.",
            counted.fetched_bytes,
        )
        yield CounterMetricFamily(
            "lpmos_region_images_fetched",
            "Images, installers and agents that came whole.",
            counted.items,
        )
        failures = CounterMetricFamily(
            "lpmos_region_image_fetch_failures",
            "Tries to fetch that failed, by why.",
            labels=("reason",),
        )
        for reason in get_args(Reason):
            failures.add_metric([reason], counted.failures.get(reason, 0))
        yield failures
        yield GaugeMetricFamily(
            "lpmos_region_images_waiting",
            "Images, installers and agents that the control plane has and the region has not.",
            len(waiting),
        )
        yield GaugeMetricFamily(
            "lpmos_region_images_waiting_bytes",
            "What they lack.",
            sum(each.size_bytes - each.done_bytes for each in waiting),
        )
        listed_at = self._fetching.state.listed_at
        yield GaugeMetricFamily(
            "lpmos_region_images_listed_timestamp_seconds",
            "When the control plane's list was read last; 0 before the first time.",
            listed_at.timestamp() if listed_at else 0,
        )
