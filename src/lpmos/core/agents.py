"""What a region does on behalf of its machines: boot, report, claim, progress, end.

Every call names the agent run that makes it. Whatever a machine sends is checked against the task
that is in the store at that moment; a machine never moves a task that is not its own.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from lpmos.core import firstboot, handover
from lpmos.core.agentrun import AgentRun as AgentRun
from lpmos.core.agentrun import NoTask as NoTask
from lpmos.core.agentrun import agent_of, claimed_by, ended, prepared
from lpmos.core.clock import Clock
from lpmos.core.evidence import Seen, nothing_seen, with_restart
from lpmos.core.fleet import Fleet
from lpmos.core.handin import handing_in
from lpmos.core.loglines import NO_MARKS, Marks, are_known, newest
from lpmos.core.reporting import Reporting, restarted
from lpmos.core.taskrow import TaskRow
from lpmos.core.taskstore import (
    MachineStep,
    RecordStep,
    Remembered,
    Step,
    Superseded,
    TaskStore,
    logged,
    moved,
    nothing,
)
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.bootplan import BootAgent, BootPlan, UnknownMachines, decide
from lpmos.model.errors import ForeignClaim
from lpmos.model.inventory import Inventory
from lpmos.model.job import STAGE as JOB_STAGE
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import Installed, Machine
from lpmos.model.rollback import disks_of
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys
from lpmos.store.api import Delete, Operation, Store, Unavailable


class Agents:
    """The use cases of one region."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        clock: Clock,
        *,
        idc: str,
        unknown: UnknownMachines,
        remembered: Remembered = nothing,
        seen: Seen = nothing_seen,
    ) -> None:
        """`remembered`: see `TaskStore`; `seen` is what the region sees of machines' boots."""
        self._store = store
        self._changes = TaskStore(store, remembered)
        self._fleet = fleet
        self._clock = clock
        self._seen = seen
        self._idc = idc
        self._unknown = unknown
        self._actor = Actor(name=f"region:{idc}")
        self._reporting = Reporting(store, self._changes, fleet, clock, idc=idc, seen=seen)

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
            return prepared(now, self._clock()) if now.status is Status.PENDING else now

        return await self._changes.change(task, step, by=self._actor)

    async def fail(self, task: Task, error: TaskError) -> Task:
        """End the task for a reason of the region's; one that is installing or over stays as it is.

        Raises:
            Superseded: the machine has another task.
        """

        def step(now: Task) -> Task:
            if now.finished or now.status is Status.INSTALLING:
                return now
            return ended(now, error, self._clock())

        return await self._changes.change(task, step, by=self._actor)

    def boot_plan(self, mac: str, sn: str | None) -> tuple[BootPlan, Task | None]:
        """Decide what a machine boots; raises as `find_task`."""
        task = self.find_task(mac, sn)
        machine = self._fleet.machine_by_mac(self._idc, mac)
        if machine is None and sn:
            machine = self._fleet.machine(self._idc, sn)
        return decide(machine, task, self._unknown), task

    async def boot(self, mac: str, sn: str | None) -> tuple[BootPlan, Task | None]:
        """Decide what a machine boots, and note in its task that it asked.

        The installer's script is noted by who gives it: `installer_given`, before it does.
        """
        plan, task = self.boot_plan(mac, sn)
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
        return await self._changes.change(task, self._boot_requested, by=agent_of(mac))

    async def report(
        self,
        run: AgentRun,
        sn: str | None,
        inventory: Inventory,
        required_bytes: int,
        *,
        whole_image: bool = False,
        follows: str | None = None,
    ) -> Task:
        """Take a hardware report; the task is then waiting for approval, approved, or failed.

        Args:
            run: the caller.
            sn: the serial number of the DMI tables.
            inventory: the hardware.
            required_bytes: what the task's image needs on the root file system.
            whole_image: the image is of a whole disk, and needs so much of it.
            follows: of a report that was kept, the run that had reported last when it was said.

        Raises:
            NoTask: there is none for this machine; the report was kept (S7).
            ForeignMachine: another machine than the one that reported for the task; likewise.
        """
        task = self.find_task(run.mac, sn)
        return await self._reporting.take(
            run,
            sn,
            task,
            inventory,
            required_bytes,
            whole_image=whole_image,
            follows=follows,
        )

    async def claim(self, run: AgentRun, task_id: str, intent_id: str | None) -> Task:
        """Take the single-use intent for this agent run: approved → installing.

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run took it or reported last, or `intent_id` is not the approved
                one.
            ImpossibleTransition: the task is not approved.
        """

        def step(task: Task) -> Task:
            if task.status is Status.INSTALLING and claimed_by(task) == run.agent_id:
                return task
            if task.intent and intent_id not in (None, task.intent.intent_id):
                raise ForeignClaim("this install intent is not the approved one")
            if task.status is Status.APPROVED and handing_in.get() and _is_anothers(task, run):
                return self._claimed_and_restarted(task, run)
            return self._claimed(task, run)

        return await self._own_change(run, task_id, step)

    async def progress(
        self,
        run: AgentRun,
        task_id: str,
        progress: Progress,
        lines: Sequence[str] = (),
        results: Sequence[StepResult] = (),
        *,
        marks: Marks = NO_MARKS,
    ) -> Task:
        """Note progress; `configuring` at 100 completes an install (L2), `job` at 100 a job.

        `results` are those of all steps of a job that have ended until then. With `marks` the lines
        are numbered: they are taken once, and also where the progress is no news.

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run installs.
            ImpossibleTransition: the task is not being installed (cancelled, say).
        """

        def step(task: Task) -> Task:
            if task.status is Status.COMPLETED and claimed_by(task) == run.agent_id:
                return task
            fresh = () if are_known(task.log_marks, marks) else lines
            # A word after the agent's last one is late; only its lines count then.
            if task.starts_its_system or any(is_not_newer(progress, e) for e in task.progress):
                self._check_claim(task, run)
                return _overheard(task, self._clock(), fresh, marks)
            if task.status is Status.APPROVED and progress.percent > 0:
                task = self._claimed(task, run)
            self._check_claim(task, run)
            if results and tuple(results) != task.results:
                task = msgspec.structs.replace(task, results=tuple(results))
            elif not fresh and _is_repeated(task, progress):
                return task
            return _marked(self._progressed(task, progress, fresh), marks)

        is_last = progress.step == "configuring" and progress.percent >= 100
        also = self._spent(task_id) if is_last else ()
        return await self._own_change(run, task_id, step, _installed, also=also)

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
            return ended(task, error, self._clock())

        return await self._own_change(run, task_id, step)

    async def completed(self, run: AgentRun, task_id: str) -> Task:
        """The agent says that it is done; raises as `progress`."""
        last = Progress(
            step="configuring", percent=100.0, timestamp=self._clock(), message="installed"
        )
        return await self.progress(run, task_id, last)

    async def handed_over(self, run: AgentRun, task_id: str, token_sha256: str) -> Task:
        """The agent's last word: all is on the disk, and the installed system starts next.

        Args:
            run: the caller; repeated by the same one it is the same answer.
            task_id: which task.
            token_sha256: the digest of the token by which the installed system will call.

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run installs.
            ImpossibleTransition: the task is not being installed (cancelled, say).
        """

        def step(task: Task) -> Task:
            if task.status is Status.COMPLETED and claimed_by(task) == run.agent_id:
                return task
            if task.status is Status.APPROVED:
                task = self._claimed(task, run)
            self._check_claim(task, run)
            if task.starts_its_system:
                return task
            return firstboot.handed_over(task, token_sha256, self._clock())

        return await self._own_change(run, task_id, step)

    async def installer_begins(
        self, run: AgentRun, task_id: str, by: Literal["kexec", "restart"]
    ) -> Task:
        """The agent's last word: the distribution's installer takes the machine over.

        Args:
            run: the caller; repeated by the same one it is the same answer.
            task_id: which task.
            by: `restart` where the region has to give the machine the installer's boot script.

        Raises:
            NoTask: the machine has no such task.
            ForeignClaim: another run installs.
            ImpossibleTransition: the task is not being installed (cancelled, say).
        """

        def step(task: Task) -> Task:
            if task.status is Status.APPROVED:
                task = self._claimed(task, run)
            self._check_claim(task, run)
            return task if task.starts_its_system else handover.begun(task, by, self._clock())

        return await self._own_change(run, task_id, step)

    async def installer_given(self, mac: str, task: Task) -> Task:
        """Note that the one boot script with the installer is given now; before it is.

        Raises:
            InstallerGiven: it was given before.
            Superseded: the machine has another task.
        """

        def step(now: Task) -> Task:
            return handover.script_given(now, self._clock())

        return await self._changes.change(task, step, by=agent_of(mac))

    async def came_up(self, mac: str, task_id: str, token_sha256: str) -> Task:
        """The installed system says that it came up, which completes the task (L2).

        One that failed meanwhile stays so; it leaves the dead-letter queue, for all is well.

        Args:
            mac: any NIC of the machine.
            task_id: the task that installed it.
            token_sha256: the digest of the token that it showed.

        Raises:
            NoTask: the machine has no such task.
            WrongToken: another system speaks.
            NotHandedOver: the agent has not said its last word; ask again.
            ImpossibleTransition, Superseded: the task is over otherwise.
        """

        def step(task: Task) -> Task:
            now = self._clock()
            return self._restarted(task, firstboot.came_up(task, token_sha256, now), now)

        run = AgentRun(mac=mac, agent_id="")
        also = [Delete(keys.dead_letter(self._idc, task_id)), *self._spent(task_id)]
        return await self._own_change(run, task_id, step, _installed, also=also)

    async def came_up_failing(
        self, mac: str, task_id: str, token_sha256: str, error: TaskError
    ) -> Task:
        """The installed system says that what it does first failed, and so does the task.

        Raises:
            NoTask, WrongToken, NotHandedOver, ImpossibleTransition, Superseded: as `came_up`.
        """

        def step(task: Task) -> Task:
            now = self._clock()
            after = firstboot.came_up_failing(task, token_sha256, error, now)
            return self._restarted(task, after, now)

        return await self._own_change(AgentRun(mac=mac, agent_id=""), task_id, step)

    async def _own_change(
        self,
        run: AgentRun,
        task_id: str,
        step: Step,
        machine: MachineStep | None = None,
        also: Sequence[Operation] = (),
    ) -> Task:
        known = self._fleet.row(task_id)
        if known is None and not self._fleet.connected:
            raise Unavailable("the store is away and this task is not known here yet")
        if known is None or known.idc != self._idc:
            raise NoTask(f"there is no task {task_id[:64]} in {self._idc}")
        if run.mac != known.mac and run.mac not in self._reported_macs(known):
            raise NoTask(f"task {known.task_id} is not for {run.mac}")
        return await self._changes.change(
            known, step, by=agent_of(run.mac), machine=machine, also=also
        )

    def _spent(self, task_id: str) -> list[Operation]:
        """With a task that is completed goes what was secret of it."""
        row = self._fleet.row(task_id)
        key = keys.task_secrets(self._idc, row.sn) if row else None
        return [Delete(key)] if key and self._fleet.stored(key) else []

    def _reported_macs(self, task: TaskRow) -> tuple[str, ...]:
        machine = self._fleet.machine(task.idc, task.sn)
        return machine.macs if machine else ()

    def _restarted(self, before: Task, after: Task, now: datetime) -> Task:
        """With a word that changes the task goes what was seen of the restart into the system."""
        return after if after is before else with_restart(after, self._seen(after.mac), now)

    def _boot_requested(self, task: Task) -> Task:
        if task.status is not Status.READY:
            return task
        now = self._clock()
        return logged(moved(task, Event.BOOT_REQUESTED, now), now, "[INFO] boot script sent")

    def _claimed(self, task: Task, run: AgentRun) -> Task:
        if task.status is Status.INSTALLING or (task.intent and task.intent.claimed_by):
            raise ForeignClaim(f"task {task.task_id} is being installed by another agent run")
        if _is_anothers(task, run):
            raise ForeignClaim("another agent run has reported since; boot the machine again")
        return self._begun(task, run)

    def _begun(self, task: Task, run: AgentRun) -> Task:
        now = self._clock()
        intent = task.intent and msgspec.structs.replace(task.intent, claimed_by=run.agent_id)
        task = moved(task, Event.INSTALL_STARTED, now, intent=intent)
        return logged(task, now, "[INFO] installation started")

    def _claimed_and_restarted(self, task: Task, run: AgentRun) -> Task:
        """A claim that was let through without the store, on a machine that was restarted since.

        Its disk may be written: the approval is used, whoever reported with it after that.
        """
        return restarted(self._begun(task, run), self._clock())

    def _check_claim(self, task: Task, run: AgentRun) -> None:
        if task.status is Status.INSTALLING and claimed_by(task) != run.agent_id:
            raise ForeignClaim(f"task {task.task_id} is being installed by another agent run")

    def _progressed(self, task: Task, progress: Progress, lines: Sequence[str]) -> Task:
        steps = {entry.step: entry for entry in task.progress} | {progress.step: progress}
        fields = {"progress": tuple(steps.values())}
        task = moved(task, Event.INSTALL_PROGRESSED, progress.timestamp, **fields)
        task = logged(task, progress.timestamp, *lines)
        if _ends(task, progress):
            task = moved(task, Event.INSTALL_FINISHED, progress.timestamp)
            line = "[INFO] installed" if task.job is None else "[INFO] the job is done"
            task = logged(task, progress.timestamp, line)
        return task


