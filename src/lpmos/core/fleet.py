"""The fleet as a service reads it: typed, indexed, from memory.

Everything here is derived from mirrors of the store, so a read never waits for the network. A
record that cannot be decoded or applied is logged and left out; it hides no other and ends nothing.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import structlog

from lpmos.core.taskindex import TaskIndex, TaskQuery
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.model.region import Capabilities, Heartbeat
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import KV
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

K = TypeVar("K")
T = TypeVar("T")


class TaskChange(msgspec.Struct, frozen=True):
    """A present task before and after one revision; None where it did or does not exist."""

    before: Task | None
    after: Task | None
    revision: int


class RegionView(msgspec.Struct, frozen=True):
    """A region as the store knows it: online while its heartbeat's lease lives."""

    idc: str
    online: bool
    heartbeat: Heartbeat | None
    capabilities: Capabilities | None


class Unmatched(msgspec.Struct, frozen=True):
    """A report without a task, under the last part of its key."""

    idc: str
    rest: str
    report: UnmatchedReport
    revision: int


class Fleet:
    """Tasks, machines and regions of the mirrors that it is given."""

    def __init__(self, *mirrors: Mirror) -> None:
        self._mirrors = mirrors
        self._tasks = TaskIndex()
        self._current: dict[tuple[str, str], str] = {}
        self._macs: dict[tuple[str, str], tuple[str, str]] = {}
        self._machines: dict[tuple[str, str], Machine] = {}
        self._heartbeats: dict[str, Heartbeat] = {}
        self._capabilities: dict[str, Capabilities] = {}
        self._unmatched: dict[tuple[str, str], Unmatched] = {}
        self._dead_letters: dict[tuple[str, str], Task] = {}
        self._listeners: list[Callable[[TaskChange], None]] = []
        self._other_listeners: list[Callable[[keys.KeyName, int], None]] = []
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

    def task(self, task_id: str) -> Task | None:
        """A present or past task by its id."""
        return self._tasks.get(task_id)

    def revision(self, task: Task) -> int:
        """The store's revision at which this task's document was last written; 0: not known."""
        places = (
            keys.task(task.idc, task.sn),
            keys.history(task.idc, task.sn, task.task_id),
        )
        is_current = self._current.get((task.idc, task.sn)) == task.task_id
        found = (mirror.get(places[0 if is_current else 1]) for mirror in self._mirrors)
        return next((kv.mod_revision for kv in found if kv), 0)

    def current_task(self, idc: str, sn: str) -> Task | None:
        """The machine's present task, finished or not."""
        task_id = self._current.get((idc, sn))
        return self._tasks.get(task_id) if task_id else None

    def task_by_mac(self, idc: str, mac: str) -> Task | None:
        """The present task of the machine with this (normalised) MAC."""
        place = self._macs.get((idc, mac))
        return self.current_task(*place) if place else None

    def machine(self, idc: str, sn: str) -> Machine | None:
        """A machine by its serial number."""
        return self._machines.get((idc, sn))

    def machine_by_mac(self, idc: str, mac: str) -> Machine | None:
        """A machine by any of its (normalised) MACs."""
        place = self._macs.get((idc, mac))
        return self._machines.get(place) if place else None

    def tasks(self, query: TaskQuery) -> tuple[list[Task], int]:
        """One page of the matching tasks, present and past, and how many match in all."""
        return self._tasks.page(query)

    def counts(self, idc: str | None = None, tenant: str | None = None) -> dict[Status, int]:
        """How many tasks, present and past, of a region, a tenant or of all are in each status."""
        return self._tasks.counts(idc, tenant)

    def current_tasks(self) -> Iterable[Task]:
        """Every machine's present task, in no order."""
        known = (self._tasks.get(task_id) for task_id in tuple(self._current.values()))
        return (task for task in known if task is not None)

    def machines(self) -> list[Machine]:
        """Every machine that ever reported with a task, by data center and serial number."""
        return [self._machines[place] for place in sorted(self._machines)]

    def unmatched(self) -> list[Unmatched]:
        """Every report of a machine without a task, oldest first."""
        return sorted(self._unmatched.values(), key=lambda each: each.report.received_at)

    def dead_letters(self) -> list[Task]:
        """Every failed task that was set aside (S9), the newest first."""
        return sorted(self._dead_letters.values(), key=lambda t: t.updated_at, reverse=True)

    def regions(self) -> list[RegionView]:
        """Every region that was ever heard of, by name."""
        names = sorted(self._heartbeats.keys() | self._capabilities.keys())
        return [self.region(idc) for idc in names]

    def region(self, idc: str) -> RegionView:
        """One region; offline and without capabilities where it was never heard of."""
        heartbeat = self._heartbeats.get(idc)
        return RegionView(idc, heartbeat is not None, heartbeat, self._capabilities.get(idc))

    def subscribe(self, listener: Callable[[TaskChange], None]) -> Callable[[], None]:
        """Call `listener` for every change of a present task, in order; the result unsubscribes."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def subscribe_others(self, listener: Callable[[keys.KeyName, int], None]) -> Callable[[], None]:
        """Call `listener(key, revision)` for every change of a region, machine, report or dead
        letter, after it was taken in; the revision is 0 where the key is gone. The result
        unsubscribes.
        """
        self._other_listeners.append(listener)
        return lambda: self._other_listeners.remove(listener)

    async def wait_for_task(
        self, task_id: str, condition: Callable[[Task], bool], timeout_s: float
    ) -> Task | None:
        """The task as soon as `condition` holds, or as it is after `timeout_s`."""
        changed = asyncio.Event()

        def look(change: TaskChange) -> None:
            if task_id in (t.task_id for t in (change.before, change.after) if t):
                changed.set()

        unsubscribe = self.subscribe(look)
        try:
            async with asyncio.timeout(timeout_s):
                while (task := self.task(task_id)) is not None and not condition(task):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            unsubscribe()
        return self.task(task_id)

    def _apply(self, key: str, before: KV | None, after: KV | None) -> None:
        """Take in one change; the boundary at which one bad record is kept from all others."""
        try:
            self._apply_document(key, after)
        except Exception:  # an error here would end the mirror, and with it every service
            log.exception("left out a record that cannot be applied", key=key)

    def _apply_document(self, key: str, after: KV | None) -> None:
        name = keys.parse(key)
        if name is None:
            return
        if name.kind == "region":
            self._apply_region(name, after)
        elif name.kind == "task":
            self._apply_task(name, _decode(after, Task), after)
        elif name.kind == "history":
            self._apply_history(name, _decode(after, Task))
        elif name.kind == "meta":
            self._apply_machine(name, _decode(after, Machine))
        elif name.kind == "unmatched":
            self._apply_unmatched(name, _decode(after, UnmatchedReport), after)
        elif name.kind == "dlq":
            _set(self._dead_letters, (name.idc, name.rest), _decode(after, Task))
        if name.kind in ("region", "meta", "unmatched", "dlq"):
            for listener in tuple(self._other_listeners):
                listener(name, after.mod_revision if after else 0)

    def _apply_region(self, name: keys.KeyName, after: KV | None) -> None:
        if name.rest == "heartbeat":
            _set(self._heartbeats, name.idc, _decode(after, Heartbeat))
        elif name.rest == "capabilities":
            _set(self._capabilities, name.idc, _decode(after, Capabilities))

    def _apply_task(self, name: keys.KeyName, new: Task | None, after: KV | None) -> None:
        place = name.idc, name.sn
        old = self.current_task(*place)
        if old is not None and (new is None or new.task_id != old.task_id):
            del self._current[place]
            self._forget_unless_kept(old)
        if old is not None and self._macs.get((name.idc, old.mac)) == place:
            machine = self._machines.get(place)
            if machine is None or old.mac not in machine.macs:
                del self._macs[name.idc, old.mac]
        if new is not None:
            self._tasks.put(new)
            self._current[place] = new.task_id
            self._macs[name.idc, new.mac] = place
        change = TaskChange(old, new, after.mod_revision if after else 0)
        for listener in tuple(self._listeners):
            listener(change)

    def _apply_history(self, name: keys.KeyName, new: Task | None) -> None:
        if new is not None:
            self._tasks.put(new)
        elif (old := self._tasks.get(name.rest)) and self._current.get(
            (name.idc, name.sn)
        ) != old.task_id:
            self._tasks.remove(old.task_id)

    def _forget_unless_kept(self, task: Task) -> None:
        key = keys.history(task.idc, task.sn, task.task_id)
        if not any(mirror.get(key) for mirror in self._mirrors):
            self._tasks.remove(task.task_id)

    def _apply_unmatched(
        self, name: keys.KeyName, report: UnmatchedReport | None, after: KV | None
    ) -> None:
        place = name.idc, name.rest
        held = report and after and Unmatched(*place, report, after.mod_revision)
        _set(self._unmatched, place, held or None)

    def _apply_machine(self, name: keys.KeyName, new: Machine | None) -> None:
        place = name.idc, name.sn
        current = self.current_task(*place)
        for mac in ((old := self._machines.get(place)) and old.macs) or ():
            if self._macs.get((name.idc, mac)) == place and (not current or current.mac != mac):
                del self._macs[name.idc, mac]
        _set(self._machines, place, new)
        for mac in new.macs if new else ():
            self._macs.setdefault((name.idc, mac), place)


def _decode(kv: KV | None, document: type[T]) -> T | None:
    if kv is None:
        return None
    try:
        return records.decode(kv, document)
    except records.DamagedRecord as error:
        log.warning("left out a damaged record", key=kv.key, error=str(error))
        return None


def _set(index: dict[K, T], key: K, value: T | None) -> None:
    if value is None:
        index.pop(key, None)
    else:
        index[key] = value
