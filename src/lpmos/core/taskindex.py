"""All tasks that are known, in memory: by id, in every order, counted by region, tenant, status.

The counts and the orders move with each change of a task, so that nobody sorts or counts by
walking; an order is made when somebody first asks for it, for a region lists nothing. A list of one
region or status walks only as far as its page; a search walks the rows once, over text that was
made ready when the row came.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from lpmos.core.ordered import Ordered, narrowed
from lpmos.core.statistics import Statistics
from lpmos.core.taskrow import TaskRow, seconds
from lpmos.model.lifecycle import Status

TaskSort = Literal[
    "-created_at",
    "created_at",
    "-updated_at",
    "updated_at",
    "sn",
    "-sn",
    "status",
    "-status",
    "idc",
    "-idc",
    "os",
    "-os",
]

_RANK = {status: number for number, status in enumerate(Status)}
_ORDERS: Mapping[str, Callable[[TaskRow], Any]] = MappingProxyType(
    {
        "created_at": lambda row: seconds(row.created_at),
        "updated_at": lambda row: seconds(row.updated_at),
        "sn": lambda row: row.sn,
        "status": lambda row: _RANK[row.status],
        "idc": lambda row: row.idc,
        "os": lambda row: (row.os_type, row.os_version),
    }
)

Condition = Callable[[TaskRow], bool]

SORTED_LIMIT = 500
"""How many matches are sorted rather than found again in the order of all."""


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks to list, and in which order; None matches every task.

    `text` is a part of the serial number, host name, MAC or task id, whatever the case; `tag` is a
    `key` or `key=value`; `os` is a type, or a type and a version as `debian 12`; `since` and
    `until` bound the time of creation, `until` is the first that is too late. `status` sorts as in
    the lifecycle; equals are sorted newest first.
    """

    idc: str | None = None
    tenant: str | None = None
    statuses: frozenset[Status] | None = None
    text: str | None = None
    tag: str | None = None
    os: str | None = None
    created_by: str | None = None
    sn: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sort: TaskSort = "-created_at"
    limit: int = 50
    offset: int = 0


class TaskIndex:
    """Present and past tasks by their ids."""

    def __init__(self) -> None:
        self.version = 0
        """Another number after each change."""
        self._rows: dict[str, TaskRow] = {}
        self._orders: dict[str, Ordered] = {}
        self._counts: Counter[tuple[str, str | None, Status]] = Counter()
        self._of_machine: dict[tuple[str, str], tuple[str, ...]] = {}
        self._retries: dict[str, str] = {}
        self.statistics = Statistics()

    def get(self, task_id: str) -> TaskRow | None:
        """A task by its id."""
        return self._rows.get(task_id)

    def of_machine(self, idc: str, sn: str) -> list[TaskRow]:
        """All tasks of one machine, the newest first."""
        rows = [self._rows[task_id] for task_id in self._of_machine.get((idc, sn), ())]
        return sorted(rows, key=lambda row: seconds(row.created_at), reverse=True)

    def retry(self, task_id: str) -> str | None:
        """The id of the task that tries this one again."""
        return self._retries.get(task_id)

    def put(self, row: TaskRow) -> None:
        """Take in a task, or its next version."""
        before = self._rows.get(row.task_id)
        if before is not None and _place(before) != _place(row):
            self.remove(row.task_id)
            before = None
        self._rows[row.task_id] = row
        self.version += 1
        self._move(before, row)
        if before is None:
            place = row.idc, row.sn
            self._of_machine[place] = (*self._of_machine.get(place, ()), row.task_id)
            if row.retry_of is not None:
                self._retries[row.retry_of] = row.task_id

    def remove(self, task_id: str) -> None:
        """Forget a task; no error where it is not known."""
        row = self._rows.pop(task_id, None)
        if row is None:
            return
        self.version += 1
        self._move(row, None)
        place = row.idc, row.sn
        others = tuple(each for each in self._of_machine[place] if each != task_id)
        if others:
            self._of_machine[place] = others
        else:
            del self._of_machine[place]
        if row.retry_of is not None and self._retries.get(row.retry_of) == task_id:
            del self._retries[row.retry_of]

    def counts(self, idc: str | None = None, tenant: str | None = None) -> dict[Status, int]:
        """How many tasks of a region and a tenant, or of all, are in each status."""
        found = dict.fromkeys(Status, 0)
        for (region, owner, status), count in self._counts.items():
            if idc in (None, region) and tenant in (None, owner):
                found[status] += count
        return found

    def page(self, query: TaskQuery) -> tuple[list[TaskRow], int]:
        """One page of the matching tasks, and how many match in all."""
        conditions = _conditions(query)
        if conditions:
            every = (*_counted_conditions(query), *conditions)
            found = {row.task_id: row for row in narrowed(self._rows.values(), every)}
            ordered = self._ordered(found, query.sort)
            return list(islice(ordered, query.offset, query.offset + query.limit)), len(found)
        counts = self.counts(query.idc, query.tenant)
        wanted = Status if query.statuses is None else query.statuses
        total = sum(counts[status] for status in wanted)
        rows = map(self._rows.__getitem__, self._ids(query.sort))
        matching = narrowed(rows, _counted_conditions(query))
        end = min(query.offset + query.limit, total)
        return list(islice(matching, query.offset, max(query.offset, end))), total

    def _ordered(self, found: Mapping[str, TaskRow], sort: TaskSort) -> Iterable[TaskRow]:
        """A few are sorted; for many, all are walked in their order as far as the page."""
        if len(found) > SORTED_LIMIT:
            return (found[task_id] for task_id in self._ids(sort) if task_id in found)
        newest_first = sorted(found.values(), key=_place_in_time, reverse=True)
        value = _ORDERS[sort.removeprefix("-")]
        return sorted(newest_first, key=value, reverse=sort.startswith("-"))

    def _ids(self, sort: TaskSort) -> Iterator[str]:
        order = self._order(sort.removeprefix("-"))
        if sort == "-created_at":
            return order.backwards()
        return order.descending() if sort.startswith("-") else order.ids()

    def _order(self, name: str) -> Ordered:
        if name not in self._orders:
            order = self._orders[name] = Ordered()
            for row in self._rows.values():
                order.add(_ORDERS[name](row), *_place_in_time(row))
        return self._orders[name]

    def _move(self, before: TaskRow | None, after: TaskRow | None) -> None:
        """From where the row was in the orders and counts to where it is now."""
        self.statistics.move(before, after)
        was = before and _place_in_time(before)
        now = after and _place_in_time(after)
        for name, order in self._orders.items():
            value = _ORDERS[name]
            old, new = before and value(before), after and value(after)
            if (old, was) != (new, now):
                if was:
                    order.remove(old, *was)
                if now:
                    order.add(new, *now)
        for row, change in ((before, -1), (after, 1)):
            if row is not None:
                self._counts[row.idc, row.tenant, row.status] += change


