"""What a region does on behalf of its machines: boot, report, claim, progress, end.

Every call names the agent run that makes it. Whatever a machine sends is checked against the task
that is in the store at that moment; a machine never moves a task that is not its own.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from lpmos.core import firstboot, handover
from lpmos.core.agentrun import AgentRun, NoTask, agent_of, ended, prepared
from lpmos.core.claim import check_claim, claimed, claimed_by, held
from lpmos.core.clock import Clock
from lpmos.core.evidence import Seen, nothing_seen, with_restart
from lpmos.core.fleet import Fleet
from lpmos.core.generation import installed
from lpmos.core.handin import handing_in
from lpmos.core.loglines import NO_MARKS, Marks
from lpmos.core.progress import progressed
from lpmos.core.reporting import Reporting
from lpmos.core.taskrow import TaskRow
from lpmos.core.taskstore import (
    MachineStep,
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
from lpmos.model.inventory import Inventory
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Event, Status
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

        By its serial number alone only a machine is found that is not known as another's, and that
        has no system: what is installed boots, whatever number its firmware says.

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
        """Whether the machine with this MAC is known to be another one than the task's.

        Anybody can give a task any serial number; it must not keep another tenant's machine from
        its disk, nor one from the system that is installed on it.
        """
        machine = self._fleet.machine_by_mac(self._idc, mac)
        if machine is not None and machine.installed is not None and machine.sn != task.sn:
            return True
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
        return decide(mac, machine, task, self._unknown), task

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
        sector_bytes: int | None = None,
        follows: str | None = None,
    ) -> Task:
        """Take a hardware report; the task is then waiting for approval, approved, or failed.

        Args:
            run: the caller.
            sn: the serial number of the DMI tables.
            inventory: the hardware.
            required_bytes: what the task's image needs on the root file system.
            whole_image: the image is of a whole disk, and needs so much of it.
            sector_bytes: which sectors that disk has to have, where the image says it.
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
            sector_bytes=sector_bytes,
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
            kept = handing_in.get() is not None
            return claimed(task, run, intent_id, self._clock(), kept=kept)

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
            now = self._clock()
            return progressed(task, run, progress, now, lines=lines, results=results, marks=marks)

        is_last = progress.step == "configuring" and progress.percent >= 100
        also = self._spent(task_id) if is_last else ()
        return await self._own_change(run, task_id, step, installed, also=also)

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
            check_claim(task, run)
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
            now = self._clock()
            task = held(task, run, now)
            if task.starts_its_system:
                return task
            return firstboot.handed_over(task, token_sha256, now)

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
            now = self._clock()
            task = held(task, run, now)
            return task if task.starts_its_system else handover.begun(task, by, now)

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
        return await self._own_change(run, task_id, step, installed, also=also)

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
