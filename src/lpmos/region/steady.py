"""The use cases of a region that goes on without the store (F2).

A call is made with the store where it answers. Where it does not, the call is decided on what the
region knows by the very same code, kept in the outbox, and answered then. Words go into the store
later, in order for each machine, each once: core's mark is in the transaction of the word itself.
A machine that has words waiting adds to them; so nothing overtakes anything.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal, TypedDict

import msgspec
import structlog

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.evidence import Seen
from lpmos.core.fleet import Fleet
from lpmos.core.handin import Draft, MarkedStore, said_or_now
from lpmos.core.kept import (
    AnyKept,
    Booted,
    CameUp,
    Claimed,
    Failed,
    GivenUp,
    HandedOver,
    InstallerBegins,
    InstallerScript,
    Prepared,
    Progressed,
    Reported,
)
from lpmos.core.loglines import NO_MARKS, Marks
from lpmos.core.taskrow import TaskRow
from lpmos.model.bootplan import BootPlan, UnknownMachines, decide
from lpmos.model.inventory import Inventory
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Status
from lpmos.model.region import OutboxState
from lpmos.model.task import Progress, Task, TaskError
from lpmos.region.handin import HandIn
from lpmos.region.keeping import Keeping, ToBeMatched, lane_of
from lpmos.region.memory import Memory
from lpmos.region.outbox import Outbox
from lpmos.store.api import Ambiguous, NoSpace, Store, StoreError, Unavailable
from lpmos.store.fenced import NotActive
from lpmos.store.overlay import Overlay
from lpmos.store.spans import spanned

POLL_S = 0.5
"""How often is looked whether the store is there and something waits."""
RETRY_S = 2.0
REMEMBER_TIMEOUT_S = 2.0
"""How long a claim waits for the region to hear of its own write."""
SHOWN_TIMEOUT_S = 5.0
"""How long the last word of an install does."""

_AWAY = (Unavailable, Ambiguous, NoSpace)


class _About(TypedDict):
    """What all words on a task have."""

    at: datetime
    mac: str
    agent_id: str
    task_id: str
    sn: str


class SteadyAgents(Agents):
    """`Agents` over a store that may be away; `run` hands in what was kept."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        clock: Clock,
        *,
        idc: str,
        unknown: UnknownMachines,
        overlay: Overlay,
        outbox: Outbox,
        unfenced: Store,
        memory: Memory,
        seen: Seen,
    ) -> None:
        """`overlay` is what `fleet` reads the region's own prefix from, `memory` keeps it.

        What was answered by a client that stands by now is handed in all the same: through
        `unfenced`, for the marks and the rule keep it from doing harm.
        """
        super().__init__(store, fleet, clock, idc=idc, unknown=unknown)
        self._stored = Agents(
            store, fleet, clock, idc=idc, unknown=unknown, remembered=overlay.stored, seen=seen
        )
        marked = MarkedStore(unfenced)
        late = Agents(marked, fleet, said_or_now(clock), idc=idc, unknown=unknown, seen=seen)
        self._keeping = Keeping(
            fleet, clock, idc=idc, unknown=unknown, overlay=overlay, outbox=outbox
        )
        self._overlay = overlay
        self._outbox = outbox
        self._memory = memory
        self._hand_in = HandIn(late, marked, overlay, outbox, clock, idc=idc)
        self._log = structlog.get_logger().bind(idc=idc)

    @property
    def outbox_state(self) -> OutboxState:
        """What waits, and since when the store is away."""
        self._keeping.note_connection()
        return OutboxState(
            offline_since=self._keeping.offline_since,
            waiting=self._outbox.count,
            size_bytes=self._outbox.size_bytes,
            oldest_at=self._outbox.oldest_at,
            kept=self._keeping.count,
            handed_in=self._hand_in.handed_in,
            refused=self._hand_in.refused,
        )

    async def restore(self) -> None:
        """Show again what was answered before a restart; call it before machines are served."""
        await self._keeping.restore()

    async def run(self) -> None:
        """Hand in what waits whenever the store is there, until cancelled."""
        while True:
            self._keeping.note_connection()
            if not self._outbox.count or not self._fleet.connected:
                await asyncio.sleep(POLL_S)
                continue
            waiting = self._outbox.count
            try:
                await self._hand_in.all(self._keeping.lock)
            except StoreError as error:  # one that refuses for good must not end the region
                self._log.warning("the store takes no words now", error=str(error))
            self._log.info(
                "kept words handed in",
                handed_in=waiting - self._outbox.count,
                waiting=self._outbox.count,
                refused=self._hand_in.refused,
            )
            if self._outbox.count:
                await asyncio.sleep(RETRY_S)

    async def prepared(self, task: Task) -> Task:
        """See `Agents.prepared`."""
        return await self._task(
            lambda: Prepared(**self._about(task, task.mac)), lambda: self._stored.prepared(task)
        )

    async def fail(self, task: Task, error: TaskError) -> Task:
        """See `Agents.fail`."""
        return await self._task(
            lambda: GivenUp(**self._about(task, task.mac), error=error),
            lambda: self._stored.fail(task, error),
        )

    async def boot(self, mac: str, sn: str | None) -> tuple[BootPlan, Task | None]:
        """See `Agents.boot`; a machine that has its system boots it also without the store."""
        task = self._known(mac, sn) if self._outbox.count else None
        if self._is_there(task.sn if task else mac):
            try:
                return await self._stored.boot(mac, sn)
            except NotActive:
                raise
            except _AWAY as error:
                self._log.debug("decided from memory", mac=mac, error=str(error))
        task = task or self._known(mac, sn)
        if task is None:
            return self._boot_without_task(mac, sn), None
        kept = Booted(**self._about(task, mac))
        draft = Draft(self._overlay.get)
        plan, after = await self._keeping.local(draft, kept.at).boot(mac, sn)
        try:
            await self._keeping.keep(kept)
        except _AWAY as error:  # nothing follows from the word; the machine boots
            self._log.error("a boot is not noted", mac=mac, error=str(error))
        return plan, after

    async def report(
        self,
        run: AgentRun,
        sn: str | None,
        inventory: Inventory,
        required_bytes: int,
        *,
        whole_image: bool = False,
        sector_bytes: int | None = None,
        follows: str | None = None,
    ) -> Task:
        """See `Agents.report`.

        Raises:
            Unavailable: the store is away and the machine has no task that is known here; its
                report was kept, and it shall ask again.
            ForeignMachine: see `Agents.report`; the word of it was kept.
        """

        def make() -> Reported:
            task = self._known(run.mac, sn)
            return Reported(
                at=self._clock(),
                mac=run.mac,
                agent_id=run.agent_id,
                task_id=task.task_id if task else None,
                sn=task.sn if task else None,
                follows=follows or (task.reported_by if task else None),
                said_sn=sn,
                inventory=inventory.bounded(),
                required_bytes=required_bytes,
                whole_image=whole_image,
                sector_bytes=sector_bytes,
            )

        try:
            return await self._task(
                make,
                lambda: self._stored.report(
                    run,
                    sn,
                    inventory,
                    required_bytes,
                    whole_image=whole_image,
                    sector_bytes=sector_bytes,
                ),
            )
        except ToBeMatched:
            await self._keeping.keep_unmatched(
                msgspec.structs.replace(make(), task_id=None, sn=None)
            )
            raise Unavailable(
                "the store is away and no task for this machine is known here; its report is kept"
            ) from None

    async def claim(self, run: AgentRun, task_id: str, intent_id: str | None) -> Task:
        """See `Agents.claim`; what this region knows to be approved may begin."""

        def make() -> Claimed | None:
            row = self._fleet.row(task_id)
            about = row and self._about(row, run.mac, run.agent_id)
            return Claimed(**about, intent_id=intent_id) if about else None

        async def claim() -> Task:
            claimed = await self._stored.claim(run, task_id, intent_id)
            await self._remember(claimed)
            return claimed

        return await self._task(make, claim)

    async def progress(
        self,
        run: AgentRun,
        task_id: str,
        progress: Progress,
        lines: Sequence[str] = (),
        results: Sequence[StepResult] = (),
        *,
        marks: Marks = NO_MARKS,
    ) -> Task:
        """See `Agents.progress`."""

        def make() -> Progressed | None:
            row = self._fleet.row(task_id)
            if row is None:
                return None
            about = self._about(row, run.mac, run.agent_id)
            kept = Progressed(**about, progress=progress, lines=tuple(lines))
            return msgspec.structs.replace(kept, results=tuple(results), marks=dict(marks))

        return await self._task(
            make,
            lambda: self._shown(
                self._stored.progress(run, task_id, progress, lines, results, marks=marks)
            ),
        )

    async def failed(self, run: AgentRun, task_id: str, error: TaskError) -> Task:
        """See `Agents.failed`."""

        def make() -> Failed | None:
            row = self._fleet.row(task_id)
            about = row and self._about(row, run.mac, run.agent_id)
            return Failed(**about, error=error) if about else None

        return await self._task(make, lambda: self._stored.failed(run, task_id, error))

    async def handed_over(self, run: AgentRun, task_id: str, token_sha256: str) -> Task:
        """See `Agents.handed_over`."""

        def make() -> HandedOver | None:
            row = self._fleet.row(task_id)
            about = row and self._about(row, run.mac, run.agent_id)
            return HandedOver(**about, token_sha256=token_sha256) if about else None

        return await self._task(
            make, lambda: self._shown(self._stored.handed_over(run, task_id, token_sha256))
        )

    async def installer_begins(
        self, run: AgentRun, task_id: str, by: Literal["kexec", "restart"]
    ) -> Task:
        """See `Agents.installer_begins`."""

        def make() -> InstallerBegins | None:
            row = self._fleet.row(task_id)
            about = row and self._about(row, run.mac, run.agent_id)
            return InstallerBegins(**about, by=by) if about else None

        def shows(task: Task) -> bool:
            return task.finished or (task.handover is not None and task.handover.by == by)

        return await self._task(
            make, lambda: self._shown(self._stored.installer_begins(run, task_id, by), shows)
        )

    async def installer_given(self, mac: str, task: Task) -> Task:
        """See `Agents.installer_given`; without the word of it the script is not given."""
        return await self._task(
            lambda: InstallerScript(**self._about(task, mac)),
            lambda: self._stored.installer_given(mac, task),
        )

    async def came_up(self, mac: str, task_id: str, token_sha256: str) -> Task:
        """See `Agents.came_up`."""

        def make() -> CameUp | None:
            row = self._fleet.row(task_id)
            about = row and self._about(row, mac)
            return CameUp(**about, token_sha256=token_sha256) if about else None

        return await self._task(make, lambda: self._stored.came_up(mac, task_id, token_sha256))

    async def came_up_failing(
        self, mac: str, task_id: str, token_sha256: str, error: TaskError
    ) -> Task:
        """See `Agents.came_up_failing`; the system goes on saying it until the store is there."""
        return await self._stored.came_up_failing(mac, task_id, token_sha256, error)

    async def _shown(
        self, saying: Awaitable[Task], shows: Callable[[Task], bool] | None = None
    ) -> Task:
        """Have the last word in memory before the agent restarts: its next boot is decided there.

        `shows` says whether a task has the word; None: that it boots its disk.

        Raises:
            Unavailable: the region does not hear of its own write; the word is kept, and shown.
        """
        task = await saying
        shows = shows or _boots_its_disk
        if shows(task):
            shown = await self._fleet.wait_for_task(task.task_id, shows, SHOWN_TIMEOUT_S)
            if shown is not None and not shows(shown):
                raise Unavailable("the store took the word, and is not heard of since")
        return task

    async def _remember(self, claimed: Task) -> None:
        """Have the claim in memory and on the disk before the agent begins.

        A region that restarts without the store would else give the same approval once more.
        """
        task_id = claimed.task_id
        await self._fleet.wait_for_task(task_id, _is_begun, REMEMBER_TIMEOUT_S)
        try:
            with spanned("disk.memory", {}):
                await self._memory.flush()
        except (OSError, sqlite3.Error) as error:
            self._log.error("a claim is not in memory.db", task_id=task_id, error=str(error))

    def _about(self, task: Task | TaskRow, mac: str, agent_id: str = "") -> _About:
        return {
            "at": self._clock(),
            "mac": mac,
            "agent_id": agent_id,
            "task_id": task.task_id,
            "sn": task.sn,
        }

    def _known(self, mac: str, sn: str | None) -> Task | None:
        try:
            return self.find_task(mac, sn)
        except Unavailable:
            return None

    def _is_there(self, lane: str) -> bool:
        """Whether a call of this machine may go to the store itself."""
        return self._fleet.connected and not self._outbox.waits(lane)

    async def _task(
        self, make: Callable[[], AnyKept | None], call: Callable[[], Awaitable[Task]]
    ) -> Task:
        """Do it with the store, or keep the word of it; `make` gives None for an unknown task."""
        self._keeping.note_connection()
        kept = make() if self._outbox.count or not self._fleet.connected else None
        if kept is None or self._is_there(lane_of(kept)):
            try:
                return await call()
            except NotActive:
                raise
            except _AWAY as error:
                kept = kept or make()
                if kept is None:
                    raise
                self._log.debug("kept for the store", lane=lane_of(kept), error=str(error))
        task = await self._keeping.keep(kept)
        if task is None:
            raise Unavailable("the store is away and this task is not known here")
        return task

    def _boot_without_task(self, mac: str, sn: str | None) -> BootPlan:
        """A machine that was installed boots its disk; of any other there may be a task.

        Raises:
            Unavailable: it is another.
        """
        machine = self._fleet.machine_by_mac(self._idc, mac)
        if machine is None and sn:
            machine = self._fleet.machine(self._idc, sn)
        if machine is None or machine.installed is None:
            raise Unavailable("the store is away and this machine is not known here yet")
        return decide(mac, machine, None, self._unknown)


def _is_begun(task: Task) -> bool:
    return task.finished or task.status is Status.INSTALLING


def _boots_its_disk(task: Task) -> bool:
    return task.finished or task.starts_its_system
