"""Handing in what was kept: each machine's words in order, many machines at once.

A word leaves the outbox when the store has it, or when the rule (`lpmos.model.handin`) says that it
is over; then the audit log has it with the reason. Where the store goes away in between, the rest
stays for the next time; a word whose answer was lost finds its own mark.
"""

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import structlog

from lpmos.core.agentrun import NoTask
from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.fitting import fitted
from lpmos.core.handin import AlreadyHandedIn, HandingIn, Mark, MarkedStore, handing_in
from lpmos.core.journal import told
from lpmos.core.kept import AnyKept, Claimed, Progressed, Reported, perform, with_claim, word_of
from lpmos.model.audit import Actor
from lpmos.model.errors import ForeignMachine, LpmosError
from lpmos.model.handin import REASONS, RULES, Found, Verdict, found
from lpmos.model.machine import Machine
from lpmos.model.task import Task
from lpmos.region.outbox import Outbox, Waiting
from lpmos.store import keys, records
from lpmos.store.api import Compare, Put, StoreError, Unavailable
from lpmos.store.overlay import Overlay

LANES_AT_ONCE = 32
ATTEMPTS = 5

Lock = Callable[[str], asyncio.Lock]

_OF_THE_WORD = (records.DamagedRecord, records.RecordTooLarge)
"""Errors of the store that concern one word, and would every time."""


