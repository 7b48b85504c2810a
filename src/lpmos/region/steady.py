"""The use cases of a region that goes on without the store (F2).

A call is made with the store where it answers. Where it does not, the call is decided on what the
region knows by the very same code, kept in the outbox, and answered then. Words go into the store
later, in order for each machine, each once: core's mark is in the transaction of the word itself.
A machine that has words waiting adds to them; so nothing overtakes anything.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypedDict
from weakref import WeakValueDictionary

import msgspec
import structlog

from lpmos.core.agents import AgentRun, Agents, NoTask
from lpmos.core.clock import Clock
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
    perform,
)
from lpmos.core.reporting import check_same_machine
from lpmos.core.taskrow import TaskRow
from lpmos.model.bootplan import BootPlan, UnknownMachines, decide
from lpmos.model.errors import ForeignMachine, LpmosError
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.region import OutboxState
from lpmos.model.task import Progress, Task, TaskError
from lpmos.region.handin import HandIn
from lpmos.region.memory import Memory
from lpmos.region.outbox import Outbox
from lpmos.region.progress import LINES_HELD
from lpmos.store import keys, records
from lpmos.store.api import KV, Ambiguous, NoSpace, Store, StoreError, Unavailable
from lpmos.store.fenced import NotActive
from lpmos.store.overlay import Overlay

POLL_S = 0.5
"""How often is looked whether the store is there and something waits."""
RETRY_S = 2.0
REMEMBER_TIMEOUT_S = 2.0
"""How long a claim waits for the region to hear of its own write."""
SHOWN_TIMEOUT_S = 5.0
"""How long the last word of an install does."""

APPROVAL_AGE = timedelta(hours=12)
"""What a region began with may be old: it lets no older approval be taken before it has heard the
store. A host that comes back after days may know of installs as approved that are long done."""

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
    ) -> None:
        """`overlay` is what `fleet` reads the region's own prefix from, `memory` keeps it.

        What was answered by a client that stands by now is handed in all the same: through
        `unfenced`, for the marks and the rule keep it from doing harm.
        """
        super().__init__(store, fleet, clock, idc=idc, unknown=unknown)
        self._stored = Agents(
            store, fleet, clock, idc=idc, unknown=unknown, remembered=overlay.stored
        )
        marked = MarkedStore(unfenced)
        late = Agents(marked, fleet, said_or_now(clock), idc=idc, unknown=unknown)
        self._overlay = overlay
        self._outbox = outbox
        self._memory = memory
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._newest: dict[str, tuple[int, AnyKept]] = {}
        self._hand_in = HandIn(late, marked, overlay, outbox, clock, idc=idc)
        self._offline_since: datetime | None = None
        self._kept = 0
        self._heard_store = False
        self._log = structlog.get_logger().bind(idc=idc)

    @property
    def outbox_state(self) -> OutboxState:
        """What waits, and since when the store is away."""
        self._note_connection()
        return OutboxState(
            offline_since=self._offline_since,
            waiting=self._outbox.count,
            size_bytes=self._outbox.size_bytes,
            oldest_at=self._outbox.oldest_at,
            kept=self._kept,
            handed_in=self._hand_in.handed_in,
            refused=self._hand_in.refused,
        )

    async def restore(self) -> None:
        """Show again what was answered before a restart; call it before machines are served."""
        for word in self._outbox.words():
            try:
                kept = msgspec.json.decode(await self._outbox.read(word), type=AnyKept)
                draft, _ = await self._decided(kept)
            except (LpmosError, msgspec.MsgspecError) as error:
                self._log.warning("a kept word changes nothing here", seq=word.seq, why=str(error))
                continue
            self._show(draft)
        if self._outbox.count:
            self._log.info("words wait for the store", words=self._outbox.count)

    async def run(self) -> None:
        """Hand in what waits whenever the store is there, until cancelled."""
        while True:
            self._note_connection()
            if not self._outbox.count or not self._fleet.connected:
                await asyncio.sleep(POLL_S)
                continue
            waiting = self._outbox.count
            try:
                await self._hand_in.all(self._lock)
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
        plan, after = await self._local(draft, kept.at).boot(mac, sn)
        try:
            await self._keep(task.sn, kept)
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
            )

        try:
            return await self._task(
                make,
                lambda: self._stored.report(
                    run, sn, inventory, required_bytes, whole_image=whole_image
                ),
            )
        except _ToBeMatched:
            await self._keep_unmatched(msgspec.structs.replace(make(), task_id=None, sn=None))
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
        self, run: AgentRun, task_id: str, progress: Progress, lines: Sequence[str] = ()
    ) -> Task:
        """See `Agents.progress`."""

        def make() -> Progressed | None:
            row = self._fleet.row(task_id)
            about = row and self._about(row, run.mac, run.agent_id)
            return Progressed(**about, progress=progress, lines=tuple(lines)) if about else None

        return await self._task(
            make, lambda: self._shown(self._stored.progress(run, task_id, progress, lines))
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
        self._note_connection()
        kept = make() if self._outbox.count or not self._fleet.connected else None
        if kept is None or self._is_there(_lane(kept)):
            try:
                return await call()
            except NotActive:
                raise
            except _AWAY as error:
                kept = kept or make()
                if kept is None:
                    raise
                self._log.debug("kept for the store", lane=_lane(kept), error=str(error))
        task = await self._keep(_lane(kept), kept)
        if task is None:
            raise Unavailable("the store is away and this task is not known here")
        return task

    async def _keep(self, lane: str, kept: AnyKept) -> Task | None:
        """Decide on what is known, keep the word where it changes something, and show it.

        Raises:
            ForeignMachine: it is another machine's report; the word of that is kept.
        """
        async with self._lock(lane):
            if self._is_repeated(lane, kept):
                return self._repeated(kept)
            draft, task = await self._decided(kept)
            if not draft.is_empty:
                if not isinstance(task, ForeignMachine):
                    self._check_age(kept, task)
                await self._append(lane, kept, draft)
                self._note_connection()
            if isinstance(task, ForeignMachine):
                raise task
            return task

    def _check_age(self, kept: AnyKept, after: Task | None) -> None:
        """Let no approval be taken that may have been taken since this region knew the store.

        Raises:
            Unavailable: it is too old, or by the clock of another time.
        """
        before = self._fleet.task(kept.task_id) if kept.task_id else None
        if self._heard_store or before is None or after is None:
            return
        begun = after.status in (Status.INSTALLING, Status.COMPLETED)
        if before.status is not Status.APPROVED or not begun:
            return
        said = before.approval.approved_at if before.approval else None
        if said is None or abs(kept.at - said) > APPROVAL_AGE:
            raise Unavailable(
                "this region was started without the store, and knows an old approval only; the"
                " install waits until the store is back"
            )

    async def _keep_unmatched(self, kept: Reported) -> None:
        lane = _lane(kept)
        async with self._lock(lane):
            if not self._is_repeated(lane, kept):
                await self._append(lane, kept, Draft(self._overlay.get))

    async def _append(self, lane: str, kept: AnyKept, draft: Draft) -> None:
        """Keep the word, and show what it changes once it is on the disk."""
        seq, before = self._newest.get(lane, (0, None))
        replaces = None
        if isinstance(kept, Progressed) and isinstance(before, Progressed):
            waits = self._outbox.has(lane, seq) and _is_same_step(before, kept)
            replaces = seq if waits else None
            kept = _merged(before, kept) if waits else kept

        def then(seq: int) -> None:
            self._newest[lane] = seq, kept
            self._kept += 1
            self._show(draft)

        body = msgspec.json.encode(kept)
        await self._outbox.append(lane, kept.at, body, replaces=replaces, then=then)

    def _is_repeated(self, lane: str, kept: AnyKept) -> bool:
        """Whether the last word of this machine that waits is the same report."""
        seq, before = self._newest.get(lane, (0, None))
        return (
            isinstance(kept, Reported)
            and isinstance(before, Reported)
            and self._outbox.has(lane, seq)
            and before.content == kept.content
        )

    def _repeated(self, kept: AnyKept) -> Task:
        task = self._fleet.task(kept.task_id) if kept.task_id else None
        if task is None:
            raise _ToBeMatched("no task of this machine is known here")
        if isinstance(kept, Reported):
            check_same_machine(task, kept.mac, kept.inventory)
        return task

    async def _decided(self, kept: AnyKept) -> tuple[Draft, Task | ForeignMachine | None]:
        """What the word changes in what is known here, and the task then; raises as the use case.

        That it is another machine's is an outcome too: it is noted in the task.
        """
        draft = Draft(self._overlay.get)
        task = self._fleet.task(kept.task_id) if kept.task_id else None
        if task is None:
            if isinstance(kept, Reported):
                raise _ToBeMatched("no task of this machine is known here")
            raise Unavailable("the store is away and this task is not known here")
        try:
            return draft, await perform(self._local(draft, kept.at), kept, task)
        except ForeignMachine as error:
            return draft, error
        except NoTask as error:
            if isinstance(kept, Reported):
                raise _ToBeMatched(str(error)) from error
            raise

    def _local(self, draft: Draft, at: datetime) -> Agents:
        return Agents(draft, self._fleet, lambda: at, idc=self._idc, unknown=self._unknown)

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
        return decide(machine, None, self._unknown)

    def _show(self, draft: Draft) -> None:
        for key, value in draft.shown.items():
            self._overlay.show(key, value)

    def _lock(self, lane: str) -> asyncio.Lock:
        return self._locks.setdefault(lane, asyncio.Lock())

    def _note_connection(self) -> None:
        if self._fleet.connected:
            self._offline_since = None
            self._heard_store = True
        elif self._offline_since is None:
            self._offline_since = self._clock()


class _ToBeMatched(LpmosError):
    """A report of a machine without a task that is known here."""


def gives_way(local: KV, stored: KV | None) -> bool:
    """Whether what a region shows of a key ends with what the store has: people ended the task."""
    name = keys.parse(local.key)
    if name is None or name.kind != "task":
        return stored is None
    if stored is None:
        return True
    try:
        task, shown = records.decode(stored, Task), records.decode(local, Task)
    except records.DamagedRecord:
        return True
    return task.task_id != shown.task_id or task.status in FINAL


def _is_begun(task: Task) -> bool:
    return task.finished or task.status is Status.INSTALLING


def _boots_its_disk(task: Task) -> bool:
    return task.finished or task.starts_its_system


def _lane(kept: AnyKept) -> str:
    return kept.sn or kept.mac


def _merged(before: Progressed, kept: Progressed) -> Progressed:
    """The newer word of a step with the lines of both."""
    lines = (*before.lines, *kept.lines)[-LINES_HELD:]
    return msgspec.structs.replace(kept, lines=lines)


def _is_same_step(before: Progressed, kept: Progressed) -> bool:
    return (before.task_id, before.agent_id, before.progress.step) == (
        kept.task_id,
        kept.agent_id,
        kept.progress.step,
    )
