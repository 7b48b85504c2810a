"""How many tasks there are of what, and how many came and ended when: counted as they change.

Everything is derived from the tasks themselves, so that every control plane counts alike, and the
same after a restart. Nobody walks the tasks to ask; what is counted here moves with each row.
"""

from collections import Counter
from collections.abc import Hashable
from datetime import datetime
from typing import TypeVar

import msgspec

from lpmos.core.taskrow import TaskRow, seconds
from lpmos.model.lifecycle import Status

BUCKET_S = 300

K = TypeVar("K", bound=Hashable)

_CREATED = "created"
_ENDS = {Status.COMPLETED: "completed", Status.FAILED: "failed"}


class System(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks install one operating system, by status."""

    os_type: str
    os_version: str
    counts: dict[Status, int]


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks were created, completed and failed in the `BUCKET_S` seconds from `at`."""

    at: datetime
    created: int
    completed: int
    failed: int


class Statistics:
    """Counts of the tasks of one index."""

    def __init__(self) -> None:
        self._systems: Counter[tuple[str, str, str | None, Status]] = Counter()
        self._happened: dict[int, Counter[tuple[str | None, str]]] = {}
        self.ended: Counter[tuple[str, Status]] = Counter()
        """How many tasks of a region were seen to end, and how, since this index began."""

    def move(self, before: TaskRow | None, after: TaskRow | None) -> None:
        """A row came, changed or went."""
        if before and after and _alike(before, after):
            return
        if before and after and after.finished and not before.finished:
            self.ended[after.idc, after.status] += 1
        was = _facts(before) if before else None
        now = _facts(after) if after else None
        for facts, change in ((was, -1), (now, 1)):
            if facts is not None:
                self._count(*facts, change)

    def systems(self, tenant: str | None = None) -> list[System]:
        """The operating systems of a tenant's tasks, or of all, by name."""
        found: dict[tuple[str, str], dict[Status, int]] = {}
        for (os_type, os_version, owner, status), count in self._systems.items():
            if tenant in (None, owner):
                counts = found.setdefault((os_type, os_version), dict.fromkeys(Status, 0))
                counts[status] += count
        return [
            System(os_type=name[0], os_version=name[1], counts=found[name])
            for name in sorted(found)
        ]

    def buckets(self, now: datetime, hours: int, tenant: str | None = None) -> list[Bucket]:
        """What happened to a tenant's tasks, or to all, oldest first; the last bucket is `now`'s.

        A task ended when it changed last. What the store keeps no more is counted no more.
        """
        last = _bucket(now)
        first = last - hours * 3600 // BUCKET_S + 1
        return [self._bucket(number, now, tenant) for number in range(first, last + 1)]

    def _bucket(self, number: int, now: datetime, tenant: str | None) -> Bucket:
        happened: Counter[str] = Counter()
        for (owner, what), count in self._happened.get(number, {}).items():
            if tenant in (None, owner):
                happened[what] += count
        return Bucket(
            at=datetime.fromtimestamp(number * BUCKET_S, now.tzinfo),
            created=happened[_CREATED],
            completed=happened["completed"],
            failed=happened["failed"],
        )

    def _count(
        self,
        system: tuple[str, str, str | None, Status],
        tenant: str | None,
        happened: tuple[tuple[int, str], ...],
        change: int,
    ) -> None:
        _add(self._systems, system, change)
        for bucket, what in happened:
            counts = self._happened.setdefault(bucket, Counter())
            _add(counts, (tenant, what), change)
            if not counts:
                del self._happened[bucket]


def _facts(
    row: TaskRow,
) -> tuple[tuple[str, str, str | None, Status], str | None, tuple[tuple[int, str], ...]]:
    """What of a row is counted."""
    happened = [(_bucket(row.created_at), _CREATED)]
    if (end := _ENDS.get(row.status)) is not None:
        happened.append((_bucket(row.updated_at), end))
    return (row.os_type, row.os_version, row.tenant, row.status), row.tenant, tuple(happened)


def _alike(before: TaskRow, after: TaskRow) -> bool:
    """Whether nothing that is counted differs: most changes are progress."""
    return (
        before.status is after.status
        and before.tenant == after.tenant
        and before.os_type == after.os_type
        and before.os_version == after.os_version
        and before.created_at == after.created_at
        and (before.updated_at == after.updated_at or after.status not in _ENDS)
    )


def _bucket(time: datetime) -> int:
    return int(seconds(time) // BUCKET_S)


def _add(counts: Counter[K], key: K, change: int) -> None:
    """Count without keeping zeros."""
    counts[key] += change
    if not counts[key]:
        del counts[key]
