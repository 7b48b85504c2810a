"""The fleet as a service reads it: typed, indexed, from memory.

Everything here is derived from mirrors of the store, so a read never waits for the network and
never scans. A record that cannot be decoded is logged and left out; it hides no other.
"""

import asyncio
from bisect import insort
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import structlog

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

_DOCUMENTS: dict[str, type[msgspec.Struct]] = {
    "task": Task,
    "history": Task,
    "meta": Machine,
    "unmatched": UnmatchedReport,
}


class TaskChange(msgspec.Struct, frozen=True):
    """A present task before and after one revision; None where it did or does not exist."""

    before: Task | None
    after: Task | None
    revision: int


class TaskQuery(msgspec.Struct, frozen=True):
    """Which tasks to list, newest first; None matches every task."""

    idc: str | None = None
    status: Status | None = None
    limit: int = 50
    offset: int = 0


class RegionView(msgspec.Struct, frozen=True):
    """A region as the store knows it: online while its heartbeat's lease lives."""

    idc: str
    online: bool
    heartbeat: Heartbeat | None
    capabilities: Capabilities | None


class Fleet:
    """Tasks, machines, regions and unmatched reports of the mirrors that it is given."""

    def __init__(self, *mirrors: Mirror) -> None:
        self._mirrors = mirrors
        self._tasks: dict[str, Task] = {}
        self._order: list[tuple[float, str]] = []
        self._current: dict[tuple[str, str], str] = {}
        self._macs: dict[tuple[str, str], tuple[str, str]] = {}
        self._machines: dict[tuple[str, str], Machine] = {}
        self._heartbeats: dict[str, Heartbeat] = {}
        self._capabilities: dict[str, Capabilities] = {}
        self._unmatched: dict[str, UnmatchedReport] = {}
        self._listeners: list[Callable[[TaskChange], None]] = []
        for mirror in mirrors:
            mirror.subscribe(self._apply)

    @property
    def connected(self) -> bool:
        """Whether every mirror hears from the store now."""
        return all(mirror.connected for mirror in self._mirrors)

    def task(self, task_id: str) -> Task | None:
        """A present or past task by its id."""
        return self._tasks.get(task_id)

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
        """One page of the matching tasks, newest first, and how many match in all."""
        newest_first = (self._tasks[task_id] for _, task_id in reversed(self._order))
        matching = [task for task in newest_first if _matches(task, query)]
        return matching[query.offset : query.offset + query.limit], len(matching)

    def current_tasks(self) -> Iterable[Task]:
        """Every machine's present task, in no order."""
        return (self._tasks[task_id] for task_id in tuple(self._current.values()))

    def regions(self) -> list[RegionView]:
        """Every region that was ever heard of, by name."""
        names = sorted(self._heartbeats.keys() | self._capabilities.keys())
        return [self.region(idc) for idc in names]

    def region(self, idc: str) -> RegionView:
        """One region; offline and without capabilities where it was never heard of."""
        heartbeat = self._heartbeats.get(idc)
        return RegionView(idc, heartbeat is not None, heartbeat, self._capabilities.get(idc))

    def unmatched(self) -> dict[str, UnmatchedReport]:
        """Reports that found no task, by key."""
        return dict(self._unmatched)

    def subscribe(self, listener: Callable[[TaskChange], None]) -> Callable[[], None]:
        """Call `listener` for every change of a present task, in order; the result unsubscribes."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

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
        name = keys.parse(key)
        if name is None:
            return
        if name.kind == "region":
            self._apply_region(name, after)
            return
        document = _DOCUMENTS.get(name.kind)
        if document is None:
            return
        new = _decode(after, document)
        if name.kind == "task":
            self._apply_task(name, new if isinstance(new, Task) else None, after)
        elif name.kind == "history":
            self._apply_history(name, new if isinstance(new, Task) else None)
        elif name.kind == "meta":
            self._apply_machine(name, new if isinstance(new, Machine) else None)
        else:
            _set(self._unmatched, key, new if isinstance(new, UnmatchedReport) else None)

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
            self._remember(new)
            self._current[place] = new.task_id
            self._macs[name.idc, new.mac] = place
        change = TaskChange(old, new, after.mod_revision if after else 0)
        for listener in tuple(self._listeners):
            listener(change)

    def _apply_history(self, name: keys.KeyName, new: Task | None) -> None:
        if new is not None:
            self._remember(new)
        elif (old := self._tasks.get(name.rest)) and self._current.get(
            (name.idc, name.sn)
        ) != old.task_id:
            self._forget(old)

    def _forget_unless_kept(self, task: Task) -> None:
        key = keys.history(task.idc, task.sn, task.task_id)
        if not any(mirror.get(key) for mirror in self._mirrors):
            self._forget(task)

    def _remember(self, task: Task) -> None:
        if task.task_id not in self._tasks:
            insort(self._order, (task.created_at.timestamp(), task.task_id))
        self._tasks[task.task_id] = task

    def _forget(self, task: Task) -> None:
        del self._tasks[task.task_id]
        self._order.remove((task.created_at.timestamp(), task.task_id))

    def _apply_machine(self, name: keys.KeyName, new: Machine | None) -> None:
        place = name.idc, name.sn
        current = self.current_task(*place)
        for mac in ((old := self._machines.get(place)) and old.macs) or ():
            if self._macs.get((name.idc, mac)) == place and (not current or current.mac != mac):
                del self._macs[name.idc, mac]
        _set(self._machines, place, new)
        for mac in new.macs if new else ():
            self._macs.setdefault((name.idc, mac), place)


def _matches(task: Task, query: TaskQuery) -> bool:
    return (query.idc is None or task.idc == query.idc) and (
        query.status is None or task.status is query.status
    )


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
