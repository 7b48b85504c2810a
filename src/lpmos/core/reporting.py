"""What a hardware report does to its task, its machine, and the reports without a task.

The rule: what was approved is one machine's hardware. A report of another machine changes nothing
of the task and is kept for people; one of the same machine with other hardware takes the approval
back, so that nothing is written that nobody has seen.
"""

from datetime import datetime

import msgspec

from lpmos.core.agentrun import AgentRun, NoTask, agent_of, ended, prepared, restarted
from lpmos.core.claim import claimed_by
from lpmos.core.clock import Clock
from lpmos.core.evidence import Seen, with_boot
from lpmos.core.fleet import Fleet
from lpmos.core.handin import handing_in
from lpmos.core.journal import put
from lpmos.core.taskstore import RecordStep, Superseded, TaskStore, logged, moved
from lpmos.core.unmatched import UnmatchedReports
from lpmos.model.audit import AuditEvent, new_event_id
from lpmos.model.diskplan import plan_disk
from lpmos.model.errors import ForeignMachine, NoSuitableDisk
from lpmos.model.fingerprint import cards_of, fingerprint, fingerprint_changes, identity_of
from lpmos.model.inventory import Inventory
from lpmos.model.jobplan import plan_job
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import Machine, with_tags
from lpmos.model.task import Task, TaskError
from lpmos.store.api import Put, Store, Unavailable

REASON_CHARACTERS = 2_000
FOREIGN_MACHINE = "task.foreign_machine"
"""The audit event of a report that was refused for it."""


class Reporting:
    """Takes the reports of one region's machines."""

    def __init__(
        self,
        store: Store,
        changes: TaskStore,
        fleet: Fleet,
        clock: Clock,
        *,
        idc: str,
        seen: Seen,
    ) -> None:
        """`seen` is what the region sees of machines' boots."""
        self._changes = changes
        self._fleet = fleet
        self._clock = clock
        self._idc = idc
        self._seen = seen
        self._unmatched = UnmatchedReports(store, clock, idc)

    async def take(
        self,
        run: AgentRun,
        sn: str | None,
        task: Task | None,
        inventory: Inventory,
        required_bytes: int,
        *,
        whole_image: bool = False,
        sector_bytes: int | None = None,
        follows: str | None,
    ) -> Task:
        """See `Agents.report`; `task` is the machine's, as far as it is known here."""
        macs = macs_of(run, inventory)
        if task is not None and _is_over(task, run):
            task = None
        if task is None or task.mac not in macs:
            await self._unmatched.keep(run.mac, sn, inventory)
            raise NoTask(_no_task_text(task, run, self._idc))
        known = self._fleet.machine(task.idc, task.sn)

        def step(now: Task) -> Task:
            check_same_machine(now, run.mac, inventory)
            if now.finished:
                return now
            if now.status is Status.INSTALLING:
                return self._while_installing(now, run, inventory.bounded())
            if _is_late(now, run, follows):
                return now
            after = self._reported(
                now,
                run,
                inventory,
                required_bytes,
                whole_image=whole_image,
                sector_bytes=sector_bytes,
            )
            return _told_of_replacement(after, now, known, inventory, self._clock())

        def machine(now: Task) -> RecordStep:
            return lambda known: _machine(now, known, inventory, macs, self._clock())

        try:
            task = await self._changes.change(task, step, by=agent_of(run.mac), machine=machine)
        except Superseded as error:
            raise Unavailable(f"{error}; report again") from error
        except ForeignMachine as error:
            await self._keep_foreign(run, sn, task, inventory, error)
            raise
        await self._unmatched.forget(macs, inventory)
        return task

    async def _keep_foreign(
        self, run: AgentRun, sn: str | None, task: Task, inventory: Inventory, error: ForeignMachine
    ) -> None:
        """Show the other machine: its report, a line in the task, and the event, all or none."""

        async def write(report: Put) -> None:
            now = self._clock()
            told = put(_foreign_event(task, run, error, now))
            line = f"[WARN] another machine reported with {run.mac}: other {error.what}; refused"
            await self._changes.change(
                task,
                lambda present: logged(present, now, line),
                by=agent_of(run.mac),
                also=[report, told],
            )

        try:
            await self._unmatched.keep(
                run.mac, sn, inventory, error=str(error), same_mac_as=task.sn, write=write
            )
        except Superseded as superseded:
            raise Unavailable(f"{superseded}; report again") from superseded

    def _reported(
        self,
        task: Task,
        run: AgentRun,
        inventory: Inventory,
        required_bytes: int,
        *,
        whole_image: bool,
        sector_bytes: int | None,
    ) -> Task:
        said = self._clock()
        # Said to a region without the store, it may be of before the task was as it is now.
        now = max(said, task.since) if handing_in.get() else said
        if task.status is Status.PENDING:
            task = prepared(task, now)
        if task.reported_by != run.agent_id:  # it says the same of its boot each time
            task = with_boot(task, self._seen(task.mac), said)
        bounded = inventory.bounded()
        seen: dict[str, object] = {
            "hardware": bounded,
            "reported_by": run.agent_id,
            "reported_at": said,
        }
        if task.status is Status.APPROVED and _is_as_approved(task, bounded):
            return moved(task, Event.HARDWARE_REPORTED, now, **seen)
        withdrawn = task.status is Status.APPROVED
        try:
            plan: dict[str, object]
            if task.job is not None:
                plan = {"job_plan": plan_job(inventory, task.job)}
            else:
                wishes = task.disk_layout, task.root_disk
                needs = required_bytes, whole_image
                made = plan_disk(inventory, *wishes, *needs, sector_bytes=sector_bytes)
                plan = {"plan": made}
        except NoSuitableDisk as error:
            task = msgspec.structs.replace(task, **seen)
            hint = "set root_disk in a new task, or give the machine another disk"
            if task.job is not None:
                hint = "name other disks in a new task; the machine's hardware lists them"
            reason = str(error)[:REASON_CHARACTERS]  # it says of each disk why not
            return ended(task, TaskError(reason=reason, hint=hint), now)
        if withdrawn:
            task = _withdrawn(task, bounded, now)
        else:
            task = moved(task, Event.HARDWARE_REPORTED, now)
        task = msgspec.structs.replace(task, **plan, **seen)
        return logged(task, now, f"[INFO] hardware reported; will write {_written(task)}")

    def _while_installing(self, task: Task, run: AgentRun, seen: Inventory) -> Task:
        if task.starts_its_system:  # its disk is whole; the region tells this run to stop
            return task
        # A run that is known by its MAC alone cannot be told from the same machine after a reboot.
        if claimed_by(task) == run.agent_id != run.mac:
            return task if task.job is None else _looked_again(task, seen, self._clock())
        return restarted(task, self._clock())


