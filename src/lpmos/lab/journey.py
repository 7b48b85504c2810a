"""One server's way, from a new task to the system that came up from its own disk.

The driver does what an operator does and nothing more: it creates the task, powers the server on,
approves, and looks. Every status has a time in which it must pass, so a journey never hangs.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Protocol

from lpmos.core.clock import Clock, utc_now
from lpmos.core.firstboot import RESTARTING
from lpmos.lab.api_client import CreatedTask, TaskState
from lpmos.lab.errors import LabError, WaitTimedOut
from lpmos.model.lifecycle import MEANING, Status
from lpmos.model.newtask import NewTask

POLL_S: Final = 0.3
LOGIN_TIMEOUT_S: Final = 900.0
MANUAL_APPROVAL_TIMEOUT_S: Final = 3600.0
STATUS_TIMEOUT_S: Final[Mapping[Status, float]] = MappingProxyType(
    {
        Status.PENDING: 60.0,
        Status.READY: 600.0,
        Status.BOOTING: 600.0,
        Status.PENDING_APPROVAL: 60.0,
        Status.APPROVED: 60.0,
        Status.INSTALLING: 1800.0,
    }
)
"""How long a task may stay in one status, an install from its newest word; translated guests on a
busy machine are slow.
"""


class Server(Protocol):
    """What is installed: a virtual machine or a simulated one."""

    @property
    def name(self) -> str:
        """How people call it."""

    @property
    def kind(self) -> str:
        """What is special of it, in a word: its firmware."""

    async def power_on(self) -> None:
        """Press the power button."""

    async def wait_up(self, hostname: str, timeout_s: float) -> None:
        """Wait until the installed system is up."""

    def check(self) -> None:
        """Raise `LabError` where the server can no longer get any further."""

    def last_words(self) -> str:
        """What it said last, and where the rest is."""


class TaskCalls(Protocol):
    """The calls of the API that a journey needs."""

    async def create_task(self, new: NewTask) -> CreatedTask:
        """Create a task."""

    async def task(self, task_id: str) -> TaskState:
        """One task."""

    async def approve(self, task_id: str, notes: str) -> None:
        """Allow the install."""


class Display(Protocol):
    """Shows how far each server is."""

    def show(self, progress: "JourneyProgress") -> None:
        """Something changed."""


@dataclass
class JourneyProgress:
    """How far one server is; `failed` says why it will get no further."""

    name: str
    kind: str
    stage: str = "powered off"
    percent: float = 0.0
    message: str = "its disk is blank"
    bytes_per_second: float | None = None
    failed: str | None = None
    up: bool = False
    times: dict[str, datetime] = field(default_factory=dict)

    def seconds(self, begin: str, end: str) -> float | None:
        """From one named moment to another; None where one has not come."""
        if begin not in self.times or end not in self.times:
            return None
        return (self.times[end] - self.times[begin]).total_seconds()


class Journey:
    """Drives one server; `progress` is for the display and the summary."""

    def __init__(
        self,
        server: Server,
        task: NewTask,
        *,
        api: TaskCalls,
        display: Display,
        approve: bool,
        now: Clock = utc_now,
        pace_s: float = POLL_S,
    ) -> None:
        self.progress = JourneyProgress(server.name, server.kind)
        self.task: TaskState | None = None
        self._server = server
        self._new = task
        self._api = api
        self._display = display
        self._approve = approve
        self._now = now
        self._pace_s = pace_s

    async def run(self) -> None:
        """Go the whole way; a failure is kept in `progress.failed`, and ends this journey only."""
        try:
            await self._go()
        except LabError as error:
            self.progress.failed = f"{error}\n{self._server.last_words()}"
            self._tell(stage="failed", message=str(error).splitlines()[0])

    async def _go(self) -> None:
        created = await self._api.create_task(self._new)
        await self._follow(created.task_id, Status.READY)
        self._mark("power on")
        await self._server.power_on()
        self._tell(stage="powered on", message="firmware looks for a network to boot from")
        await self._follow(created.task_id, Status.PENDING_APPROVAL)
        if self._approve:
            await self._api.approve(created.task_id, "approved by the lab")
        task = await self._follow(created.task_id, Status.COMPLETED, until_written=True)
        self._times_of(task)
        self._tell(stage=RESTARTING, bytes_per_second=None, message="boots its own disk")
        await self._server.wait_up(task.hostname, LOGIN_TIMEOUT_S)
        self._mark("login")
        self._tell(stage="login prompt", message="the installed system tells the region next")
        self._times_of(await self._follow(created.task_id, Status.COMPLETED))
        self._mark("up")
        self.progress.up = True
        message = f"{task.hostname} came up from its own disk, and the region knows it"
        self._tell(stage="up", percent=100, message=message)

    async def _follow(
        self, task_id: str, goal: Status, *, until_written: bool = False
    ) -> TaskState:
        """Watch the task until it reaches `goal` or a later status.

        With `until_written` only until the installed system starts, where one does that.

        Raises:
            LabError: the task ended otherwise, stood still for too long, or the server is lost.
        """
        order = list(Status)
        while True:
            self._server.check()
            before, task = self.task, await self._api.task(task_id)
            self.task = task
            if task.status in (Status.FAILED, Status.REJECTED, Status.CANCELLED):
                raise LabError(_why(task))
            self._show_task(task, before)
            if order.index(task.status) >= order.index(goal):
                return task
            if until_written and task.handed_over_at is not None:
                return task
            self._check_pace(task)
            await asyncio.sleep(self._pace_s)

    def _check_pace(self, task: TaskState) -> None:
        limit_s = STATUS_TIMEOUT_S[task.status]
        if task.handed_over_at is not None:
            limit_s += LOGIN_TIMEOUT_S
        if task.status is Status.PENDING_APPROVAL and not self._approve:
            limit_s = MANUAL_APPROVAL_TIMEOUT_S
        told = [word.timestamp for word in task.progress]
        changed = task.status_history[-1].timestamp
        since = max(changed, self.progress.times.get("power on", _EPOCH), *told)
        if (self._now() - since).total_seconds() > limit_s:
            raise WaitTimedOut(f"{self._server.name} is {task.status.value} for {limit_s:.0f} s")

    def _show_task(self, task: TaskState, before: TaskState | None) -> None:
        """Show what is new since the last look: each step of the install, then the status."""
        written = RESTARTING in self.progress.times
        for word in () if written else task.progress:
            if word.step != RESTARTING and (before is None or word not in before.progress):
                self._tell(
                    stage=word.step,
                    percent=word.percent,
                    message=word.message,
                    bytes_per_second=word.bytes_per_second,
                )
        told = task.status is Status.INSTALLING and bool(task.progress)
        if Status.COMPLETED.value in self.progress.times:  # a look after the restart
            told = True
        if told or "power on" not in self.progress.times or task.status is Status.READY:
            return
        stage = task.status.value.replace("_", " ")
        message = MEANING[task.status]
        if task.status is Status.PENDING_APPROVAL and not self._approve:
            message = "press Approve beside it in the dashboard"
        percent = 100.0 if task.status is Status.COMPLETED else self.progress.percent
        self._tell(stage=stage, percent=percent, message=message, bytes_per_second=None)

    def _times_of(self, task: TaskState) -> None:
        for change in task.status_history:
            self.progress.times[change.status.value] = change.timestamp
        written_at = task.handed_over_at or self.progress.times.get("completed")
        if written_at is not None:
            self.progress.times[RESTARTING] = written_at

    def _mark(self, moment: str) -> None:
        self.progress.times[moment] = self._now()

    def _tell(self, **changes: object) -> None:
        before = vars(self.progress).copy()
        for name, value in changes.items():
            setattr(self.progress, name, value)
        if vars(self.progress) != before:
            self._display.show(self.progress)


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def _why(task: TaskState) -> str:
    """Why a task ended, for a person."""
    lines = [f"the task {task.task_id} is {task.status.value}"]
    if task.error is not None:
        lines[0] += f": {task.error.reason}"
        lines += [f"command: {task.error.command}"] if task.error.command else []
        lines += [task.error.output] if task.error.output else []
        lines += [f"what to do: {task.error.hint}"] if task.error.hint else []
    return "\n".join(lines)
