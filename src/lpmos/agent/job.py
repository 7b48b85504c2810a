"""What one install works with, and how it says where it is."""

from collections.abc import Callable
from typing import NamedTuple

from lpmos.agent.console import Console
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan
from lpmos.agent.region import Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop

MB = 1_000_000


class Job(NamedTuple):
    """What an install works with: where from, who is told, who may stop it.

    `first_boot_token` is for the installed system alone; it is written to the disk and not said.
    """

    region: Region
    console: Console
    stop: Stop
    pace: Pace
    report: Callable[[Progress], None]
    first_boot_token: str = ""

    def at(self, stage: str, percentage: float, message: str) -> None:
        """Say and report a step that begins now.

        Raises:
            Stopped: the run was told to end.
        """
        self.stop.check()
        self.console.info(f"{percentage:3.0f}% {stage}: {message}")
        self.report(Progress(stage, percentage, message))


def downloading(plan: Plan, bytes_done: int, bytes_per_second: float) -> Progress:
    """The progress of the stage `downloading`, which goes from 20 to 60."""
    total = plan.image.size_bytes
    message = (
        f"{plan.image.name}: {bytes_done / MB:.0f} of {total / MB:.0f} MB,"
        f" {bytes_per_second / MB:.1f} MB/s"
    )
    return Progress(
        "downloading",
        round(20 + 40 * bytes_done / total, 2),
        message,
        bytes_done,
        total,
        round(bytes_per_second, 1),
    )