def _is_over(task: Task, run: AgentRun) -> bool:
    """Whether the machine had been given back before this run began: it is no task of this run.

    After a job, and after a roll-back, a machine is what it was before; one without a system waits
    for its next task.
    """
    own = run.agent_id in (claimed_by(task), task.reported_by)
    given_back = task.job is not None or task.rolled_back is not None
    return task.finished and given_back and not own


def _looked_again(task: Task, seen: Inventory, now: datetime) -> Task:
    """The job whose run reports in the middle of it; its approval was used with its claim."""
    changes = fingerprint_changes(task.hardware, seen) if task.hardware else ""
    task = msgspec.structs.replace(task, hardware=seen, reported_at=now, updated_at=now)
    return logged(task, now, f"[INFO] hardware reported again: {changes or 'as it was reported'}")


def _written(task: Task) -> str:
    """The disks that the task's plan writes to."""
    disks = task.plan.disks if task.plan else task.job_plan.written if task.job_plan else ()
    return ", ".join(disk.device for disk in disks) or "no disk"


def check_same_machine(task: Task, mac: str, inventory: Inventory) -> None:
    """A task belongs to the machine that reported for it first, and to the cards that it had.

    Who calls by another card may name the machine's serial number and cards all the same, and say
    nothing of itself: its own MAC is all that the region knows for certain.

    Raises:
        ForeignMachine: the inventory is another machine's, by what both know of themselves, or it
            was sent by a card that the machine did not have.
    """
    if task.hardware is None:
        return
    if not task.finished and mac not in (task.mac, *cards_of(task.hardware)):
        raise ForeignMachine(
            f"MAC {mac} is of no card that machine {task.sn} had when it reported for task"
            f" {task.task_id}; where a card was replaced, cancel the task and create a new one",
            what="network interface",
        )
    differences = identity_of(task.hardware).differences(identity_of(inventory))
    if differences:
        said = ", ".join(f"its {d.what} is {d.theirs}, not {d.ours}" for d in differences)
        raise ForeignMachine(
            f"MAC {mac} belongs to machine {task.sn} with task {task.task_id}, and this is another"
            f" machine: {said}",
            what=", ".join(d.what for d in differences),
        )


