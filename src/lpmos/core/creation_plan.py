"""New tasks before they are made: what is asked for, what bears on it, what would be written.

Pure: `Creation` reads, decides and writes; plans that fit into one transaction are packed here.
"""

from collections.abc import Iterable, Sequence

import msgspec

from lpmos.model.errors import FieldProblem
from lpmos.model.inventory import Inventory
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task
from lpmos.store import keys
from lpmos.store.api import KV, MAX_TXN_OPERATIONS, CasConflict, Compare, Operation, Put

TXN_BYTES = 1_000_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A task to be made.

    A task that it tries again must be the machine's present one, and at `retry_revision` where that
    is given. `only_while` and `also` join the transaction. `secrets` None: the sealed part stays.
    `reported` is the machine's hardware where it is newer than the machine's record.
    """

    task: Task
    secrets: TaskSecrets | None = None
    retry_revision: int | None = None
    reported: Inventory | None = None
    only_while: tuple[Compare, ...] = ()
    also: tuple[Operation, ...] = ()


class Created(msgspec.Struct, frozen=True):
    """The task of a call; `replayed`: an earlier call with the same idempotency key made it.

    `revision` is 0 where it was not made now. `warnings` are what its machine, as it last reported
    itself, speaks against.
    """

    task: Task
    revision: int
    replayed: bool = False
    warnings: tuple[FieldProblem, ...] = ()


class Possible(msgspec.Struct, frozen=True):
    """A task that could be made; `warnings` as those of `Created`."""

    warnings: tuple[FieldProblem, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """What bears on a new task, as memory has it or, `fresh`, the store."""

    machine_task: KV | None
    mac: KV | None
    meta: KV | None
    place: KV | None
    fresh: bool


class Plan(msgspec.Struct, frozen=True):
    """A task that may be made, and the part of a transaction that makes it."""

    wanted: Wanted
    task: Task
    compare: tuple[Compare, ...]
    operations: tuple[Operation, ...]
    warnings: tuple[FieldProblem, ...] = ()

    def made(self, revision: int) -> Created:
        """What came of it where it was written at this revision."""
        return Created(self.task, revision, warnings=self.warnings)

    @property
    def size_bytes(self) -> int:
        """About what it takes of a request."""
        puts = (each for each in self.operations if isinstance(each, Put))
        return sum(len(put.key) + len(put.value) for put in puts)


def looked_at(wanted: Wanted) -> tuple[str, str, str, str]:
    """The keys that bear on a new task, in the order of `Seen`."""
    task = wanted.task
    return (
        keys.task(task.idc, task.sn),
        keys.mac_place(task.idc, task.mac),
        keys.meta(task.idc, task.sn),
        keys.task_place(task.task_id),
    )


def unchanged(wanted: Wanted, seen: Seen) -> list[Compare]:
    """What was decided on is as it was seen."""
    values = (seen.machine_task, seen.mac, seen.meta)
    return [
        Compare(key, "mod", "=", kv.mod_revision if kv else 0)
        for key, kv in zip(looked_at(wanted), values, strict=False)
    ]


def packed(plans: Iterable[Plan]) -> list[list[Plan]]:
    """The plans in groups that each fit into one transaction."""
    groups: list[list[Plan]] = []
    for plan in plans:
        together = [*groups[-1], plan] if groups else []
        if together and _fits(together):
            groups[-1].append(plan)
        else:
            groups.append([plan])
    return groups


def _fits(plans: Sequence[Plan]) -> bool:
    operations = sum(len(plan.operations) for plan in plans)
    compares = sum(len(plan.compare) for plan in plans)
    size_bytes = sum(plan.size_bytes for plan in plans)
    return max(operations, compares) <= MAX_TXN_OPERATIONS and size_bytes <= TXN_BYTES


def check_revision(wanted: Wanted, seen: Seen) -> None:
    """The task that is tried again is as it was seen.

    Raises:
        CasConflict: it is not at the revision that was asked for.
    """
    revision = seen.machine_task.mod_revision if seen.machine_task else 0
    if wanted.retry_revision not in (None, revision):
        raise CasConflict(f"the task is at revision {revision}, not {wanted.retry_revision}")