def _ends(task: Task, progress: Progress) -> bool:
    """Whether it is the last word of a job, or of an install whose system says nothing itself."""
    last = "configuring" if task.job is None else JOB_STAGE
    return progress.step == last and progress.percent >= 100


def _is_anothers(task: Task, run: AgentRun) -> bool:
    """Whether the hardware that the task has was reported by another run."""
    return task.reported_by not in (None, run.agent_id)


def _installed(task: Task) -> RecordStep | None:
    """With a completion, or a system that came up late, goes the machine's generation (S3)."""
    if task.job is not None:
        return None
    if task.status is Status.COMPLETED or firstboot.came_up_at(task) is not None:
        return lambda known: known and _with_generation(task, known)
    return None


def _with_generation(task: Task, known: Machine) -> Machine:
    generation = known.installed.generation + 1 if known.installed else 1
    first, *members = disks_of(task.plan) if task.plan else (None,)
    installed = Installed(
        generation=generation,
        task_id=task.task_id,
        os_type=task.os_type,
        os_version=task.os_version,
        installed_at=task.updated_at,
        disk=first,
        members=tuple(members),
    )
    return msgspec.structs.replace(known, installed=installed, updated_at=task.updated_at)


def is_not_newer(progress: Progress, known: Progress) -> bool:
    """Whether `progress` is already there, or older: repeated after a lost answer, or late.

    Who is further on is newer whatever the time: the region's clock may have been put back.
    """
    behind = progress.timestamp <= known.timestamp and progress.percent <= known.percent
    return progress.step == known.step and behind


def _overheard(task: Task, now: datetime, lines: Sequence[str], marks: Marks) -> Task:
    """The task with numbered lines of a call whose progress is no news, or no more."""
    if not marks or not lines or task.finished:
        return task
    return _marked(logged(task, now, *lines), marks)


def _marked(task: Task, marks: Marks) -> Task:
    if not marks:
        return task
    return msgspec.structs.replace(task, log_marks=newest(task.log_marks, marks))


def _is_repeated(task: Task, progress: Progress) -> bool:
    """Whether the newest word of an installation is said once more: no news, and no progress.

    That the agent lives is told by its lease (S4).
    """
    newest = task.progress[-1] if task.progress else None
    return newest is not None and newest == msgspec.structs.replace(
        progress, timestamp=newest.timestamp
    )