def macs_of(run: AgentRun, inventory: Inventory) -> tuple[str, ...]:
    """The machine's own MACs, normalised, the calling one first."""
    return tuple(dict.fromkeys((run.mac, *cards_of(inventory))))


def _is_late(task: Task, run: AgentRun, follows: str | None) -> bool:
    """Whether this word was kept, and another run has reported since it was said.

    The run that it follows has not, whatever the clocks say: one may have been set.
    """
    word = handing_in.get()
    if word is None or task.reported_by in (None, run.agent_id, follows):
        return False
    return task.reported_at is not None and task.reported_at > word.at


def _is_as_approved(task: Task, bounded: Inventory) -> bool:
    approved = task.approval.fingerprint if task.approval else None
    if approved is None and task.hardware is not None:  # approved by an earlier version
        approved = fingerprint(task.hardware)
    return approved == fingerprint(bounded)


def _withdrawn(task: Task, inventory: Inventory, now: datetime) -> Task:
    """The approved task whose hardware is another now: it waits for a decision once more."""
    changes = fingerprint_changes(task.hardware, inventory) if task.hardware else ""
    reason = f"the hardware is not what was approved: {changes or 'it was changed'}"
    task = moved(task, Event.HARDWARE_CHANGED, now, approval=None, intent=None)
    newest = msgspec.structs.replace(task.status_history[-1], reason=reason)
    task = msgspec.structs.replace(task, status_history=(*task.status_history[:-1], newest))
    return logged(task, now, f"[WARN] the approval is withdrawn: {reason}")


def _told_of_replacement(
    after: Task, before: Task, known: Machine | None, inventory: Inventory, now: datetime
) -> Task:
    """With its first report, the task says so where its machine was another until now."""
    if before.hardware is not None or known is None or known.inventory is None:
        return after
    differences = identity_of(known.inventory).differences(identity_of(inventory))
    said = ", ".join(f"its {d.what} was {d.ours} and is {d.theirs}" for d in differences)
    line = f"[WARN] this is not the machine that was known as {after.sn}: {said}"
    return logged(after, now, line) if differences else after


def _foreign_event(task: Task, run: AgentRun, error: ForeignMachine, now: datetime) -> AuditEvent:
    return AuditEvent(
        event_id=new_event_id(now),
        at=now,
        action=FOREIGN_MACHINE,
        actor=agent_of(run.mac),
        target=f"task/{task.task_id}",
        tenant=task.tenant,
        idc=task.idc,
        sn=task.sn,
        after={"mac": run.mac, "differs": error.what},
        reason=f"another machine reported with this machine's MAC: other {error.what}",
    )


def _machine(
    task: Task,
    known: Machine | None,
    inventory: Inventory,
    macs: tuple[str, ...],
    now: datetime,
) -> Machine:
    """The machine's record after a report; what people changed in it stays."""
    whole = known or Machine(
        idc=task.idc,
        sn=task.sn,
        macs=macs,
        tenant=task.tenant,
        first_seen_at=now,
        updated_at=now,
    )
    tags = whole.tags
    if whole.tagged_by != task.task_id:
        tags = with_tags(tags, task.tags)
    return msgspec.structs.replace(
        whole,
        macs=macs,
        inventory=inventory.bounded(),
        bmc_address=inventory.bmc_address,
        tags=tags,
        tagged_by=task.task_id,
        reported_at=now,
        updated_at=now,
    )


def _no_task_text(task: Task | None, run: AgentRun, idc: str) -> str:
    if task is None:
        return f"no task for {run.mac} in {idc}; create one for this MAC"
    return (
        f"task {task.task_id} is for serial number {task.sn} with MAC {task.mac}, and this machine"
        f" ({run.mac}) has that number but not that MAC"
    )
