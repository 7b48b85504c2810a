"""What people and rules do: create a task, approve, reject, cancel, try again.

Each call names its actor. Whoever belongs to a tenant meets only that tenant's tasks: another's is
not there for it.
"""

import asyncio
import uuid
from collections.abc import Sequence

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.journal import told_of_task
from lpmos.core.taskstore import Step, Superseded, TaskStore, logged, moved
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidInput,
    NotFound,
    UnfinishedTask,
)
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Approval, Intent, StatusChange, Task, TaskPlace, TaskSpec
from lpmos.store import keys, records
from lpmos.store.api import KV, Ambiguous, Compare, Delete, Operation, Put, Store, Unavailable

HISTORY_LIMIT = 20
"""How many finished tasks are kept for each machine (S5)."""

ATTEMPTS = 10
IDEMPOTENCY = uuid.UUID("6d2c1c9c-5c0e-4f0a-9a55-6c706d6f7331")
"""The name space of the ids of tasks that were made with an idempotency key."""


class Tasks:
    """The use cases of the control plane.

    With `second_person` nobody approves a task that they created themselves.
    """

    def __init__(
        self, store: Store, fleet: Fleet, clock: Clock, *, second_person: bool = False
    ) -> None:
        self._store = store
        self._changes = TaskStore(store)
        self._fleet = fleet
        self._clock = clock
        self._second_person = second_person

    async def find(self, task_id: str, tenant: str | None = None) -> Task:
        """A present or past task; the store is asked for one that is not known here yet (F7).

        Raises:
            NotFound: there is none, or it is another tenant's.
            Unavailable: it is not known here, and the store is away or was not read yet.
        """
        task = self._fleet.task(task_id) or await self._stored(task_id)
        if task is None and not self._fleet.listed:
            raise Unavailable("the store was not read yet; try again")
        if task is None or not sees(tenant, task.tenant):
            raise NotFound(f"there is no task {task_id[:64]}")
        return task

    async def create(
        self,
        spec: TaskSpec,
        *,
        by: Actor,
        idempotency_key: str | None = None,
        retry_of: Task | None = None,
    ) -> Task:
        """Create a task and its server's entry in one transaction (S11).

        Args:
            spec: what shall be installed where.
            by: who asks.
            idempotency_key: the same actor's second call with it is answered by the first's task.
            retry_of: the finished task that this one tries again.

        Raises:
            InvalidInput: the region is unknown or does not offer the OS.
            UnfinishedTask: the machine has a task under way, or another machine of this data
                center has one with the same MAC.
            Conflict: the machine is another tenant's, or the key was used for something else.
        """
        task = _new_task(spec, by, self._clock, idempotency_key, retry_of)
        if idempotency_key is not None and (known := await self._stored(task.task_id)):
            return _same(known, spec)
        self._check_offered(spec)
        self._check_mac_is_free(spec)
        for _ in range(ATTEMPTS):
            machine_kv, mac_kv = await self._present(spec)
            earlier = records.decode(machine_kv, Task) if machine_kv else None
            if earlier and earlier.task_id == task.task_id:  # a try whose answer was lost
                return _same(earlier, spec)
            self._check_free(spec, earlier)
            await self._check_mac_holder(spec, mac_kv)
            compare = [
                Compare(keys.task(spec.idc, spec.sn), "mod", "=", _revision(machine_kv)),
                Compare(keys.mac_place(spec.idc, spec.mac), "mod", "=", _revision(mac_kv)),
                Compare(keys.task_place(task.task_id), "create", "=", 0),
            ]
            try:
                result = await self._store.txn(compare, await self._creation(task, earlier, by))
            except Ambiguous:
                continue
            if result.succeeded:
                return task
            if idempotency_key is not None and (known := await self._stored(task.task_id)):
                return _same(known, spec)
        raise Unavailable(f"machine {spec.sn} is being changed by others; try again")

    async def approve(
        self,
        task_id: str,
        *,
        by: Actor,
        notes: str | None,
        plan_digest: str | None = None,
        at_revision: int | None = None,
    ) -> Task:
        """Allow one installation: a fresh, single-use intent.

        Args:
            task_id: the task.
            by: who decides.
            notes: for people.
            plan_digest: `DiskPlan.digest` of what the person saw; None takes the plan as it is.
            at_revision: the only revision of the task that may be approved; None: any.

        Raises:
            NotFound: no such task.
            ImpossibleTransition: it does not wait for approval.
            Conflict: the plan is no longer the one that was seen.
            CasConflict: the task is not at `at_revision`.
            Forbidden: who created it may not approve it.
        """
        now = self._clock()
        approval = Approval(
            approved=True, status="approved", approved_by=by.name, approved_at=now, notes=notes
        )
        intent = Intent(intent_id=str(uuid.uuid4()))

        def step(task: Task) -> Task:
            if task.intent and task.intent.intent_id == intent.intent_id:
                return task  # applied by a try whose answer was lost
            approved = moved(task, Event.APPROVE, now, approval=approval, intent=intent)
            if self._second_person and task.created_by == by.name:
                raise Forbidden("another person than the one who created it must approve it")
            if plan_digest and (task.plan is None or task.plan.digest != plan_digest):
                raise Conflict("the hardware changed since you looked at it: look again")
            line = f"[INFO] approved by {by.name}" + (f": {notes}" if notes else "")
            return logged(approved, now, line)

        return await self._change(task_id, step, by, at_revision)

    async def reject(
        self, task_id: str, *, by: Actor, reason: str, at_revision: int | None = None
    ) -> Task:
        """Refuse the installation; raises as `approve`."""
        now = self._clock()
        approval = Approval(
            approved=False, status="rejected", rejected_by=by.name, rejected_at=now, reason=reason
        )

        def step(task: Task) -> Task:
            if task.approval == approval:
                return task  # applied by a try whose answer was lost
            task = moved(task, Event.REJECT, now, approval=approval)
            return logged(task, now, f"[INFO] rejected by {by.name}: {reason}")

        return await self._change(task_id, step, by, at_revision)

    async def cancel(self, task_id: str, *, by: Actor, at_revision: int | None = None) -> Task:
        """Stop the task in whatever state it is (L7); a task that is cancelled already stays so.

        Raises:
            NotFound: no such task.
            ImpossibleTransition: it is finished otherwise.
            CasConflict: the task is not at `at_revision`.
        """
        now = self._clock()

        def step(task: Task) -> Task:
            if task.status is Status.CANCELLED:
                return task
            cancelled = moved(task, Event.CANCEL, now, intent=None)
            return logged(cancelled, now, f"[WARN] cancelled by {by.name}")

        return await self._change(task_id, step, by, at_revision)

    async def _change(
        self, task_id: str, step: Step, by: Actor, at_revision: int | None = None
    ) -> Task:
        known = await self.find(task_id, by.tenant)
        try:
            return await self._changes.change(known, step, by=by, at_revision=at_revision)
        except Superseded:
            past = await self._changes.past(known)
            if past is not None and step(past) is past:  # a past task can only stay as it is
                return past
            raise

    async def _stored(self, task_id: str) -> Task | None:
        """The task as the store has it, found by its place."""
        kv = await self._store.get(keys.task_place(task_id))
        if kv is None:
            return None
        place = records.decode(kv, TaskPlace)
        kv = await self._store.get(keys.task(place.idc, place.sn))
        task = records.decode(kv, Task) if kv else None
        if task is None or task.task_id != task_id:
            kv = await self._store.get(keys.history(place.idc, place.sn, task_id))
            task = records.decode(kv, Task) if kv else None
        return task

    async def _present(self, spec: TaskSpec) -> tuple[KV | None, KV | None]:
        """The machine's task and the holder of the MAC, read at once."""
        return await asyncio.gather(
            self._store.get(keys.task(spec.idc, spec.sn)),
            self._store.get(keys.mac_place(spec.idc, spec.mac)),
        )

    def _check_offered(self, spec: TaskSpec) -> None:
        known = [region.idc for region in self._fleet.regions() if region.capabilities]
        capabilities = self._fleet.region(spec.idc).capabilities
        if capabilities is None and not self._fleet.connected:
            raise Unavailable("the store is away and the regions are not known here yet")
        if capabilities is None:
            raise InvalidInput(
                FieldProblem(
                    "idc", f"no region {spec.idc!r}; known: {', '.join(known) or 'none yet'}"
                )
            )
        offered = [(each.os_type, each.os_version) for each in capabilities.offered]
        if (spec.os_type, spec.os_version) in offered:
            return
        names = ", ".join(" ".join(pair) for pair in offered) or "nothing yet: build an image"
        types = {os_type for os_type, _ in offered}
        field = "os_version" if spec.os_type in types else "os_type"
        raise InvalidInput(
            FieldProblem(
                field,
                f"{spec.idc} does not offer {spec.os_type} {spec.os_version}; it has: {names}",
            )
        )

    def _check_free(self, spec: TaskSpec, earlier: Task | None) -> None:
        """The machine is the tenant's, and has nothing under way."""
        machine = self._fleet.machine(spec.idc, spec.sn)
        owners = {each.tenant for each in (machine, earlier) if each is not None}
        if any(not sees(spec.tenant, owner) for owner in owners):
            raise Conflict(f"machine {spec.sn} of {spec.idc} does not belong to {spec.tenant}")
        if earlier and not earlier.finished:
            raise UnfinishedTask(
                f"machine {spec.sn} has task {earlier.task_id}, which is"
                f" {earlier.status.value}; cancel it first"
            )

    def _check_mac_is_free(self, spec: TaskSpec) -> None:
        other = self._fleet.task_by_mac(spec.idc, spec.mac)
        if other and other.sn != spec.sn and not other.finished:
            raise _mac_taken(spec, other)

    async def _check_mac_holder(self, spec: TaskSpec, holder: KV | None) -> None:
        """As `_check_mac_is_free`, by what the store has: two creations at once meet here."""
        if holder is None or (sn := records.decode(holder, TaskPlace).sn) == spec.sn:
            return
        kv = await self._store.get(keys.task(spec.idc, sn))
        other = records.decode(kv, Task) if kv else None
        if other and other.mac == spec.mac and not other.finished:
            raise _mac_taken(spec, other)

    async def _creation(self, task: Task, earlier: Task | None, by: Actor) -> Sequence[Operation]:
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
            key = keys.history(task.idc, task.sn, earlier.task_id)
            operations.append(Put(key, records.encode(earlier)))
            operations += await self._beyond_limit(task)
        return operations

    async def _beyond_limit(self, task: Task) -> list[Operation]:
        prefix = keys.history_prefix(task.idc, task.sn)
        page = await self._store.range(prefix, keys_only=True)
        oldest_first = sorted(page.kvs, key=lambda kv: kv.create_revision)
        beyond = oldest_first[: max(0, len(page.kvs) + 1 - HISTORY_LIMIT)]
        places = [keys.task_place(kv.key.removeprefix(prefix)) for kv in beyond]
        return [Delete(key) for key in (*(kv.key for kv in beyond), *places)]


