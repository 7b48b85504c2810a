"""What a region does on behalf of its machines: boot, report, claim, progress, end.

Every call names the agent run that makes it. Whatever a machine sends is checked against the task
that is in the store at that moment; a machine never moves a task that is not its own.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.taskstore import MachineStep, Step, Superseded, TaskStore, logged, moved
from lpmos.core.unmatched import UnmatchedReports
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.bootplan import BootAgent, BootPlan, UnknownMachines, decide
from lpmos.model.diskplan import plan_disk
from lpmos.model.errors import ForeignClaim, InvalidInput, NoSuitableDisk, NotFound
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import Installed, Machine, parse_mac, with_tags
from lpmos.model.rollback import disk_of
from lpmos.model.task import Progress, Task, TaskError
from lpmos.model.waiting import MACHINE_RESTARTED
from lpmos.store.api import Store, Unavailable


class NoTask(NotFound):
    """The machine has no task; its report is kept where it made one."""

    code = "no-task"


class AgentRun(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a normalised MAC, and the run's id (the MAC itself for agents that send none)."""

    mac: str
    agent_id: str


class Agents:
    """The use cases of one region."""

    def __init__(
        self, store: Store, fleet: Fleet, clock: Clock, *, idc: str, unknown: UnknownMachines
    ) -> None:
        self._store = store
        self._changes = TaskStore(store)
        self._fleet = fleet
        self._clock = clock
        self._idc = idc
        self._unknown = unknown
        self._actor = Actor(name=f"region:{idc}")
        self._unmatched = UnmatchedReports(store, clock, idc)

    @property
    def discovers(self) -> bool:
        """Whether an agent without a task shall stay and go on asking."""
        return self._unknown is UnknownMachines.DISCOVER

    def find_task(self, mac: str, sn: str | None) -> Task | None:
        """The present task of a machine, by MAC, else by serial number; an unfinished one first.

        Raises:
            Unavailable: it is not known here and the store, which may know more, is away.
        """
        task = self._fleet.task_by_mac(self._idc, mac)
        if (task is None or task.finished) and sn:
            by_sn = self._fleet.current_task(self._idc, sn)
            if by_sn and (task is None or not by_sn.finished) and not self._is_others(mac, by_sn):
                task = by_sn
        if task is None and not self._fleet.connected:
            raise Unavailable("the store is away and this machine is not known here yet")
        return task

    def _is_others(self, mac: str, task: Task) -> bool:
        """Whether the machine with this MAC is known to be another tenant's than the task.

        Anybody can give a task any serial number; it must not keep another's machine from its disk.
        """
        machine = self._fleet.machine_by_mac(self._idc, mac)
        known = machine or self._fleet.task_by_mac(self._idc, mac)
        return known is not None and not sees(task.tenant, known.tenant)

    async def prepared(self, task: Task) -> Task:
        """The boot files are there: pending → ready. A task beyond that stays as it is.

        Raises:
            Superseded: the machine has another task.
        """

        def step(now: Task) -> Task:
            return self._prepared(now) if now.status is Status.PENDING else now

        return await self._changes.change(task, step, by=self._actor)

    async def fail(self, task: Task, error: TaskError) -> Task:
        """End the task for a reason of the region's; one that is installing or over stays as it is.

        Raises:
            Superseded: the machine has another task.
        """

        def step(now: Task) -> Task:
            if now.finished or now.status is Status.INSTALLING:
                return now
            return self._failed(now, error)

        return await self._changes.change(task, step, by=self._actor)

    async def boot(self, mac: str, sn: str | None) -> tuple[BootPlan, Task | None]:
        """Decide what a machine boots, and note in its task that it asked."""
        task = self.find_task(mac, sn)
        machine = self._fleet.machine_by_mac(self._idc, mac)
        if machine is None and sn:
            machine = self._fleet.machine(self._idc, sn)
        plan = decide(machine, task, self._unknown)
        if isinstance(plan, BootAgent) and task and task.status is Status.READY:
            try:
                task = await self.booted(mac, task)
            except Superseded as error:
                raise Unavailable(f"{error}; ask again") from error
        return plan, task

    async def booted(self, mac: str, task: Task) -> Task:
        """Note that the machine asked for its boot script: ready → booting, else as it is.

        Raises:
            Superseded: the machine has another task.
        """
        return await self._changes.change(task, self._boot_requested, by=_agent(mac))

    async def report(
        self, run: AgentRun, sn: str | None, inventory: Inventory, required_bytes: int
    ) -> Task:
        """Take a hardware report; the task is then waiting for approval, or failed.

        Args:
            run: the caller.
            sn: the serial number of the DMI tables.
            inventory: the hardware.
            required_bytes: what the task's image needs on the root file system.

        Raises:
            NoTask: there is none for this machine; the report was kept (S7).
        """
        task = self.find_task(run.mac, sn)
        macs = _macs(run, inventory)
        if task is None or task.mac not in macs:
            await self._unmatched.keep(run.mac, sn, inventory)
            raise NoTask(_no_task_text(task, run, self._idc))

        def step(now: Task) -> Task:
            if now.finished:
                return now
            if now.status is Status.INSTALLING:
                return self._reported_while_installing(now, run)
            return self._reported(now, inventory, required_bytes)

        def machine(now: Task, known: Machine | None) -> Machine:
            return self._reporting(now, known, inventory, macs)

        try:
            task = await self._changes.change(task, step, by=_agent(run.mac), machine=machine)
        except Superseded as error:
            raise Unavailable(f"{error}; report again") from error
        await self._unmatched.forget(run.mac)
        return task

    async def claim(self, run: AgentRun, task_id: str, intent_id: str | None) -> Task:
        """Take the single-use intent for this agent run: approved → installing.

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run took it, or `intent_id` is not the approved one.
            ImpossibleTransition: the task is not approved.
        """

        def step(task: Task) -> Task:
            if task.status is Status.INSTALLING and _claimed_by(task) == run.agent_id:
                return task
            if task.intent and intent_id not in (None, task.intent.intent_id):
                raise ForeignClaim("this install intent is not the approved one")
            return self._claimed(task, run)

        return await self._own_change(run, task_id, step)

    async def progress(
        self, run: AgentRun, task_id: str, progress: Progress, lines: Sequence[str] = ()
    ) -> Task:
        """Note progress; `configuring` at 100 completes the task (L2).

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run installs.
            ImpossibleTransition: the task is not being installed (cancelled, say).
        """

        def step(task: Task) -> Task:
            if task.status is Status.COMPLETED and _claimed_by(task) == run.agent_id:
                return task
            if any(_not_newer(progress, entry) for entry in task.progress):
                self._check_claim(task, run)
                return task
            if task.status is Status.APPROVED and progress.percent > 0:
                task = self._claimed(task, run)
            self._check_claim(task, run)
            if not lines and _is_repeated(task, progress):
                return task
            return self._progressed(task, progress, lines)

        return await self._own_change(run, task_id, step, _installed)

    async def failed(self, run: AgentRun, task_id: str, error: TaskError) -> Task:
        """The agent gave up; repeated by the same run it is the same answer.

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run installs.
            ImpossibleTransition: the task is finished otherwise.
        """

        def step(task: Task) -> Task:
            if task.status is Status.FAILED:
                return task
            if task.status is Status.INSTALLING:
                self._check_claim(task, run)
            return self._failed(task, error)

        return await self._own_change(run, task_id, step)

    async def completed(self, run: AgentRun, task_id: str) -> Task:
        """The agent says that it is done; raises as `progress`."""
        last = Progress(
            step="configuring", percent=100.0, timestamp=self._clock(), message="installed"
        )
        return await self.progress(run, task_id, last)

    async def _own_change(
        self, run: AgentRun, task_id: str, step: Step, machine: MachineStep | None = None
    ) -> Task:
        known = self._fleet.task(task_id)
        if known is None and not self._fleet.connected:
            raise Unavailable("the store is away and this task is not known here yet")
        if known is None or known.idc != self._idc:
            raise NoTask(f"there is no task {task_id[:64]} in {self._idc}")
        if run.mac != known.mac and run.mac not in self._reported_macs(known):
            raise NoTask(f"task {known.task_id} is not for {run.mac}")
        return await self._changes.change(known, step, by=_agent(run.mac), machine=machine)

    def _reported_macs(self, task: Task) -> tuple[str, ...]:
        machine = self._fleet.machine(task.idc, task.sn)
        return machine.macs if machine else ()

    def _prepared(self, task: Task) -> Task:
        now = self._clock()
        return logged(moved(task, Event.PREPARED, now), now, "[INFO] boot files are ready")

    def _boot_requested(self, task: Task) -> Task:
        if task.status is not Status.READY:
            return task
        now = self._clock()
        return logged(moved(task, Event.BOOT_REQUESTED, now), now, "[INFO] boot script sent")

    def _reported(self, task: Task, inventory: Inventory, required_bytes: int) -> Task:
        now = self._clock()
        if task.status is Status.PENDING:
            task = self._prepared(task)
        bounded = inventory.bounded()
        if task.status is Status.APPROVED:  # what was approved stays what will be done
            return moved(task, Event.HARDWARE_REPORTED, now, hardware=bounded)
        try:
            plan = plan_disk(inventory, task.disk_layout, task.root_disk, required_bytes)
        except NoSuitableDisk as error:
            task = msgspec.structs.replace(task, hardware=bounded)
            hint = "set root_disk in a new task, or give the machine another disk"
            return self._failed(task, TaskError(reason=str(error), hint=hint))
        task = moved(task, Event.HARDWARE_REPORTED, now, hardware=bounded, plan=plan)
        return logged(task, now, f"[INFO] hardware reported; will write {plan.device}")

    def _reported_while_installing(self, task: Task, run: AgentRun) -> Task:
        # A run that is known by its MAC alone cannot be told from the same machine after a reboot.
        if _claimed_by(task) == run.agent_id != run.mac:
            return task
        error = TaskError(
            reason="the machine was restarted in the middle of its installation",
            hint="look at its console and power, then create the task again",
            code=MACHINE_RESTARTED,
        )
        return self._failed(task, error)

    def _claimed(self, task: Task, run: AgentRun) -> Task:
        if task.status is Status.INSTALLING or (task.intent and task.intent.claimed_by):
            raise ForeignClaim(f"task {task.task_id} is being installed by another agent run")
        now = self._clock()
        intent = task.intent and msgspec.structs.replace(task.intent, claimed_by=run.agent_id)
        task = moved(task, Event.INSTALL_STARTED, now, intent=intent)
        return logged(task, now, "[INFO] installation started")

    def _check_claim(self, task: Task, run: AgentRun) -> None:
        if task.status is Status.INSTALLING and _claimed_by(task) != run.agent_id:
            raise ForeignClaim(f"task {task.task_id} is being installed by another agent run")

    def _progressed(self, task: Task, progress: Progress, lines: Sequence[str]) -> Task:
        steps = {entry.step: entry for entry in task.progress} | {progress.step: progress}
        fields = {"progress": tuple(steps.values())}
        task = moved(task, Event.INSTALL_PROGRESSED, progress.timestamp, **fields)
        task = logged(task, progress.timestamp, *lines)
        if progress.step == "configuring" and progress.percent >= 100:
            task = moved(task, Event.INSTALL_FINISHED, progress.timestamp)
            task = logged(task, progress.timestamp, "[INFO] installed")
        return task

    def _failed(self, task: Task, error: TaskError) -> Task:
        now = self._clock()
        return logged(moved(task, Event.FAIL, now, error=error), now, f"[ERROR] {error.reason}")

    def _reporting(
        self,
        task: Task,
        known: Machine | None,
        inventory: Inventory,
        macs: tuple[str, ...],
    ) -> Machine:
        """The machine's record after a report; what people changed in it stays."""
        now = self._clock()
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


