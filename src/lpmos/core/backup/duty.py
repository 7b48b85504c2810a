"""The elected control plane's backups: one every so often, proved by a restore, the newest kept.

What goes wrong is told at once and tried again; it ends nothing else that this process does, and
takes away no backup that was made before. A failure is told as an event when it begins, not for
every try: `backup.failed`, and `backup.made` when there is one again.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog

from lpmos.core.backup.making import make_backup
from lpmos.core.backup.place import Backup, Place, prune
from lpmos.core.backup.verification import Scratch, Verdict, prove
from lpmos.core.clock import Clock
from lpmos.core.journal import told
from lpmos.model.audit import SYSTEM
from lpmos.model.errors import LpmosError
from lpmos.store.api import CasConflict, Get, Leadership, Put, Store

log = structlog.get_logger()

LOOK_S = 5.0
"""How often the clock is looked at."""

RETRY = timedelta(minutes=10)
"""When one is tried again that failed."""


class BackupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants: a backup `every` so often in `place`, the `keep` newest kept.

    `cluster` names the store in each manifest, and says which backups of the place are its own;
    `scratch` opens the embedded store that each is restored into as a test.
    """

    place: Place
    every: timedelta
    keep: int
    cluster: str
    scratch: Scratch


class BackupStanding:
    """How the backups of this process stand, for who watches."""

    def __init__(self) -> None:
        self.last_made_at: datetime | None = None
        self.size_bytes = 0
        self.took_s = 0.0
        self.failures = 0
        self.failing = False


class BackupDuty:
    """Makes backups for as long as it leads."""

    def __init__(
        self,
        store: Store,
        plan: BackupPlan,
        clock: Clock,
        *,
        look_s: float = LOOK_S,
        retry: timedelta = RETRY,
    ) -> None:
        """Look at the clock every `look_s`; try again after `retry`."""
        self._store = store
        self._plan = plan
        self._clock = clock
        self._look_s = look_s
        self._retry = retry
        self._told = False
        self.standing = BackupStanding()

    async def lead(self, leadership: Leadership) -> None:
        """Make one whenever it is time, until cancelled; the first where there is none.

        Raises:
            CasConflict: another control plane leads.
        """
        try:
            due = await self._first_due()
            while True:
                if self._clock() >= due:
                    due = await self._once(leadership)
                await asyncio.sleep(self._look_s)
        finally:  # from here on another one's tries say how it is
            self._told = self.standing.failing = False

    async def _first_due(self) -> datetime:
        """When the newest backup of this store in the place is old enough; now without one."""
        plan, standing = self._plan, self.standing
        try:
            found = await plan.place.backups()
        except (OSError, LpmosError):  # the next backup tells of it
            return self._clock()
        mine = [each for each in found if each.manifest.cluster == plan.cluster]
        if not mine:
            return self._clock()
        standing.last_made_at, standing.size_bytes = mine[0].manifest.made_at, mine[0].size_bytes
        return standing.last_made_at + plan.every

    async def _once(self, leadership: Leadership) -> datetime:
        """Make one, or tell why not; when the next one is due."""
        began, standing = self._clock(), self.standing
        try:
            backup, verdict = await self._made()
        except (OSError, LpmosError) as error:
            standing.failures += 1
            log.warning("no backup was made; the earlier ones are as they were", reason=str(error))
            standing.failing = True
            if not self._told:
                self._told = await self._tell(
                    leadership, "backup.failed", "backup/scheduled", reason=str(error)
                )
            return self._clock() + min(self._retry, self._plan.every)
        self._told = standing.failing = False
        standing.took_s = (self._clock() - began).total_seconds()
        standing.last_made_at, standing.size_bytes = began, backup.size_bytes
        await self._prune()
        await self._tell_made(leadership, backup, verdict)
        return began + self._plan.every

    async def _prune(self) -> None:
        plan = self._plan
        try:
            gone = await prune(plan.place, plan.keep, plan.cluster)
        except (OSError, LpmosError) as error:
            log.warning("an old backup cannot be deleted", reason=str(error))
        else:
            log.debug("deleted old backups", files=gone)

    async def _made(self) -> tuple[Backup, Verdict]:
        verdicts: list[Verdict] = []

        async def check(path: Path) -> None:
            verdicts.append(await prove(path, self._plan.scratch))

        backup = await make_backup(
            self._store,
            self._plan.place,
            cluster=self._plan.cluster,
            clock=self._clock,
            check=check,
        )
        return backup, verdicts[0]

    async def _tell_made(self, leadership: Leadership, backup: Backup, verdict: Verdict) -> None:
        after = {
            "file": backup.where,
            "revision": backup.manifest.revision,
            "records": backup.manifest.records,
            "size_bytes": backup.size_bytes,
            "unreadable": verdict.faulty,
        }
        log.info("made a backup, and restored it as a test", **after)
        if verdict.faulty:
            log.warning("the store has records that nobody can read", keys=sorted(verdict.faults))
        await self._tell(leadership, "backup.made", f"backup/{backup.name}", after=after)

    async def _tell(
        self,
        leadership: Leadership,
        action: str,
        target: str,
        *,
        after: Mapping[str, object] | None = None,
        reason: str | None = None,
    ) -> bool:
        """Tell of it in the audit log, and so to webhooks; whether the store took it."""
        event = told(action, target, SYSTEM, self._clock(), after=dict(after or {}), reason=reason)
        try:
            await self._write(leadership, event)
        except CasConflict:
            raise
        except LpmosError as error:
            log.warning("this could not be told", action=action, reason=str(error))
            return False
        return True

    async def _write(self, leadership: Leadership, event: Put) -> None:
        if not (await self._store.txn(leadership.fence, [event], [Get(event.key)])).succeeded:
            raise CasConflict("another control plane leads; it makes the backups")
