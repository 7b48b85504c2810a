"""What an operator watches of backups: how old the last one is, and whether they fail."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.core.backup.duty import BackupStanding


class BackupCollector(Collector):
    """The figures of this process; only the elected control plane makes backups."""

    def __init__(self, standing: BackupStanding) -> None:
        self._standing = standing

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now; those of the last backup only where there is one."""
        standing = self._standing
        yield CounterMetricFamily(
            "lpmos_backup_failures", "Backups that could not be made", standing.failures
        )
        yield GaugeMetricFamily(
            "lpmos_backup_failing", "1 while the last try failed", float(standing.failing)
        )
        if standing.last_made_at is None:
            return
        yield GaugeMetricFamily(
            "lpmos_backup_last_success_timestamp_seconds",
            "When the last good backup was made",
            standing.last_made_at.timestamp(),
        )
        yield GaugeMetricFamily(
            "lpmos_backup_last_size_bytes", "Size of the last good backup", standing.size_bytes
        )
        yield GaugeMetricFamily(
            "lpmos_backup_last_seconds", "How long it took, with its test", standing.took_s
        )