def _installed(task: Task, known: Machine | None) -> Machine | None:
    """With a completion goes the machine's installed generation (S3)."""
    if task.status is not Status.COMPLETED or known is None:
        return known
    generation = known.installed.generation + 1 if known.installed else 1
    installed = Installed(
        generation=generation,
        task_id=task.task_id,
        os_type=task.os_type,
        os_version=task.os_version,
        installed_at=task.updated_at,
        disk=disk_of(task.plan) if task.plan else None,
    )
    return msgspec.structs.replace(known, installed=installed, updated_at=task.updated_at)


def _agent(mac: str) -> Actor:
    return Actor(name=f"agent:{mac}")


def _macs(run: AgentRun, inventory: Inventory) -> tuple[str, ...]:
    """The machine's own MACs, normalised, the calling one first."""
    found = [run.mac]
    for nic in inventory.nics:
        with suppress(InvalidInput):
            found.append(parse_mac(nic.mac))
    return tuple(dict.fromkeys(found))


def _no_task_text(task: Task | None, run: AgentRun, idc: str) -> str:
    if task is None:
        return f"no task for {run.mac} in {idc}; create one for this MAC"
    return (
        f"task {task.task_id} is for serial number {task.sn} with MAC {task.mac}, and this machine"
        f" ({run.mac}) has that number but not that MAC"
    )


def _not_newer(progress: Progress, known: Progress) -> bool:
    """Whether `progress` is already there, or older: repeated after a lost answer, or late."""
    return progress.step == known.step and progress.timestamp <= known.timestamp


def _is_repeated(task: Task, progress: Progress) -> bool:
    """Whether the newest word of an installation is said once more: no news, and no progress.

    That the agent lives is told by its lease (S4).
    """
    newest = task.progress[-1] if task.progress else None
    return newest is not None and newest == msgspec.structs.replace(
        progress, timestamp=newest.timestamp
    )


def _claimed_by(task: Task) -> str | None:
    return task.intent.claimed_by if task.intent else None