class HandIn:
    """Takes words from `outbox` to the store by `agents`, whose store is `store`."""

    def __init__(
        self,
        agents: Agents,
        store: MarkedStore,
        overlay: Overlay,
        outbox: Outbox,
        clock: Clock,
        *,
        idc: str,
    ) -> None:
        self._agents = agents
        self._store = store
        self._overlay = overlay
        self._outbox = outbox
        self._clock = clock
        self._idc = idc
        self._actor = Actor(name=f"region:{idc}")
        self._marks: dict[str, int] = {}
        self._log = structlog.get_logger().bind(idc=idc)
        self.handed_in = 0
        self.refused = 0

    async def all(self, lock: Lock) -> None:
        """Hand in all that waits; nobody speaks for a machine while its word is on its way.

        Raises:
            StoreError: the store went away; the rest waits.
        """
        await self._read_marks()
        lanes = iter(self._outbox.lanes())
        workers = (self._work(lanes, lock) for _ in range(LANES_AT_ONCE))
        results = await asyncio.gather(*workers, return_exceptions=True)
        if error := next((each for each in results if each is not None), None):
            raise error
        if not self._outbox.count:
            await self._store.delete(keys.outbox(self._idc, self._outbox.id), prefix=True)
            self._marks.clear()

    async def _work(self, lanes: Iterator[str], lock: Lock) -> None:
        for lane in lanes:
            try:
                await self._lane(lane, lock)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - a task's boundary: one machine holds up no other
                self._log.exception("words not handed in", lane=lane)

    async def _lane(self, lane: str, lock: Lock) -> None:
        touched: set[str] = set()
        revision = 0
        while True:
            async with lock(lane):
                word = self._outbox.first(lane)
                if word is None:
                    for machine in touched:
                        self._overlay.settle(keys.task(self._idc, machine), revision)
                        self._overlay.settle(keys.meta(self._idc, machine), revision)
                    return
                sn, written = await self._word(word)
                revision = max(revision, written)
                touched |= {sn} if sn else set()

    async def _word(self, word: Waiting) -> tuple[str | None, int]:
        """Hand in one word; the serial number it is about, and the store's revision of it."""
        body = await self._outbox.read(word)
        way = HandingIn(
            keys.outbox(self._idc, self._outbox.id, word.lane),
            word.seq,
            self._marks.get(word.lane, 0),
            word.at,
        )
        token = handing_in.set(way)
        kept: AnyKept | None = None
        try:
            kept = msgspec.json.decode(body, type=AnyKept)
            await self._apply(kept)
        except AlreadyHandedIn:
            pass
        except msgspec.MsgspecError as error:
            await self._refuse(None, f"it cannot be read: {error}", None)
        finally:
            handing_in.reset(token)
        written = way.written or await self._revision_of(way)
        self._marks[word.lane] = way.revision
        await self._outbox.remove(word)
        self.handed_in += 1
        return kept.sn if kept else None, written

    async def _read_marks(self) -> None:
        """How far each machine's words are in the store, as a run before this one left it."""
        prefix = keys.outbox(self._idc, self._outbox.id)
        page = await self._store.range(prefix, keys_only=True)
        self._marks = {kv.key.removeprefix(prefix): kv.mod_revision for kv in page.kvs}

    async def _revision_of(self, way: HandingIn) -> int:
        """Where the word was written by a try whose answer was lost; 0: it wrote nothing."""
        kv = await self._store.get(way.key)
        if kv is None or records.decode(kv, Mark).seq < way.seq:
            return 0
        way.revision = kv.mod_revision
        return kv.mod_revision

    async def _apply(self, kept: AnyKept) -> None:
        """Do with a word what the rule says; a word that cannot be applied is refused.

        Raises:
            StoreError: the store cannot take it now.
        """
        task = None
        try:
            task = self._task(kept)
            place, verdict = self._judged(kept, task)
            if verdict is not Verdict.APPLY:  # what was just handed in may not be heard of yet
                task = await self._task_now(kept)
                place, verdict = self._judged(kept, task)
            if verdict is Verdict.APPLY:
                await perform(self._agents, kept, task)
            elif verdict is Verdict.REFUSE and place:
                await self._refuse(kept, REASONS[place], task)
        except (NoTask, ForeignMachine) as error:
            if not isinstance(kept, Reported):  # a report is kept for people by then
                await self._refuse(kept, str(error), task)
        except LpmosError as error:
            if isinstance(error, StoreError) and not isinstance(error, _OF_THE_WORD):
                raise
            await self._refuse(kept, await self._why(kept, error), task)

    async def _why(self, kept: AnyKept, error: LpmosError) -> str:
        """Why a word failed: by what the store has now where that was not heard of before."""
        place, verdict = self._judged(kept, await self._task_now(kept))
        return REASONS[place] if verdict is Verdict.REFUSE and place else str(error)

    def _task(self, kept: AnyKept) -> Task | None:
        """The machine's present task as the store had it when it was last heard of."""
        kv = self._overlay.stored(keys.task(self._idc, kept.sn)) if kept.sn else None
        return records.decode(kv, Task) if kv else None

    async def _task_now(self, kept: AnyKept) -> Task | None:
        """The machine's present task in the store itself."""
        kv = await self._store.get(keys.task(self._idc, kept.sn)) if kept.sn else None
        return records.decode(kv, Task) if kv else None

    def _judged(self, kept: AnyKept, task: Task | None) -> tuple[Found | None, Verdict]:
        """How that task stands to the word, and what the rule says of it."""
        place = self._found(kept, task)
        return place, RULES[word_of(kept), place] if place else Verdict.APPLY

    def _found(self, kept: AnyKept, task: Task | None) -> Found | None:
        """How that task stands to the word; None of a report without a task."""
        if kept.task_id is None or kept.sn is None:
            return None
        kv = self._overlay.get(keys.meta(self._idc, kept.sn))
        macs = records.decode(kv, Machine).macs if kv else ()
        own = task is not None and kept.mac in (task.mac, *macs)
        return found(task, task_id=kept.task_id, own=own, agent_id=kept.agent_id, said_at=kept.at)

    async def _refuse(self, kept: AnyKept | None, reason: str, task: Task | None) -> None:
        """Write into the audit log what is not applied, and why."""
        event = told(
            "outbox.refused",
            f"task/{kept.task_id}" if kept and kept.task_id else f"region/{self._idc}",
            self._actor,
            self._clock(),
            tenant=task.tenant if task else None,
            after=_shown(kept) if kept else None,
            reason=reason,
        )
        await self._write(event, kept)
        self.refused += 1
        self._log.warning(
            "a kept word is refused",
            word=str(word_of(kept)) if kept else None,
            task_id=kept.task_id if kept else None,
            reason=reason,
        )

    async def _write(self, event: Put, kept: AnyKept | None) -> None:
        """Write the refusal, and in the same transaction that an ended task's disk was touched."""
        for _ in range(ATTEMPTS):
            compare, noted = await self._claim_of_ended(kept)
            if (await self._store.txn(compare, [event, *noted])).succeeded:
                return
        raise Unavailable("the task, or the mark of its machine's words, changes all the time")

    async def _claim_of_ended(self, kept: AnyKept | None) -> tuple[list[Compare], list[Put]]:
        kv = await self._store.get(keys.task(self._idc, kept.sn)) if kept and kept.sn else None
        if kv is None or kept is None:
            return [], []
        task = records.decode(kv, Task)
        if (noted := with_claim(task, kept)) is task:
            return [], []
        _, written = fitted(noted, kv.value, read=task)
        return [Compare(kv.key, "mod", "=", kv.mod_revision)], [Put(kv.key, written)]


def _shown(kept: AnyKept) -> dict[str, object]:
    """What people need to know of the word; the whole of it was in the region's log."""
    shown: dict[str, object] = {
        "word": word_of(kept).value,
        "said_at": kept.at.isoformat(),
        "mac": kept.mac,
        "agent_id": kept.agent_id or None,
        "sn": kept.sn,
    }
    if isinstance(kept, Progressed):
        shown |= {"step": kept.progress.step, "percent": kept.progress.percent}
    if isinstance(kept, Claimed):
        shown |= {"intent_id": kept.intent_id}
    return {name: value for name, value in shown.items() if value is not None}
