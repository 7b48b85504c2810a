"""The engine of jobs: steps in the order asked for, each with its arguments, its disks, its result.

The rule: a step ends in one `Result`. The first that fails ends the job as failed, with its
evidence; what was asked to stop stops at the next block, and says nothing more.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from lpmos.agent.errors import InstallError
from lpmos.agent.job import Job
from lpmos.agent.joborder import JobOrder, PlannedStep
from lpmos.agent.reporter import Progress, Result
from lpmos.agent.ticking import TICK_S, ticking

STAGE = "job"
MOST_PERCENT = 99.0
"""What all steps together are; the end itself is the last."""
TELL_EVERY_S = 5.0
EVIDENCE_LINES = 8
BEGUN = 1e-6
"""The share by which a step says that it writes from now on, before it has done anything."""
LEAST_PERCENT = 0.01
"""What any share above 0 is at least: a region takes a system that is written over out of the
machine's record by it."""


class Outcome(NamedTuple):
    """What a step that passed says; `evidence` are further lines."""

    summary: str
    evidence: tuple[str, ...] = ()


class Bench:
    """What one step works with: it says how far it is, and learns whether it shall stop."""

    def __init__(
        self,
        job: Job,
        title: str,
        first: float,
        last: float,
        clock: Callable[[], float],
        *,
        tick_s: float = TICK_S,
    ) -> None:
        """`tick_s` is how often `ticking` says that something goes on."""
        self.job = job
        self._title = title
        self._first, self._last = first, last
        self._clock = clock
        self._tick_s = tick_s
        self._told_at: float | None = None
        self._share = 0.0

    @property
    def percent(self) -> float:
        """How far the step has brought the job; above that of its beginning once it writes."""
        done = (self._last - self._first) * min(self._share, 1.0)
        return round(self._first + (max(done, LEAST_PERCENT) if self._share > 0 else 0.0), 2)

    def tell(
        self,
        share: float,
        message: str,
        done: int | None = None,
        total: int | None = None,
        rate: float | None = None,
    ) -> None:
        """Say how much of the step is done, 0 to 1; now and then, not at every call.

        Raises:
            Stopped: the run was told to end.
        """
        self.job.stop.check()
        self._share = share
        now = self._clock()
        if self._told_at is None or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            text = f"{self._title}: {message}"
            self.job.report(Progress(STAGE, self.percent, text, done, total, rate))

    def ticking(self, message: str, limit_s: float) -> AbstractContextManager[None]:
        """Say each minute, for `limit_s`, that something goes on which cannot say how far it is."""
        return ticking(
            lambda passed: self.tell(self._share, f"{message} {passed}"),
            limit_s,
            clock=self._clock,
            tick_s=self._tick_s,
        )


Step = Callable[[PlannedStep, Bench], Outcome]


def run_steps(
    order: JobOrder,
    steps: Mapping[str, Step],
    job: Job,
    note: Callable[[Result], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Do all steps; each one's result is given to `note`.

    Raises:
        InstallError: a step failed; its result was noted.
        Stopped: the run was told to end.
    """
    count = len(order.steps)
    for number, planned in enumerate(order.steps):
        title = f"step {number + 1} of {count}, {planned.name}"
        first, last = (MOST_PERCENT * each / count for each in (number, number + 1))
        begun = clock()
        job.at(STAGE, round(first, 2), title)
        bench = Bench(job, title, first, last, clock)
        try:
            outcome = steps[planned.name](planned, bench)
        except InstallError as error:
            job.stop.check()
            lines = tuple(line for line in error.output.splitlines() if line)[:EVIDENCE_LINES]
            note(Result(planned.name, "failed", clock() - begun, str(error), lines))
            job.report(Progress(STAGE, bench.percent, f"{title}: failed"))
            raise
        for line in outcome.evidence:
            job.console.info(f"  {line}")
        note(Result(planned.name, "passed", clock() - begun, outcome.summary, outcome.evidence))
        job.at(STAGE, round(last, 2), f"{title}: {outcome.summary}")