def has_tag(tag: str) -> Callable[[Mapping[str, str]], bool]:
    """Whether tags have `key`, or `key=value`."""
    key, has_value, value = tag.partition("=")
    if has_value:
        return lambda tags: tags.get(key) == value
    return lambda tags: key in tags


def is_system(os: str) -> Callable[[str, str], bool]:
    """Whether a type and version are `os`: `debian`, or `debian 12`."""
    words = os.casefold().split()
    return lambda kind, version: [kind.casefold(), version.casefold()][: len(words)] == words


def _place(row: TaskRow) -> tuple[str, str, str | None]:
    return row.idc, row.sn, row.retry_of


def _place_in_time(row: TaskRow) -> tuple[float, str]:
    return _created_s(row), row.task_id


def _created_s(row: TaskRow) -> float:
    return seconds(row.created_at)


def _counted_conditions(query: TaskQuery) -> list[Condition]:
    """Those that the counts know of: how many match need not be walked for."""
    found: list[Condition] = []
    if (idc := query.idc) is not None:
        found.append(lambda row: row.idc == idc)
    if (tenant := query.tenant) is not None:
        found.append(lambda row: row.tenant == tenant)
    if (statuses := query.statuses) is not None:
        found.append(lambda row: row.status in statuses)
    return found


def _conditions(query: TaskQuery) -> list[Condition]:
    """The others, with the query's words taken apart once for all tasks."""
    found: list[Condition] = []
    if query.text is not None:
        text = query.text.casefold()
        found.append(lambda row: text in row.words)
    if query.tag is not None:
        tagged = has_tag(query.tag)
        found.append(lambda row: tagged(row.tags))
    if query.os is not None:
        system = is_system(query.os)
        found.append(lambda row: system(row.os_type, row.os_version))
    if (created_by := query.created_by) is not None:
        found.append(lambda row: row.created_by == created_by)
    if (sn := query.sn) is not None:
        found.append(lambda row: row.sn == sn)
    if query.since is not None:
        first_s = seconds(query.since)
        found.append(lambda row: seconds(row.created_at) >= first_s)
    if query.until is not None:
        end_s = seconds(query.until)
        found.append(lambda row: seconds(row.created_at) < end_s)
    return found
