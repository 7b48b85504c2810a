"""What people and rules do: create a task, approve, reject, cancel, try again.

Each call names its actor. Whoever belongs to a tenant meets only that tenant's tasks: another's is
not there for it.
"""

import asyncio
import uuid
from collections.abc import Sequence

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.creation import Creation
from lpmos.core.creation_plan import Created
from lpmos.core.fleet import Fleet
from lpmos.core.freshness import Freshness
from lpmos.core.journal import told
from lpmos.core.secrets.box import SecretBox
from lpmos.core.taskrow import TaskRow, key_of
from lpmos.core.taskstore import Step, StoredTask, Superseded, TaskStore, logged, moved
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, Forbidden, ImpossibleTransition, NotFound
from lpmos.model.fingerprint import fingerprint
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Event, Status
from lpmos.model.newtask import ASKED, TaskSpec
from lpmos.model.task import Approval, Intent, Task
from lpmos.store import keys, records
from lpmos.store.api import (
    Ambiguous,
    CasConflict,
    Compare,
    Delete,
    NoSpace,
    Operation,
    Store,
    Unavailable,
)

READ_TIMEOUT_S = 1.0
"""How long a read of one task waits for the store before memory answers."""

RETRYABLE = frozenset({Status.FAILED, Status.CANCELLED, Status.REJECTED})


