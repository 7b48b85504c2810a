"""The fleet as a service reads it: typed, indexed, from memory.

Everything here is derived from mirrors of the store, so a read never waits for the network. What
lists and look-ups need stays decoded; the whole document of a task or a machine is decoded from the
mirror when it is asked for. A record that cannot be decoded or applied is logged and left out; it
hides no other and ends nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec
import structlog

from lpmos.core.duplicates import Duplicate, Duplicates, Member
from lpmos.core.machineindex import (
    MachineIndex,
    MachineQuery,
    MachineRow,
    row_of_machine,
    row_of_unseen,
)
from lpmos.core.statistics import Statistics
from lpmos.core.taskchange import TaskChange as TaskChange
from lpmos.core.taskindex import TaskIndex, TaskQuery
from lpmos.core.taskrow import TaskRow, key_of, row_of_document
from lpmos.core.unmatched_index import (
    UnmatchedIndex,
    UnmatchedQuery,
    UnmatchedRow,
    row_of_report,
)
from lpmos.model.lifecycle import Status
from lpmos.model.machine import AgentLease, Machine, UnmatchedReport
from lpmos.model.region import Capabilities, Heartbeat, RegionClient, RegionStatus
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import KV
from lpmos.store.mirror import Mirror
from lpmos.store.overlay import Overlay

log = structlog.get_logger()

K = TypeVar("K")
T = TypeVar("T")


class RegionView(msgspec.Struct, frozen=True):
    """A region as the store knows it: online while its heartbeat's lease lives."""

    idc: str
    online: bool
    heartbeat: Heartbeat | None
    capabilities: Capabilities | None
    status: RegionStatus | None = None
    heard_at: datetime | None = None
    """The newest heartbeat since this process listens; it stays while the region is away."""
    clients: tuple[RegionClient, ...] = ()
    """Those that live, active or standby, by their identity."""


class Unmatched(msgspec.Struct, frozen=True):
    """A report without a task, under the last part of its key."""

    idc: str
    rest: str
    report: UnmatchedReport
    revision: int


class _Marked(msgspec.Struct, frozen=True):
    """So much of a task as each call of an agent needs; the rest is passed over."""

    log_marks: dict[str, int] = {}


