"""A task and its machine at one moment: all that the rules of `lpmos.model.explain` may look at.

Pure: the time is a part of it.
"""

from datetime import datetime, timedelta

import msgspec

from lpmos.model.evidence import WAIT, Evidence, Sign, Transfer
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, Task

QUIET = timedelta(seconds=20)
"""A layer that follows another within seconds is late after so long."""
STUCK = timedelta(seconds=90)
"""An install that says nothing new for so long has stopped, or its disk is very slow."""
AGENT_STARTS = timedelta(seconds=60)
"""From the whole initramfs to the agent's call, where this is not known of the model."""
ASKS_AGAIN = timedelta(seconds=90)
"""Who is told to wait asks again every 30 s; one that has not for so long asks no more."""
_LATE = 1.5
"""So many times what 19 of 20 need is no chance."""


class Usual(msgspec.Struct, frozen=True, kw_only=True):
    """How long a wait takes, from `count` finished tasks of machines of this model."""

    model: str | None
    count: int
    p50_s: float
    p95_s: float

    @property
    def late_after(self) -> timedelta:
        """Who waits longer waits longer than nearly all."""
        return max(timedelta(seconds=_LATE * self.p95_s), QUIET)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """`seen` has only what is newer than the task.

    `online` is the region's, `agent` whether its agent lives; None: it was never heard. `usual` is
    of the present wait, `usual_start` of the part `boot.start`. `awaits` says what its system is
    installed from and how much of that is there, where the region fetches it still.
    """

    task: Task
    since: datetime
    now: datetime
    seen: Evidence
    online: bool = True
    agent: bool | None = None
    usual: Usual | None = None
    usual_start: Usual | None = None
    awaits: str | None = None

    @property
    def waited(self) -> timedelta:
        """How long it has waited in this state."""
        return self.now - self.since

    @property
    def step(self) -> Progress | None:
        """The newest step of its install."""
        return self.task.progress[-1] if self.task.progress else None

    @property
    def silent(self) -> timedelta:
        """How long the install has told nothing new."""
        step = self.step
        return self.now - (max(step.timestamp, self.since) if step else self.since)

    @property
    def stepping(self) -> timedelta:
        """How long the present step of its install takes already."""
        steps = self.task.progress
        return self.now - (max(steps[-2].timestamp, self.since) if steps[1:] else self.since)

    @property
    def late(self) -> bool:
        """Whether it takes longer than nearly always, or than `STUCK` where that is not known."""
        return self.waited > (self.usual.late_after if self.usual else STUCK)

    @property
    def agent_starts(self) -> timedelta:
        """How long the agent may take to call once its initramfs is there."""
        usual = self.usual_start
        return max(usual.late_after, AGENT_STARTS) if usual else AGENT_STARTS

    @property
    def told_to_wait(self) -> str | None:
        """Why its boot script has it wait; None where it got on since."""
        script = self.seen.script
        if script is None or script.at != self.seen.newest or not script.detail.startswith(WAIT):
            return None
        return script.detail.removeprefix(WAIT)

    @property
    def asks_again(self) -> bool:
        """Whether the newest sign is so fresh that a machine which waits is there still."""
        newest = self.seen.newest
        return newest is not None and self.now - newest <= ASKS_AGAIN

    @property
    def installer_since(self) -> datetime | None:
        """When a distribution's installer was started, or its boot script began to be due."""
        handover = self.task.handover
        return (handover.script_at or handover.at) if handover else None

    def is_(self, *statuses: Status) -> bool:
        """Whether the task is in one of these, and its system does not start already."""
        return self.task.status in statuses and self.task.handed_over_at is None

    def quiet_since(self, sign: Sign | Transfer | None) -> bool:
        """Whether this was seen, and nothing newer of any layer for a while."""
        newest = self.seen.newest
        return sign is not None and newest is not None and self.now - newest > QUIET