class Tasks:
    """The use cases of the control plane.

    With `second_person` nobody approves a task that they asked for themselves, by a rule or not.
    `secrets` seals what is secret in a new task.
    """

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        clock: Clock,
        *,
        second_person: bool = False,
        secrets: SecretBox | None = None,
    ) -> None:
        self._store = store
        self._changes = TaskStore(store)
        self._freshness = Freshness(store)
        self._creation = Creation(store, fleet, clock, secrets)
        self._fleet = fleet
        self._clock = clock
        self._second_person = second_person

    async def find(self, task_id: str, tenant: str | None = None) -> Task:
        """A present or past task; the store is asked for one that is not known here yet (F7).

        Raises:
            NotFound: there is none, or it is another tenant's.
            Unavailable: it is not known here, and the store is away or was not read yet.
        """
        task = self._fleet.task(task_id)
        if task is None:
            stored = await self._changes.stored(task_id)
            task = stored.task if stored else None
        if task is None and not self._fleet.listed:
            raise Unavailable("the store was not read yet; try again")
        if task is None or not sees(tenant, task.tenant):
            raise _no_task(task_id)
        return task

    async def read(self, task_id: str, tenant: str | None = None) -> StoredTask:
        """A present or past task as the store has it now, whoever changed it last (F7).

        Memory answers where the store is away, or slow; raises as `find`.
        """
        row = self._fleet.row(task_id)
        if row is None or not await self.is_current(row):
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    place = (row.idc, row.sn) if row else None
                    stored = await self._changes.stored(task_id, place)
            except (Unavailable, TimeoutError):
                if row is None:
                    raise Unavailable("the store is away and this task is not known here") from None
            else:
                if stored is None and not self._fleet.listed:
                    raise Unavailable("the store was not read yet; try again")
                if stored is None or not sees(tenant, stored.task.tenant):
                    raise _no_task(task_id)
                return stored
        task = await self.find(task_id, tenant)
        row = self._fleet.row(task_id)
        return StoredTask(task, self._fleet.revision(task), past=bool(row and row.past))

    async def is_current(self, row: TaskRow) -> bool:
        """Whether the store has a task as memory has it; memory counts where it is away, or slow.

        True holds for some moment since the call; false only says to read it from the store.
        """
        if not self._fleet.connected:
            return True
        try:
            return await self._freshness.holds(key_of(row), row.revision)
        except Unavailable:
            return True
        except (Ambiguous, NoSpace):  # of the writes that shared its commit
            return False

    async def create(
        self,
        spec: TaskSpec,
        *,
        by: Actor,
        idempotency_key: str | None = None,
        acting_for: str | None = None,
        only_while: Sequence[Compare] = (),
        also: Sequence[Operation] = (),
    ) -> Task:
        """Create a task and its server's entry in one transaction (S11).

        Args:
            spec: what shall be installed where.
            by: who asks.
            idempotency_key: the same actor's second call with it is answered by the first's task.
            acting_for: the person behind it, where a rule asks.
            only_while: what else must hold in the store, as a leadership's fence.
            also: operations of the same transaction.

        Raises:
            CasConflict: `only_while` may not hold.
            InvalidInput: the region is unknown or does not offer the OS.
            UnfinishedTask: the machine has a task under way, or another machine of this data
                center has one with the same MAC.
            NotFound: the machine is another tenant's; to the provider's users a Conflict says so.
            Conflict: the key was used for something else.
        """
        created = await self.create_once(
            spec,
            by=by,
            idempotency_key=idempotency_key,
            acting_for=acting_for,
            only_while=only_while,
            also=also,
        )
        return created.task

    async def create_once(
        self,
        spec: TaskSpec,
        *,
        by: Actor,
        idempotency_key: str | None = None,
        acting_for: str | None = None,
        reported: Inventory | None = None,
        only_while: Sequence[Compare] = (),
        also: Sequence[Operation] = (),
    ) -> Created:
        """As `create`, and whether an earlier call with the same key made the task.

        `reported` is the machine's hardware where it is newer than the machine's record.
        """
        wanted = self._creation.wanted(
            spec,
            by,
            idempotency_key=idempotency_key,
            acting_for=acting_for,
            reported=reported,
            only_while=only_while,
            also=also,
        )
        return await self._creation.create(wanted, by)

    async def retry(
        self,
        task_id: str,
        *,
        by: Actor,
        idempotency_key: str | None = None,
        at_revision: int | None = None,
        acting_for: str | None = None,
        only_while: Sequence[Compare] = (),
    ) -> Created:
        """A new task like one that failed, was rejected or cancelled; it needs a new approval.

        Where the old one was set aside (S9), it is so no more: that is the same transaction.
        `acting_for` and `only_while` are those of `create`.

        Raises:
            NotFound: no such task.
            ImpossibleTransition: it is not over, or it was completed.
            Conflict: its machine has another task since, or it asks for what only a newer version
                knows, which the new task would lack.
            CasConflict: it is not at `at_revision`, or `only_while` may not hold.
        """
        old = (await self.read(task_id, by.tenant)).task
        if old.status not in RETRYABLE:
            raise ImpossibleTransition(
                f"a task that is {old.status.value} cannot be tried again; possible for those that"
                " are failed, cancelled or rejected"
            )
        return await self._retry(
            old, by, idempotency_key, at_revision, acting_for=acting_for, only_while=only_while
        )

    async def requeue(
        self, task_id: str, *, by: Actor, idempotency_key: str | None = None
    ) -> Created:
        """Try a task again that was set aside (S9); raises as `retry`.

        Raises:
            NotFound: it is not set aside.
        """
        try:
            letter = await self.dead_letter(task_id, by.tenant)
        except NotFound:
            earlier = idempotency_key and await self._creation.made_by(by, idempotency_key)
            if earlier and earlier.task.retry_of == task_id:
                return earlier
            raise
        return await self._retry(letter.task, by, idempotency_key)

    async def dead_letter(self, task_id: str, tenant: str | None = None) -> StoredTask:
        """A failed task that was set aside (S9), as it was then.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        row = self._fleet.dead_letter(task_id)
        idc = row.idc if row else None
        if idc is None and (stored := await self._changes.stored(task_id)):
            idc = stored.task.idc
        kv = await self._store.get(keys.dead_letter(idc, task_id)) if idc else None
        task = records.decode(kv, Task) if kv else None
        if kv is None or task is None or not sees(tenant, task.tenant):
            raise NotFound(f"there is no task {task_id[:64]} in the dead-letter queue")
        return StoredTask(task, kv.mod_revision, past=True)

    async def dismiss(self, task_id: str, *, by: Actor, at_revision: int | None = None) -> int:
        """Take a task out of the dead-letter queue and leave it at that; the store's revision.

        Raises:
            NotFound: it is not there.
            CasConflict: it is not at `at_revision`, or was changed meanwhile.
        """
        letter = await self.dead_letter(task_id, by.tenant)
        if at_revision not in (None, letter.revision):
            raise CasConflict(f"it is at revision {letter.revision}, not {at_revision}")
        task = letter.task
        key = keys.dead_letter(task.idc, task_id)
        event = told(
            "dead_letter.dismissed",
            f"task/{task_id}",
            by,
            self._clock(),
            tenant=task.tenant,
            before={"error": task.error.reason if task.error else None},
        )
        compare = [Compare(key, "mod", "=", letter.revision)]
        result = await self._store.txn(compare, [Delete(key), event])
        if not result.succeeded:
            raise CasConflict("the dead letter has changed meanwhile")
        return result.revision

    async def approve(
        self,
        task_id: str,
        *,
        by: Actor,
        notes: str | None,
        plan_digest: str | None = None,
        hardware_fingerprint: str | None = None,
        at_revision: int | None = None,
        only_while: Sequence[Compare] = (),
    ) -> Task:
        """Allow one installation: a fresh, single-use intent.

        Args:
            task_id: the task.
            by: who decides.
            notes: for people.
            plan_digest: `DiskPlan.digest` of what the person saw; None takes the plan as it is.
            hardware_fingerprint: that of the hardware that the person saw; None takes it as it is.
            at_revision: the only revision of the task that may be approved; None: any.
            only_while: what else must hold in the store, as a leadership's fence.

        Raises:
            NotFound: no such task.
            ImpossibleTransition: it does not wait for approval.
            Conflict: the plan or the hardware is no longer the one that was seen.
            CasConflict: the task is not at `at_revision`, or `only_while` may not hold.
            Forbidden: who asked for it may not approve it.
        """
        now = self._clock()
        approval = Approval(
            approved=True, status="approved", approved_by=by.name, approved_at=now, notes=notes
        )
        intent = Intent(intent_id=str(uuid.uuid4()))

        def step(task: Task) -> Task:
            if task.intent and task.intent.intent_id == intent.intent_id:
                return task  # applied by a try whose answer was lost
            present = fingerprint(task.hardware) if task.hardware else None
            held = msgspec.structs.replace(approval, fingerprint=present)
            approved = moved(task, Event.APPROVE, now, approval=held, intent=intent)
            if self._second_person and by.name in (task.created_by, task.asked_by):
                raise Forbidden("another person than the one who asked for it must approve it")
            other_hardware = hardware_fingerprint not in (None, present)
            if other_hardware or plan_digest not in (None, task.plan_digest):
                raise Conflict("the hardware changed since you looked at it: look again")
            line = f"[INFO] approved by {by.name}" + (f": {notes}" if notes else "")
            return logged(approved, now, line)

        return await self._change(task_id, step, by, at_revision, only_while)

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
        self,
        task_id: str,
        step: Step,
        by: Actor,
        at_revision: int | None = None,
        only_while: Sequence[Compare] = (),
    ) -> Task:
        known = await self.find(task_id, by.tenant)
        try:
            return await self._changes.change(
                known, step, by=by, at_revision=at_revision, only_while=only_while
            )
        except Superseded:
            past = await self._changes.past(known)
            if past is not None and step(past) is past:  # a past task can only stay as it is
                return past
            raise

    async def _retry(
        self,
        old: Task,
        by: Actor,
        idempotency_key: str | None,
        at_revision: int | None = None,
        *,
        acting_for: str | None = None,
        only_while: Sequence[Compare] = (),
    ) -> Created:
        values = {name: getattr(old, name) for name in ASKED}
        wanted = self._creation.wanted(
            TaskSpec(**values, secrets=None),
            by,
            idempotency_key=idempotency_key,
            retry_of=old,
            retry_revision=at_revision,
            acting_for=acting_for,
            only_while=only_while,
            also=[Delete(keys.dead_letter(old.idc, old.task_id))],
        )
        return await self._creation.create(wanted, by)


def _no_task(task_id: str) -> NotFound:
    return NotFound(f"there is no task {task_id[:64]}")
