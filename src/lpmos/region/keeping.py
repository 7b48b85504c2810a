"""The words of machines that a region keeps while the store is away, and what each changes here.

A word is decided on what the region knows by the very same code as with the store, written into the
outbox, and shown in the region's view once it is on the disk. A machine's words are kept in order.
"""

import asyncio
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import msgspec
import structlog

from lpmos.core.agentrun import NoTask
from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.handin import Draft
from lpmos.core.kept import AnyKept, Progressed, Reported, perform
from lpmos.core.loglines import newest
from lpmos.core.progress import is_not_newer
from lpmos.core.reporting import check_same_machine
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.errors import ForeignMachine, LpmosError
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Task
from lpmos.region.outbox import Outbox
from lpmos.region.progress import LINES_HELD
from lpmos.store import keys, records
from lpmos.store.api import KV, Unavailable
from lpmos.store.overlay import Overlay

APPROVAL_AGE = timedelta(hours=12)
"""What a region began with may be old: it lets no older approval be taken before it has heard the
store. A host that comes back after days may know of installs as approved that are long done."""


class ToBeMatched(LpmosError):
    """A report of a machine without a task that is known here."""


class Keeping:
    """Keeps words and shows what they change; `count` is of those kept since the start."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        *,
        idc: str,
        unknown: UnknownMachines,
        overlay: Overlay,
        outbox: Outbox,
    ) -> None:
        """`overlay` is what `fleet` reads the region's own prefix from."""
        self.count = 0
        self.offline_since: datetime | None = None
        self._fleet = fleet
        self._clock = clock
        self._idc = idc
        self._unknown = unknown
        self._overlay = overlay
        self._outbox = outbox
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._newest: dict[str, tuple[int, AnyKept]] = {}
        self._heard_store = False
        self._log = structlog.get_logger().bind(idc=idc)

    def lock(self, lane: str) -> asyncio.Lock:
        """Of one machine: who holds it decides alone on the machine's words."""
        return self._locks.setdefault(lane, asyncio.Lock())

    def note_connection(self) -> None:
        """Note whether the store is there now."""
        if self._fleet.connected:
            self.offline_since = None
            self._heard_store = True
        elif self.offline_since is None:
            self.offline_since = self._clock()

    async def restore(self) -> None:
        """Show again what was answered before a restart."""
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

    async def keep(self, kept: AnyKept) -> Task | None:
        """Decide on what is known, keep the word where it changes something, and show it.

        Raises:
            ForeignMachine: it is another machine's report; the word of that is kept.
            ToBeMatched: it is the report of a machine without a task here.
            Unavailable: the task is not known here, or the word cannot be kept.
        """
        lane = lane_of(kept)
        async with self.lock(lane):
            if self._is_repeated(lane, kept):
                return self._repeated(kept)
            draft, task = await self._decided(kept)
            if not draft.is_empty:
                if not isinstance(task, ForeignMachine):
                    self._check_age(kept, task)
                await self._append(lane, kept, draft)
                self.note_connection()
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

    async def keep_unmatched(self, kept: Reported) -> None:
        """Keep the report of a machine without a task here, for one that may come."""
        lane = lane_of(kept)
        async with self.lock(lane):
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
            self.count += 1
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
            raise ToBeMatched("no task of this machine is known here")
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
                raise ToBeMatched("no task of this machine is known here")
            raise Unavailable("the store is away and this task is not known here")
        try:
            return draft, await perform(self.local(draft, kept.at), kept, task)
        except ForeignMachine as error:
            return draft, error
        except NoTask as error:
            if isinstance(kept, Reported):
                raise ToBeMatched(str(error)) from error
            raise

    def local(self, draft: Draft, at: datetime) -> Agents:
        """The use cases on what is known here; their changes go into `draft` alone."""
        return Agents(draft, self._fleet, lambda: at, idc=self._idc, unknown=self._unknown)

    def _show(self, draft: Draft) -> None:
        for key, value in draft.shown.items():
            self._overlay.show(key, value)


def lane_of(kept: AnyKept) -> str:
    """The machine whose words keep their order: its serial number, else its MAC."""
    return kept.sn or kept.mac


def _merged(before: Progressed, kept: Progressed) -> Progressed:
    """The newer word of a step, which need not be the later, with the lines of both."""
    is_late = is_not_newer(kept.progress, before.progress)
    return msgspec.structs.replace(
        kept,
        progress=before.progress if is_late else kept.progress,
        lines=(*before.lines, *kept.lines)[-LINES_HELD:],
        marks=newest(before.marks, kept.marks),
        results=kept.results or before.results,
    )


def _is_same_step(before: Progressed, kept: Progressed) -> bool:
    return (before.task_id, before.agent_id, before.progress.step) == (
        kept.task_id,
        kept.agent_id,
        kept.progress.step,
    )


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
