"""What people do: create a task, approve, reject, cancel."""

import uuid
from collections.abc import Sequence

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.taskstore import Step, Superseded, TaskStore, logged, moved
from lpmos.model.errors import (
    Conflict,
    FieldProblem,
    InvalidInput,
    NotFound,
    UnfinishedTask,
)
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Approval, Intent, StatusChange, Task, TaskSpec
from lpmos.store import keys, records
from lpmos.store.api import Ambiguous, Compare, Delete, Operation, Put, Store, Unavailable

HISTORY_LIMIT = 20
"""How many finished tasks are kept for each machine (S5)."""

ATTEMPTS = 10


class Tasks:
    """The use cases of the control plane."""

    def __init__(self, store: Store, fleet: Fleet, clock: Clock) -> None:
        self._store = store
        self._changes = TaskStore(store)
        self._fleet = fleet
        self._clock = clock

    async def create(self, spec: TaskSpec, *, by: str) -> Task:
        """Create a task and its server's entry in one transaction (S11).

        Raises:
            InvalidInput: the region is unknown or does not offer the OS.
            UnfinishedTask: the machine has a task under way, or another machine of this data
                center has one with the same MAC.
        """
        self._check_offered(spec)
        self._check_mac_is_free(spec)
        task = _new_task(spec, by, self._clock)
        key = keys.task(spec.idc, spec.sn)
        for _ in range(ATTEMPTS):
            kv = await self._store.get(key)
            earlier = records.decode(kv, Task) if kv else None
            if earlier and earlier.task_id == task.task_id:  # a try whose answer was lost
                return earlier
            if earlier and not earlier.finished:
                raise UnfinishedTask(
                    f"machine {spec.sn} has task {earlier.task_id}, which is"
                    f" {earlier.status.value}; cancel it first"
                )
            compare = [Compare(key, "mod", "=", kv.mod_revision if kv else 0)]
            try:
                result = await self._store.txn(compare, await self._creation(task, earlier))
            except Ambiguous:
                continue
            if result.succeeded:
                return task
        raise Unavailable(f"machine {spec.sn} is being changed by others; try again")

    async def approve(
        self, task_id: str, *, by: str, notes: str | None, plan_digest: str | None = None
    ) -> Task:
        """Allow one installation: a fresh, single-use intent.

        Args:
            task_id: the task.
            by: who decides.
            notes: for people.
            plan_digest: `DiskPlan.digest` of what the person saw; None takes the plan as it is.

        Raises:
            NotFound: no such task.
            ImpossibleTransition: it does not wait for approval.
            Conflict: the plan is no longer the one that was seen.
        """
        now = self._clock()
        approval = Approval(
            approved=True, status="approved", approved_by=by, approved_at=now, notes=notes
        )
        intent = Intent(intent_id=str(uuid.uuid4()))

        def step(task: Task) -> Task:
            if task.intent and task.intent.intent_id == intent.intent_id:
                return task  # applied by a try whose answer was lost
            approved = moved(task, Event.APPROVE, now, approval=approval, intent=intent)
            if plan_digest and (task.plan is None or task.plan.digest != plan_digest):
                raise Conflict("the hardware changed since you looked at it: look again")
            task = approved
            return logged(task, now, f"[INFO] approved by {by}" + (f": {notes}" if notes else ""))

        return await self._change(task_id, step)

    async def reject(self, task_id: str, *, by: str, reason: str) -> Task:
        """Refuse the installation; raises as `approve`."""
        now = self._clock()
        approval = Approval(
            approved=False, status="rejected", rejected_by=by, rejected_at=now, reason=reason
        )

        def step(task: Task) -> Task:
            if task.approval == approval:
                return task  # applied by a try whose answer was lost
            task = moved(task, Event.REJECT, now, approval=approval)
            return logged(task, now, f"[INFO] rejected by {by}: {reason}")

        return await self._change(task_id, step)

    async def cancel(self, task_id: str, *, by: str) -> Task:
        """Stop the task in whatever state it is (L7); a task that is cancelled already stays so.

        Raises:
            NotFound: no such task.
            ImpossibleTransition: it is finished otherwise.
        """
        now = self._clock()

        def step(task: Task) -> Task:
            if task.status is Status.CANCELLED:
                return task
            return logged(
                moved(task, Event.CANCEL, now, intent=None), now, f"[WARN] cancelled by {by}"
            )

        return await self._change(task_id, step)

    async def _change(self, task_id: str, step: Step) -> Task:
        known = self._fleet.task(task_id)
        if known is None and not self._fleet.connected:
            raise Unavailable("the store is away and this task is not known here yet")
        if known is None:
            raise NotFound(f"there is no task {task_id[:64]}")
        try:
            return await self._changes.change(known, step)
        except Superseded:
            past = await self._changes.past(known)
            if past is not None and step(past) is past:  # a past task can only stay as it is
                return past
            raise

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

    def _check_mac_is_free(self, spec: TaskSpec) -> None:
        other = self._fleet.task_by_mac(spec.idc, spec.mac)
        if other and other.sn != spec.sn and not other.finished:
            raise UnfinishedTask(
                f"MAC {spec.mac} belongs to machine {other.sn}, whose task {other.task_id} is"
                f" {other.status.value}"
            )

    async def _creation(self, task: Task, earlier: Task | None) -> Sequence[Operation]:
        entry = ServerEntry(
            sn=task.sn, status=task.status.value, mac=task.mac, added_at=task.created_at
        )
        operations: list[Operation] = [
            Put(keys.server(task.idc, task.sn), records.encode(entry)),
            Put(keys.task(task.idc, task.sn), records.encode(task)),
        ]
        if earlier:
            place = keys.history(task.idc, task.sn, earlier.task_id)
            operations.append(Put(place, records.encode(earlier)))
            operations += await self._beyond_limit(task)
        return operations

    async def _beyond_limit(self, task: Task) -> list[Operation]:
        page = await self._store.range(keys.history_prefix(task.idc, task.sn), keys_only=True)
        oldest_first = sorted(page.kvs, key=lambda kv: kv.create_revision)
        return [Delete(kv.key) for kv in oldest_first[: max(0, len(page.kvs) + 1 - HISTORY_LIMIT)]]


def _new_task(spec: TaskSpec, by: str, clock: Clock) -> Task:
    now = clock()
    task = Task(
        task_id=str(uuid.uuid4()),
        **msgspec.structs.asdict(spec),
        status=Status.PENDING,
        status_history=(StatusChange(status=Status.PENDING, timestamp=now),),
        created_at=now,
        updated_at=now,
        created_by=by,
    )
    return logged(task, now, f"[INFO] created by {by}")
