"""Preparation: a pending task gets its boot files, or fails with the reason (pending → ready).

The task's own status is the queue: it stays pending in the store until it was prepared, so nothing
is lost where the region stops or the store is away meanwhile.
"""

import asyncio

import structlog

from lpmos.core.agents import Agents
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskrow import TaskRow
from lpmos.core.tasksecrets import TaskSecretReader
from lpmos.core.taskstore import Superseded
from lpmos.core.tracing import named
from lpmos.model.errors import ImageError, LpmosError, NotFound, SecretError, SettingsError
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError
from lpmos.region.sources import Sources, no_source
from lpmos.store.api import Ambiguous, NoSpace, Unavailable

RETRY_S = 2.0
"""The pause where the store takes nothing, or images cannot be read or are not there yet."""
LOOK_AGAIN_S = 60.0
"""All tasks are looked through so often, whatever was announced."""


class Preparation:
    """Prepares the pending tasks of one data center."""

    def __init__(
        self,
        fleet: Fleet,
        agents: Agents,
        sources: Sources,
        *,
        idc: str,
        secrets: TaskSecretReader,
    ) -> None:
        self._secrets = secrets
        self._fleet = fleet
        self._agents = agents
        self._sources = sources
        self._idc = idc
        self._log = structlog.get_logger().bind(idc=idc)
        self._announced = asyncio.Event()
        self._awaited = 0

    async def run(self) -> None:
        """Prepare what is pending and what becomes pending, until cancelled."""
        unsubscribe = self._fleet.subscribe(self._look)
        try:
            while True:
                self._announced.clear()
                if await self._prepare_all():
                    await self._wait(RETRY_S if self._awaited else LOOK_AGAIN_S)
                else:
                    await asyncio.sleep(RETRY_S)
        finally:
            unsubscribe()

    def _look(self, change: TaskChange) -> None:
        if change.row is not None and self._concerns(change.row):
            self._announced.set()

    def _concerns(self, task: Task | TaskRow) -> bool:
        return task.idc == self._idc and task.status is Status.PENDING

    async def _wait(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._announced.wait()
        except TimeoutError:
            pass

    async def _prepare_all(self) -> bool:
        """Prepare each pending task; False where the rest had to be left for later.

        What is wrong with one task is logged and holds up no other. A task whose image is fetched
        still is left for later: a client that takes over may have less than the one before it.
        """
        pending = [
            task for task in self._fleet.current_tasks(Status.PENDING) if self._concerns(task)
        ]
        awaited = 0
        for number, task in enumerate(pending):
            try:
                if self._sources.awaited(task) or self._sources.agent_awaited():
                    awaited += 1
                else:
                    await self._prepare(task)
            except (Unavailable, Ambiguous, NoSpace, ImageError, OSError) as error:
                left = len(pending) - number
                self._log.warning("tasks wait to be prepared", tasks=left, error=str(error))
                return False
            except (NotFound, Superseded):
                continue  # gone meanwhile: the fleet will say so
            except LpmosError as error:
                self._log.error("task not prepared", **named(task), error=str(error))
        if awaited and not self._awaited:
            why = "what they are installed from is fetched still"
            self._log.warning("tasks wait to be prepared", tasks=awaited, reason=why)
        self._awaited = awaited
        return True

    async def _prepare(self, task: Task) -> None:
        problem = self._problem(task) or await self._locked(task)
        if problem is None:
            await self._agents.prepared(task)
            self._log.info("task prepared", **named(task), sn=task.sn)
        else:
            await self._agents.fail(task, problem)
            self._log.error("task failed", **named(task), reason=problem.reason)

    async def _locked(self, task: Task) -> TaskError | None:
        """Why the task's secrets cannot be opened here; better now than after an approval."""
        try:
            await self._secrets.opened(task)
        except (SecretError, SettingsError) as error:
            return TaskError(
                reason=f"{self._idc} cannot open the task's secrets: {error}",
                hint="give the region the keys of the control planes (`--secrets-key-file`), then"
                " try the task again",
            )
        return None

    def _problem(self, task: Task) -> TaskError | None:
        """Why this task cannot be installed from here; None where all is there.

        Raises:
            ImageError: the images cannot be read now.
        """
        if task.job is None and self._sources.of(task) is None:
            return no_source(task)
        try:
            self._sources.catalog.agent()
        except ImageError as error:
            return TaskError(
                reason=f"{self._idc} has no agent to boot: {error}",
                hint="build it with `lpmos image build-agent`, then create the task again",
            )
        return None
