"""All tasks that are known, in memory: by id, in order of time, counted by region, tenant, status.

The counts move with each change of a task, so that nobody counts by walking. A list of one region
or status walks only as far as its page; a search for text, a tag or an OS walks every task once.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from lpmos.model.lifecycle import Status
from lpmos.model.task import Task

TaskSort = Literal["-created_at", "created_at", "-updated_at", "updated_at", "sn", "status"]

_SORT_KEYS: Mapping[str, Callable[[Task], Any]] = MappingProxyType(
    {
        "updated_at": lambda task: _seconds(task.updated_at),
        "sn": lambda task: task.sn,
        "status": lambda task: list(Status).index(task.status),
    }
)


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks to list, and in which order; None matches every task.

    `text` is a part of the serial number, host name, MAC or task id, whatever the case; `tag` is a
    `key` or `key=value`; `os` is a type, or a type and a version as `debian 12`. `status` sorts as
    in the lifecycle; equals are sorted newest first.
    """

    idc: str | None = None
    tenant: str | None = None
    status: Status | None = None
    text: str | None = None
    tag: str | None = None
    os: str | None = None
    sort: TaskSort = "-created_at"
    limit: int = 50
    offset: int = 0

    @property
    def counted(self) -> bool:
        """Whether the counts know how many tasks match."""
        return self.text is None and self.tag is None and self.os is None


class TaskIndex:
    """Present and past tasks by their ids."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._order: list[tuple[float, str]] = []
        self._counts: Counter[tuple[str, str | None, Status]] = Counter()

    def get(self, task_id: str) -> Task | None:
        """A task by its id."""
        return self._tasks.get(task_id)

    def put(self, task: Task) -> None:
        """Take in a task, or its next version."""
        self.remove(task.task_id)
        self._tasks[task.task_id] = task
        insort(self._order, _place(task))
        self._counts[task.idc, task.tenant, task.status] += 1

    def remove(self, task_id: str) -> None:
        """Forget a task; no error where it is not known."""
        task = self._tasks.pop(task_id, None)
        if task is not None:
            del self._order[bisect_left(self._order, _place(task))]
            self._counts[task.idc, task.tenant, task.status] -= 1

    def counts(self, idc: str | None = None, tenant: str | None = None) -> dict[Status, int]:
        """How many tasks of a region and a tenant, or of all, are in each status."""
        found = dict.fromkeys(Status, 0)
        for (region, owner, status), count in self._counts.items():
            if idc in (None, region) and tenant in (None, owner):
                found[status] += count
        return found

    def page(self, query: TaskQuery) -> tuple[list[Task], int]:
        """One page of the matching tasks, and how many match in all."""
        matching = filter(_condition(query), self._sorted(query.sort))
        if query.counted:
            counts = self.counts(query.idc, query.tenant)
            total = sum(counts.values()) if query.status is None else counts[query.status]
            end = min(query.offset + query.limit, total)
            return list(islice(matching, query.offset, max(query.offset, end))), total
        found = list(matching)
        return found[query.offset : query.offset + query.limit], len(found)

    def _sorted(self, sort: TaskSort) -> Iterator[Task]:
        if sort == "created_at":
            return (self._tasks[task_id] for _, task_id in self._order)
        newest_first = (self._tasks[task_id] for _, task_id in reversed(self._order))
        if sort == "-created_at":
            return newest_first
        key = _SORT_KEYS[sort.removeprefix("-")]
        return iter(sorted(newest_first, key=key, reverse=sort.startswith("-")))


def _place(task: Task) -> tuple[float, str]:
    return _seconds(task.created_at), task.task_id


def _seconds(time: datetime) -> float:
    """A time as seconds since 1970; one that names no zone, as a foreign record may, is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _condition(query: TaskQuery) -> Callable[[Task], bool]:
    """What a task must satisfy, with the query's words taken apart once for all tasks."""
    text = None if query.text is None else query.text.casefold()
    key, has_value, value = (query.tag or "").partition("=")
    system = None if query.os is None else query.os.casefold().split()

    def holds(task: Task) -> bool:
        return (
            (query.idc is None or task.idc == query.idc)
            and (query.tenant is None or task.tenant == query.tenant)
            and (query.status is None or task.status is query.status)
            and (text is None or _mentions(task, text))
            and (
                query.tag is None
                or (task.tags.get(key) == value if has_value else key in task.tags)
            )
            and (system is None or _is_system(task, system))
        )

    return holds


def _mentions(task: Task, text: str) -> bool:
    return any(text in word.casefold() for word in (task.sn, task.hostname, task.mac, task.task_id))


def _is_system(task: Task, words: list[str]) -> bool:
    return [task.os_type.casefold(), task.os_version.casefold()][: len(words)] == words