class Fleet:
    """Tasks, machines and regions of the mirrors that it is given."""

    def __init__(self, *mirrors: Mirror | Overlay) -> None:
        self._mirrors = mirrors
        self._tasks = TaskIndex()
        self._current: dict[tuple[str, str], str] = {}
        self._macs: dict[tuple[str, str], tuple[str, str]] = {}
        self._duplicates = Duplicates()
        self._machines = MachineIndex(self._duplicates)
        self._leases: dict[tuple[str, str], AgentLease | None] = {}
        self._heartbeats: dict[str, Heartbeat] = {}
        self._capabilities: dict[str, Capabilities] = {}
        self._statuses: dict[str, RegionStatus] = {}
        self._heard_at: dict[str, datetime] = {}
        self._clients: dict[tuple[str, str], RegionClient] = {}
        self._unmatched = UnmatchedIndex(self._duplicates)
        self.unmatched_arrived: Counter[str] = Counter()
        """Machines of a data center that began to wait without a task since the first listing."""
        self._dead_letters = TaskIndex()
        self._listeners: list[Callable[[TaskChange], None]] = []
        self._other_listeners: list[Callable[[keys.KeyName, int], None]] = []
        self._awaited: dict[str, set[asyncio.Event]] = {}
        for mirror in mirrors:
            mirror.subscribe(self._apply)

    @property
    def connected(self) -> bool:
        """Whether every mirror hears from the store now."""
        return all(mirror.connected for mirror in self._mirrors)

    @property
    def listed(self) -> bool:
        """Whether every mirror has had its first listing: before, what is missing may be there."""
        return all(mirror.revision > 0 for mirror in self._mirrors)

    async def wait_for_revision(self, revision: int) -> None:
        """Wait until memory has a revision, which changed a key of every mirror's prefix."""
        for mirror in self._mirrors:
            await mirror.wait_for(revision)

    def stored(self, key: str) -> KV | None:
        """A key as memory has it."""
        found = (mirror.get(key) for mirror in self._mirrors)
        return next((kv for kv in found if kv), None)

    def task(self, task_id: str) -> Task | None:
        """A present or past task by its id, whole."""
        row = self._tasks.get(task_id)
        return self._whole(row) if row else None

    def row(self, task_id: str) -> TaskRow | None:
        """A present or past task by its id, as a list shows it."""
        return self._tasks.get(task_id)

    def log_marks(self, task_id: str) -> Mapping[str, int]:
        """How far the lines of those who number theirs are in the log of a task; else empty."""
        row = self._tasks.get(task_id)
        found = _decode(self.stored(key_of(row)), _Marked) if row else None
        return found.log_marks if found else {}

    def revision(self, task: Task) -> int:
        """The store's revision at which this task's document was last written; 0: not known."""
        row = self._tasks.get(task.task_id)
        return row.revision if row else 0

    def retry(self, task_id: str) -> str | None:
        """The id of the task that tries this one again."""
        return self._tasks.retry(task_id)

    def current_task(self, idc: str, sn: str) -> Task | None:
        """The machine's present task, finished or not, whole."""
        if (idc, sn) not in self._current:
            return None
        return _decode(self.stored(keys.task(idc, sn)), Task)

    def current_row(self, place: tuple[str, str]) -> TaskRow | None:
        """The machine's present task, as a list shows it."""
        task_id = self._current.get(place)
        return self._tasks.get(task_id) if task_id else None

    def tasks_of_machine(self, idc: str, sn: str) -> list[TaskRow]:
        """The machine's present and past tasks, the newest first."""
        return self._tasks.of_machine(idc, sn)

    def task_by_mac(self, idc: str, mac: str) -> Task | None:
        """The present task of the machine with this (normalised) MAC."""
        place = self._macs.get((idc, mac))
        return self.current_task(*place) if place else None

    def place_of_mac(self, idc: str, mac: str) -> tuple[str, str] | None:
        """The machine with this (normalised) MAC."""
        return self._macs.get((idc, mac))

    def machine(self, idc: str, sn: str) -> Machine | None:
        """A machine by its serial number, whole."""
        kv = self.stored(keys.meta(idc, sn))
        return _decode(kv, Machine)

    def machine_row(self, idc: str, sn: str) -> MachineRow | None:
        """A machine as a list shows it, also one that is known only by its task."""
        return self._machines.get((idc, sn))

    def machine_rows(self, idc: str) -> list[MachineRow]:
        """Every machine of a data center as a list shows it, by serial number."""
        return [row for row in self._machines.rows() if row.idc == idc]

    def machine_by_mac(self, idc: str, mac: str) -> Machine | None:
        """A machine by any of its (normalised) MACs."""
        place = self._macs.get((idc, mac))
        return self.machine(*place) if place else None

    def agent_online(self, idc: str, sn: str) -> bool | None:
        """Whether the machine's agent lives (S4); None where it was never heard of."""
        place = idc, sn
        return self._leases[place] is not None if place in self._leases else None

    @property
    def tasks_version(self) -> int:
        """Another number after each change of a present or past task; no sooner."""
        return self._tasks.version

    def tasks(self, query: TaskQuery) -> tuple[list[TaskRow], int]:
        """One page of the matching tasks, present and past, and how many match in all."""
        return self._tasks.page(query)

    def counts(self, idc: str | None = None, tenant: str | None = None) -> dict[Status, int]:
        """How many tasks, present and past, of a region, a tenant or of all are in each status."""
        return self._tasks.counts(idc, tenant)

    @property
    def statistics(self) -> Statistics:
        """What is counted of all tasks, present and past."""
        return self._tasks.statistics

    def current_rows(self) -> list[TaskRow]:
        """Every machine's present task as a list shows it, in no order."""
        known = (self._tasks.get(task_id) for task_id in tuple(self._current.values()))
        return [row for row in known if row is not None]

    def current_tasks(self, status: Status | None = None) -> Iterable[Task]:
        """Every machine's present task, or those in one status, whole, in no order."""
        rows = (row for row in self.current_rows() if status in (None, row.status))
        return (task for task in map(self._whole, rows) if task is not None)

    def machines(self) -> Iterator[Machine]:
        """Every machine that ever reported, whole, by data center and serial number."""
        places = sorted(row.place for row in self._machines.rows() if row.revision)
        found = (self.machine(*place) for place in places)
        return (machine for machine in found if machine is not None)

    def machine_page(self, query: MachineQuery) -> tuple[list[MachineRow], int]:
        """One page of the matching machines, and how many match in all."""
        return self._machines.page(query, self.current_row)

    def duplicates(self, member: Member, tenant: str | None = None) -> list[Duplicate]:
        """Who else is known by a name of this machine (`IDC/SN`) or report, as a tenant sees it."""
        return self._duplicates.of(member, tenant)

    def is_duplicate(self, member: Member, tenant: str | None = None) -> bool:
        """Whether there is anybody else of its name, as users of a tenant see it."""
        return member in self._duplicates.members(tenant)

    def count_duplicates(self, tenant: str | None = None) -> dict[str, int]:
        """How many machines have a name that another has too, by data center, where there are."""
        return self._duplicates.counts(tenant)

    def count_machines(self, idc: str | None = None, tenant: str | None = None) -> int:
        """How many machines of a region, a tenant or of all there are."""
        return self._machines.count(idc, tenant)

    def dead_letters(self, query: TaskQuery) -> tuple[list[TaskRow], int]:
        """One page of the failed tasks that were set aside (S9), and how many match in all."""
        return self._dead_letters.page(query)

    def dead_letter(self, task_id: str) -> TaskRow | None:
        """A failed task that was set aside; its revision is that of the dead letter."""
        return self._dead_letters.get(task_id)

    def count_unmatched(self, idc: str) -> int:
        """How many reports without a task a region has."""
        return self._unmatched.count(idc)

    def unmatched(self) -> list[UnmatchedRow]:
        """Every report of a machine without a task, as a list shows it, oldest first."""
        return list(self._unmatched.rows())

    def unmatched_page(self, query: UnmatchedQuery) -> tuple[list[UnmatchedRow], int]:
        """One page of such reports, the newest first, and how many match in all."""
        return self._unmatched.page(query)

    def unmatched_counts(self) -> dict[str, int]:
        """How many such reports each data center has that ever had one."""
        return self._unmatched.counts()

    def unmatched_report(self, idc: str, rest: str) -> Unmatched | None:
        """One such report by the last part of its key, whole."""
        kv = self.stored(keys.unmatched_report(idc, rest))
        report = _decode(kv, UnmatchedReport)
        return Unmatched(idc, rest, report, kv.mod_revision) if kv and report else None

    def regions(self) -> list[RegionView]:
        """Every region that was ever heard of, by name."""
        names = sorted(self._heartbeats.keys() | self._capabilities.keys())
        return [self.region(idc) for idc in names]

    def region(self, idc: str) -> RegionView:
        """One region; offline and without capabilities where it was never heard of."""
        heartbeat = self._heartbeats.get(idc)
        return RegionView(
            idc,
            heartbeat is not None,
            heartbeat,
            self._capabilities.get(idc),
            self._statuses.get(idc),
            self._heard_at.get(idc),
            tuple(self._clients[place] for place in sorted(self._clients) if place[0] == idc),
        )

    def subscribe(self, listener: Callable[[TaskChange], None]) -> Callable[[], None]:
        """Call `listener` for every change of a present task, in order; the result unsubscribes."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def subscribe_others(self, listener: Callable[[keys.KeyName, int], None]) -> Callable[[], None]:
        """Call `listener(key, revision)` for every change of a region, machine, its evidence,
        report or dead letter, after it was taken in; the revision is 0 where the key is gone. The
        result unsubscribes.
        """
        self._other_listeners.append(listener)
        return lambda: self._other_listeners.remove(listener)

    async def wait_for_task(
        self, task_id: str, condition: Callable[[Task], bool], timeout_s: float
    ) -> Task | None:
        """The task as soon as `condition` holds, or as it is after `timeout_s`."""
        changed = asyncio.Event()
        waiting = self._awaited.setdefault(task_id, set())
        waiting.add(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while (task := self.task(task_id)) is not None and not condition(task):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            waiting.remove(changed)
            if not waiting:
                del self._awaited[task_id]
        return self.task(task_id)

    def _apply(self, key: str, before: KV | None, after: KV | None) -> None:
        """Take in one change; the boundary at which one bad record is kept from all others."""
        try:
            self._apply_document(key, before, after)
        except Exception:  # an error here would end the mirror, and with it every service
            log.exception("left out a record that cannot be applied", key=key)

    def _apply_document(self, key: str, before: KV | None, after: KV | None) -> None:
        name = keys.parse(key)
        if name is None:
            return
        if name.kind == "region":
            self._apply_region(name, after)
        elif name.kind == "client":
            _set(self._clients, (name.idc, name.rest), _decode(after, RegionClient))
        elif name.kind == "task":
            self._apply_task(name, before, after)
        elif name.kind == "history":
            self._apply_history(name, after)
        elif name.kind == "meta":
            self._apply_machine(name, after)
        elif name.kind == "lease":
            self._apply_lease(name, after)
        elif name.kind == "unmatched":
            self._apply_unmatched(name, _decode(after, UnmatchedReport), after)
        elif name.kind == "dlq":
            self._apply_dead_letter(name, after)
        if name.kind in ("region", "client", "meta", "evidence", "lease", "unmatched", "dlq"):
            for listener in tuple(self._other_listeners):
                listener(name, after.mod_revision if after else 0)

    def _apply_region(self, name: keys.KeyName, after: KV | None) -> None:
        if name.rest == "heartbeat":
            beat = _decode(after, Heartbeat)
            _set(self._heartbeats, name.idc, beat)
            if beat is not None:
                self._heard_at[name.idc] = beat.at
        elif name.rest == "status":
            _set(self._statuses, name.idc, _decode(after, RegionStatus))
        elif name.rest == "capabilities":
            _set(self._capabilities, name.idc, _decode(after, Capabilities))

    def _apply_task(self, name: keys.KeyName, before: KV | None, after: KV | None) -> None:
        place = name.idc, name.sn
        old, new = self.current_row(place), _row(after)
        if old is not None and (new is None or new.task_id != old.task_id):
            del self._current[place]
            self._forget_unless_kept(old)
        if old is not None and self._macs.get((name.idc, old.mac)) == place:
            machine = self._machines.get(place)
            if machine is None or not machine.revision or old.mac not in machine.macs:
                del self._macs[name.idc, old.mac]
        if new is not None:
            self._tasks.put(new)
            self._current[place] = new.task_id
            self._macs[name.idc, new.mac] = place
        self._note_unseen(place, new)
        change = TaskChange(
            before if old else None,
            after if new else None,
            after.mod_revision if after else 0,
            row_before=old,
            row=new,
        )
        for listener in tuple(self._listeners):
            listener(change)
        for task_id in change.task_ids:
            for changed in self._awaited.get(task_id, ()):
                changed.set()

    def _note_unseen(self, place: tuple[str, str], task: TaskRow | None) -> None:
        """A machine without a record of its own is known by its task."""
        machine = self._machines.get(place)
        if machine is not None and machine.revision:
            return
        if task is not None:
            self._machines.put(row_of_unseen(task))
        else:
            self._machines.remove(place)

    def _apply_history(self, name: keys.KeyName, after: KV | None) -> None:
        is_current = self._current.get((name.idc, name.sn)) == name.rest
        new = _row(after, past=True)
        if new is not None and not is_current:
            self._tasks.put(new)
        elif new is None and not is_current:
            self._tasks.remove(name.rest)

    def _forget_unless_kept(self, row: TaskRow) -> None:
        kept = self.stored(keys.history(row.idc, row.sn, row.task_id))
        past = _row(kept, past=True)
        if past is not None:
            self._tasks.put(past)
        else:
            self._tasks.remove(row.task_id)

    def _apply_unmatched(
        self, name: keys.KeyName, report: UnmatchedReport | None, after: KV | None
    ) -> None:
        if report is None or after is None:
            self._unmatched.remove(name.idc, name.rest)
        else:
            if self.listed and self._unmatched.get(name.idc, name.rest) is None:
                self.unmatched_arrived[name.idc] += 1
            self._unmatched.put(row_of_report(name.idc, name.rest, report, after.mod_revision))

    def _apply_machine(self, name: keys.KeyName, after: KV | None) -> None:
        place = name.idc, name.sn
        current = self.current_row(place)
        for mac in ((old := self._machines.get(place)) and old.macs) or ():
            if self._macs.get((name.idc, mac)) == place and (not current or current.mac != mac):
                del self._macs[name.idc, mac]
        self._machines.remove(place)
        new = None
        if after is not None and (new := _attempt(row_of_machine, after)) is not None:
            self._machines.put(new)
        self._note_unseen(place, current)
        for mac in new.macs if new else ():
            self._macs.setdefault((name.idc, mac), place)

    def _apply_lease(self, name: keys.KeyName, after: KV | None) -> None:
        if after is None and self._machines.get((name.idc, name.sn)) is None:
            self._leases.pop((name.idc, name.sn), None)
        else:
            self._leases[name.idc, name.sn] = _decode(after, AgentLease)

    def _apply_dead_letter(self, name: keys.KeyName, after: KV | None) -> None:
        row = _row(after)
        if row is not None and row.task_id == name.rest:
            self._dead_letters.put(row)
        else:
            self._dead_letters.remove(name.rest)

    def _whole(self, row: TaskRow) -> Task | None:
        return _decode(self.stored(key_of(row)), Task)


def _row(kv: KV | None, *, past: bool = False) -> TaskRow | None:
    return _attempt(lambda kv: row_of_document(kv, past=past), kv)


def _attempt(decode: Callable[[KV], T], kv: KV | None) -> T | None:
    if kv is None:
        return None
    try:
        return decode(kv)
    except records.DamagedRecord as error:
        log.warning("left out a damaged record", key=kv.key, error=str(error))
        return None


def _decode(kv: KV | None, document: type[T]) -> T | None:
    return _attempt(lambda kv: records.decode(kv, document), kv)


def _set(index: dict[K, T], key: K, value: T | None) -> None:
    if value is None:
        index.pop(key, None)
    else:
        index[key] = value
