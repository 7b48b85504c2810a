"""How a task comes into being: what must hold, and the one transaction that makes it (S11).

Whether a task may be made is decided on what the store has. The first look is into memory, which
costs nothing: where memory is behind, the transaction's compares fail or the refusal is looked at
again with fresh values, so that nobody is refused for what is no longer so (F7).
"""

import uuid
from collections.abc import Sequence

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.creation_checks import (
    check_free,
    check_nic,
    check_offered,
    check_other,
    check_owner,
    check_retried,
    check_same,
)
from lpmos.core.creation_plan import (
    Created,
    Plan,
    Possible,
    Seen,
    Wanted,
    check_revision,
    looked_at,
    packed,
    unchanged,
)
from lpmos.core.fitting import fitted
from lpmos.core.fleet import Fleet
from lpmos.core.foreseen import warnings
from lpmos.core.journal import told_of_task
from lpmos.core.secrets.box import SecretBox
from lpmos.core.tasksecrets import put_sealed
from lpmos.core.taskstore import TaskStore, logged
from lpmos.core.tracing import caller
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, FieldProblem, LpmosError, NotFound, UnknownKey
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, ServerEntry
from lpmos.model.newtask import ASKED, TaskSpec
from lpmos.model.region import Capabilities
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import StatusChange, Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Ambiguous,
    CasConflict,
    Compare,
    Delete,
    Get,
    Operation,
    Put,
    Store,
    StoreError,
    Unavailable,
)

HISTORY_LIMIT = 20
"""How many finished tasks are kept for each machine (S5)."""

ATTEMPTS = 10
BATCH = 25
"""How many tasks are made in one transaction; each takes five operations or a few more."""

IDEMPOTENCY = uuid.UUID("6d2c1c9c-5c0e-4f0a-9a55-6c706d6f7331")
"""The name space of the ids of tasks that were made with an idempotency key."""


