"""Until when a task may wait: from memory, for answers and for the duty that ends what is overdue.

The rules. A wait counts from when the task came into its state, an installation's from its last
news. While a region is off line the clocks of its tasks stand, and when it is back they begin
anew: installations behind a cut link go on (F2). An agent that is away has its own, shorter time;
none is expected once an installer runs or the installed system starts, which have their own.
What a region noted by its own clock counts from when that was here: its heartbeats tell how far
the two clocks are apart, and a wrong one ends no installation. Where a region's clock was set,
waits begin anew: what it noted before cannot be told from what it noted after.
"""

from datetime import datetime, timedelta

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.taskrow import TaskRow
from lpmos.model.lifecycle import Status
from lpmos.model.waiting import AWAY, FIRST_BOOT, INSTALLER, LIMITS, Limit, Timeouts
from lpmos.store.keys import KeyName

Place = tuple[str, str]

OF_REGION = frozenset({Status.READY, Status.BOOTING, Status.PENDING_APPROVAL, Status.INSTALLING})
"""States whose times are by the region's clock."""

SMALLEST_SKEW = timedelta(seconds=60)
"""Less is the way of a heartbeat; one that is listed may be half a minute old."""


class Deadline(msgspec.Struct, frozen=True):
    """When a task's wait ends, which limit says so, and how long that allows."""

    at: datetime
    limit: Limit
    allowed: timedelta


def limit_of(row: TaskRow) -> Limit | None:
    """What bounds the task's wait; None where it is over."""
    if row.status is Status.INSTALLING and row.handed_over_at is not None:
        return FIRST_BOOT
    if row.status is Status.INSTALLING and row.by_installer:
        return INSTALLER
    return LIMITS.get(row.status)


class Deadlines:
    """The deadlines of the fleet's present tasks."""

    def __init__(self, fleet: Fleet, timeouts: Timeouts, clock: Clock) -> None:
        self.timeouts = timeouts
        self._fleet = fleet
        self._clock = clock
        self._back_at: dict[str, datetime] = {}
        self._offline: set[str] = set()
        self._behind: dict[str, timedelta] = {}
        self._heard: dict[str, tuple[int, datetime]] = {}
        self._away_since: dict[Place, datetime] = {}
        fleet.subscribe_others(self._note)

    def of(self, row: TaskRow) -> Deadline | None:
        """The task's deadline; None where it has none, or its region is off line."""
        limit = limit_of(row)
        region = self._fleet.region(row.idc)
        if limit is None or row.past or not region.online:
            return None
        found = [self._after(row, limit)]
        by_itself = row.handed_over_at is not None or row.by_installer
        agent_expected = row.status is Status.INSTALLING and not by_itself
        if agent_expected and region.heartbeat and region.heartbeat.since:
            found.append(self._while_away(row))
        return min((each for each in found if each), key=lambda each: each.at, default=None)

    def waits_until(self, row: TaskRow) -> datetime | None:
        """When the task's wait ends, for people."""
        deadline = self.of(row)
        return deadline.at if deadline else None

    def _after(self, row: TaskRow, limit: Limit) -> Deadline | None:
        allowed = self.timeouts.of(limit)
        if allowed is None:
            return None
        news_at = row.handed_over_at or row.updated_at
        since = news_at if row.status is Status.INSTALLING else row.since
        if row.status in OF_REGION:
            since = self._noted(row, since)
        return Deadline(self._not_before_return(row, since) + allowed, limit, allowed)

    def _while_away(self, row: TaskRow) -> Deadline | None:
        """The end of the grace time of an agent that is away.

        Whoever was not there when it went counts from when it found it away.
        """
        place = row.idc, row.sn
        allowed = self.timeouts.of(AWAY)
        if self._fleet.agent_online(*place) or allowed is None:
            return None
        last = self._noted(row, row.updated_at)
        since = max(self._away_since.setdefault(place, self._clock()), last)
        return Deadline(self._not_before_return(row, since) + allowed, AWAY, allowed)

    def _not_before_return(self, row: TaskRow, since: datetime) -> datetime:
        """`since`, or when the region came back, by its own word and by what was seen here."""
        heartbeat = self._fleet.region(row.idc).heartbeat
        said = heartbeat.since and self._here(row.idc, heartbeat.since) if heartbeat else None
        return max(since, said or since, self._back_at.get(row.idc, since))

    def _noted(self, row: TaskRow, at: datetime) -> datetime:
        """As `_here`; what came after the newest heartbeat is not older than that.

        The region's clock may have been set since.
        """
        here = self._here(row.idc, at)
        revision, heard_at = self._heard.get(row.idc, (row.revision, here))
        return max(here, heard_at) if row.revision > revision else here

    def _here(self, idc: str, at: datetime) -> datetime:
        """When a moment of the region's clock was by the clock of this process."""
        return at + self._behind.get(idc, timedelta())

    def _note(self, key: KeyName, revision: int) -> None:
        if key.kind == "lease":
            place = key.idc, key.sn
            if revision:
                self._away_since.pop(place, None)
            else:
                self._note_away(place)
        elif key.kind == "region" and key.rest == "heartbeat":
            self._note_region(key.idc, revision)

    def _note_away(self, place: Place) -> None:
        row = self._fleet.current_row(place)
        if row is not None and row.status is Status.INSTALLING:
            self._away_since.setdefault(place, self._clock())

    def _note_region(self, idc: str, revision: int) -> None:
        heartbeat = self._fleet.region(idc).heartbeat
        online = bool(revision)
        if online and heartbeat is not None:
            now = self._clock()
            behind = now - heartbeat.at
            behind = behind if abs(behind) >= SMALLEST_SKEW else timedelta()
            before = self._behind.get(idc, behind)
            if abs(behind - before) >= SMALLEST_SKEW:
                self._back_at[idc] = now
            self._behind[idc] = behind
            self._heard[idc] = revision, now
        if not online:
            self._offline.add(idc)
        elif idc in self._offline:
            self._offline.discard(idc)
            self._back_at[idc] = self._clock()