def _new_task(
    spec: TaskSpec, by: Actor, clock: Clock, idempotency_key: str | None, retry_of: Task | None
) -> Task:
    now = clock()
    name = f"{by.tenant or ''}/{by.name}/{idempotency_key}"
    task_id = uuid.uuid4() if idempotency_key is None else uuid.uuid5(IDEMPOTENCY, name)
    task = Task(
        task_id=str(task_id),
        **msgspec.structs.asdict(spec),
        attempt=retry_of.attempt + 1 if retry_of else 1,
        retry_of=retry_of.task_id if retry_of else None,
        status=Status.PENDING,
        status_history=(StatusChange(status=Status.PENDING, timestamp=now),),
        created_at=now,
        updated_at=now,
        created_by=by.name,
    )
    return logged(task, now, f"[INFO] created by {by.name}")


def _same(known: Task, spec: TaskSpec) -> Task:
    """The task that an earlier call with the same idempotency key made.

    Raises:
        Conflict: that call asked for something else.
    """
    names = TaskSpec.__struct_fields__
    differing = [name for name in names if getattr(known, name) != getattr(spec, name)]
    if differing:
        raise Conflict(
            f"this idempotency key made task {known.task_id}, which differs in"
            f" {', '.join(differing)}; use a new key"
        )
    return known


def _mac_taken(spec: TaskSpec, other: Task) -> UnfinishedTask:
    if not sees(spec.tenant, other.tenant):
        return UnfinishedTask(f"MAC {spec.mac} belongs to another machine's task")
    return UnfinishedTask(
        f"MAC {spec.mac} belongs to machine {other.sn}, whose task {other.task_id} is"
        f" {other.status.value}"
    )


def _revision(kv: KV | None) -> int:
    return kv.mod_revision if kv else 0