class Creation:
    """Makes tasks, one or many in a transaction."""

    def __init__(
        self, store: Store, fleet: Fleet, clock: Clock, secrets: SecretBox | None = None
    ) -> None:
        """Without `secrets` no task can be made that has any."""
        self._secrets = secrets
        self._store = store
        self._tasks = TaskStore(store)
        self._fleet = fleet
        self._clock = clock

    def wanted(
        self,
        spec: TaskSpec,
        by: Actor,
        *,
        idempotency_key: str | None = None,
        retry_of: Task | None = None,
        retry_revision: int | None = None,
        acting_for: str | None = None,
        reported: Inventory | None = None,
        only_while: Sequence[Compare] = (),
        also: Sequence[Operation] = (),
    ) -> Wanted:
        """The task of a specification; see `Wanted` and `Task`."""
        now, asked = self._clock(), caller()
        task_id = _task_id(by, idempotency_key) if idempotency_key is not None else uuid.uuid4()
        task = Task(
            task_id=str(task_id),
            **{name: getattr(spec, name) for name in ASKED},
            attempt=retry_of.attempt + 1 if retry_of else 1,
            retry_of=retry_of.task_id if retry_of else None,
            status=Status.PENDING,
            status_history=(StatusChange(status=Status.PENDING, timestamp=now, by=by.name),),
            created_at=now,
            updated_at=now,
            created_by=by.name,
            acting_for=acting_for,
            traceparent=str(asked) if asked else None,
        )
        line = f"[INFO] created by {by.name}"
        if retry_of is not None:
            line += f" to try {retry_of.task_id} again"
        return Wanted(
            task=logged(task, now, line),
            secrets=spec.secrets,
            retry_revision=retry_revision,
            reported=reported,
            only_while=tuple(only_while),
            also=tuple(also),
        )

    async def made_by(self, by: Actor, idempotency_key: str) -> Created | None:
        """The task that an earlier call of this actor with this key made."""
        known = await self._known(str(_task_id(by, idempotency_key)))
        return Created(known, 0, replayed=True, warnings=self._warnings(known)) if known else None

    async def create(self, wanted: Wanted, by: Actor) -> Created:
        """Make one task.

        Raises:
            InvalidInput: the region is unknown or does not offer the OS.
            UnfinishedTask: the machine has a task under way, or another machine of this data
                center has one with the same MAC.
            NotFound: the machine, by its serial number or MAC, is another tenant's.
            Conflict: the same, where the provider's user asks; the key was used for something
                else, or the task to be tried again is not the machine's last.
            CasConflict: `retry_revision` or `only_while` does not hold.
            Unavailable: others change the machine all the time, or the store is away.
        """
        from_memory = self._fleet.connected and not wanted.only_while
        seen = self._remembered(wanted) if from_memory else None
        for _ in range(ATTEMPTS):
            seen = seen or await self._read(wanted)
            try:
                plan = await self._planned(wanted, seen, by)
            except (Conflict, CasConflict, NotFound):
                if seen.fresh:
                    raise
                seen = None
                continue
            if isinstance(plan, Created):
                return plan
            seen = None
            try:
                result = await self._store.txn(plan.compare, plan.operations)
            except Ambiguous:
                continue
            if result.succeeded:
                return plan.made(result.revision)
            if wanted.only_while:
                raise CasConflict("the machine, or what this task depends on, has changed")
        raise Unavailable(f"machine {wanted.task.sn} is being changed by others; try again")

    async def create_many(self, batch: Sequence[Wanted], by: Actor) -> list[Created | LpmosError]:
        """Make up to `BATCH` tasks of different machines and MACs; for each what `create` gives.

        As many as can be are made in one transaction; what conflicts in it is tried by itself.
        """
        found: dict[str, Created | LpmosError] = {}
        left = list(batch)
        for fresh in (False, True):
            plans, others = await self._plan_many(left, by, fresh=fresh)
            made = await self._write(plans)
            final = {name: each for name, each in others.items() if fresh or _is_made(each)}
            found |= made | final
            left = [each for each in left if each.task.task_id not in found]
        for wanted in left:
            found[wanted.task.task_id] = await self._attempt(wanted, by)
        return [found[wanted.task.task_id] for wanted in batch]

    async def check_many(
        self, batch: Sequence[Wanted], by: Actor
    ) -> list[Created | LpmosError | Possible]:
        """What would come of `create_many`, with nothing written."""
        plans, others = await self._plan_many(batch, by, fresh=True)
        free = {plan.wanted.task.task_id: Possible(plan.warnings) for plan in plans}
        found: dict[str, Created | LpmosError | Possible] = {**others, **free}
        return [found[wanted.task.task_id] for wanted in batch]

    async def _attempt(self, wanted: Wanted, by: Actor) -> Created | LpmosError:
        try:
            return await self.create(wanted, by)
        except LpmosError as error:
            return error

    async def _plan_many(
        self, batch: Sequence[Wanted], by: Actor, *, fresh: bool
    ) -> tuple[list[Plan], dict[str, Created | LpmosError]]:
        """Those that can be made, and for the others by task id why not, or what is there."""
        if not batch:
            return [], {}
        try:
            seen = await self._look(batch, fresh=fresh)
        except StoreError as error:
            return [], {wanted.task.task_id: error for wanted in batch}
        plans: list[Plan] = []
        others: dict[str, Created | LpmosError] = {}
        for wanted, each in zip(batch, seen, strict=True):
            try:
                plan = await self._planned(wanted, each, by)
            except LpmosError as error:
                others[wanted.task.task_id] = error
                continue
            if isinstance(plan, Created):
                others[wanted.task.task_id] = plan
            else:
                plans.append(plan)
        return plans, others

    async def _look(self, batch: Sequence[Wanted], *, fresh: bool) -> list[Seen]:
        if fresh:
            return await self._read_many(batch)
        return [self._remembered(wanted) for wanted in batch]

    async def _write(self, plans: Sequence[Plan]) -> dict[str, Created | LpmosError]:
        """The tasks that could be made together, by id."""
        made: dict[str, Created | LpmosError] = {}
        for group in packed(plans):
            compare = [each for plan in group for each in plan.compare]
            operations = [each for plan in group for each in plan.operations]
            try:
                result = await self._store.txn(compare, operations)
            except StoreError:
                continue  # each is looked at again, and found if it was made
            if result.succeeded:
                made |= {plan.task.task_id: plan.made(result.revision) for plan in group}
        return made

    def _remembered(self, wanted: Wanted) -> Seen:
        machine_task, mac, meta, place = map(self._fleet.stored, looked_at(wanted))
        return Seen(machine_task, mac, meta, place, fresh=False)

    async def _read(self, wanted: Wanted) -> Seen:
        (seen,) = await self._read_many([wanted])
        return seen

    async def _read_many(self, batch: Sequence[Wanted]) -> list[Seen]:
        gets = [Get(key) for wanted in batch for key in looked_at(wanted)]
        results = (await self._store.txn([], gets)).results
        values = map(_first, results)
        by_task = zip(values, values, values, values, strict=True)
        return [Seen(*each, fresh=True) for each in by_task]

    async def _planned(self, wanted: Wanted, seen: Seen, by: Actor) -> Plan | Created:
        """What to write for a task; or the one that an earlier call with its key made."""
        task = wanted.task
        if seen.place is not None and (known := await self._known(task.task_id)):
            return self._same(known, wanted)
        earlier = records.decode(seen.machine_task, Task) if seen.machine_task else None
        if earlier and earlier.task_id == task.task_id:  # a try whose answer was lost
            return self._same(earlier, wanted)
        machine = records.decode(seen.meta, Machine) if seen.meta else None
        capabilities = self._check_offered(task)
        check_retried(task, earlier)
        if task.retry_of and seen.machine_task and records.has_unknown(seen.machine_task, Task):
            raise Conflict(
                f"task {task.retry_of} was made by a newer version of LPMOS and asks for something"
                " that this one does not know: try it again there"
            )
        check_revision(wanted, seen)
        check_owner(task, machine, earlier, by.tenant)
        check_free(task, earlier)
        await self._check_mac(task, seen, by)
        if machine is not None and task.tenant is None:
            task = msgspec.structs.replace(task, tenant=machine.tenant)
        compare = (
            *unchanged(wanted, seen),
            Compare(keys.task_place(task.task_id), "create", "=", 0),
            *wanted.only_while,
        )
        operations = await self._operations(task, seen.machine_task, by)
        sealed = self._sealed(task, wanted.secrets)
        inventory = wanted.reported or (machine.inventory if machine else None)
        return Plan(
            wanted,
            task,
            compare,
            (*operations, *sealed, *wanted.also),
            warnings(task, capabilities, inventory),
        )

    def _same(self, known: Task, wanted: Wanted) -> Created:
        """The task that an earlier call with the same idempotency key made, or an earlier try."""
        check_same(known, wanted.task)
        replayed = known.created_at != wanted.task.created_at
        return Created(known, 0, replayed, self._warnings(known, wanted.reported))

    def _warnings(self, task: Task, reported: Inventory | None = None) -> tuple[FieldProblem, ...]:
        """What speaks against a task that was made before, as long as it is not finished."""
        if task.finished:
            return ()
        machine = self._fleet.machine(task.idc, task.sn)
        inventory = reported or (machine.inventory if machine else None)
        return warnings(task, self._fleet.region(task.idc).capabilities, inventory)

    def _sealed(self, task: Task, secrets: TaskSecrets | None) -> list[Operation]:
        """What makes the machine's sealed part that of this task; None: it is already."""
        key = keys.task_secrets(task.idc, task.sn)
        if secrets is None:
            return []
        if task.has_secrets:
            if self._secrets is None:
                raise UnknownKey("there is no key to seal the task's secrets with")
            return [put_sealed(key, secrets, self._secrets)]
        return [Delete(key)] if self._fleet.stored(key) else []

    async def _known(self, task_id: str) -> Task | None:
        known = self._fleet.task(task_id)
        if known is None and (stored := await self._tasks.stored(task_id)):
            known = stored.task
        return known

    def _check_offered(self, task: Task) -> Capabilities | None:
        capabilities = self._fleet.region(task.idc).capabilities
        if capabilities is None and not self._fleet.connected:
            raise Unavailable("the store is away and the regions are not known here yet")
        check_offered(task, capabilities, self._fleet.regions)
        return capabilities

    async def _check_mac(self, task: Task, seen: Seen, by: Actor) -> None:
        """No machine of others has this MAC, and no other machine an unfinished task with it."""
        holders = {self._fleet.place_of_mac(task.idc, task.mac)}
        if seen.mac is not None:
            holder = records.decode(seen.mac, TaskPlace)
            holders.add((holder.idc, holder.sn))
        for place in holders - {None, (task.idc, task.sn)}:
            if place is None:
                continue
            machine, other = await self._holder(place, fresh=seen.fresh)
            check_nic(task, machine, other, by.tenant)
            check_other(task, other)

    async def _holder(
        self, place: tuple[str, str], *, fresh: bool
    ) -> tuple[Machine | None, Task | None]:
        """The record and the last task of another machine."""
        names = keys.meta(*place), keys.task(*place)
        if fresh:
            results = (await self._store.txn([], [Get(name) for name in names])).results
            meta, last = map(_first, results)
        else:
            meta, last = map(self._fleet.stored, names)
        return (
            records.decode(meta, Machine) if meta else None,
            records.decode(last, Task) if last else None,
        )

    async def _operations(self, task: Task, earlier: KV | None, by: Actor) -> Sequence[Operation]:
        entry = ServerEntry(
            sn=task.sn, status=task.status.value, mac=task.mac, added_at=task.created_at
        )
        place = records.encode(TaskPlace(idc=task.idc, sn=task.sn))
        operations: list[Operation] = [
            Put(keys.server(task.idc, task.sn), records.encode(entry)),
            Put(keys.task(task.idc, task.sn), records.encode(task)),
            Put(keys.task_place(task.task_id), place),
            Put(keys.mac_place(task.idc, task.mac), place),
            told_of_task(None, task, by),
        ]
        if earlier:
            past = records.decode(earlier, Task)
            _, kept = fitted(past, earlier.value, read=past)  # one of an earlier version is larger
            operations.append(Put(keys.history(task.idc, task.sn, past.task_id), kept))
            if len(self._fleet.tasks_of_machine(task.idc, task.sn)) >= HISTORY_LIMIT:
                operations += await self._beyond_limit(task)
        return operations

    async def _beyond_limit(self, task: Task) -> list[Operation]:
        """Deletes of the machine's oldest tasks, with their dead letters: nobody else would."""
        prefix = keys.history_prefix(task.idc, task.sn)
        page = await self._store.range(prefix, keys_only=True)
        oldest_first = sorted(page.kvs, key=lambda kv: kv.create_revision)
        beyond = oldest_first[: max(0, len(page.kvs) + 1 - HISTORY_LIMIT)]
        task_ids = [kv.key.removeprefix(prefix) for kv in beyond]
        places = [keys.task_place(task_id) for task_id in task_ids]
        letters = [keys.dead_letter(task.idc, task_id) for task_id in task_ids]
        return [Delete(key) for key in (*(kv.key for kv in beyond), *places, *letters)]


def _task_id(by: Actor, idempotency_key: str) -> uuid.UUID:
    """The id of the one task that an actor makes with a key."""
    return uuid.uuid5(IDEMPOTENCY, f"{by.tenant or ''}/{by.name}/{idempotency_key}")


def _is_made(found: Created | LpmosError) -> bool:
    return isinstance(found, Created)


def _first(result: int | tuple[KV, ...] | None) -> KV | None:
    """The key that a transaction's Get found."""
    return result[0] if isinstance(result, tuple) and result else None
