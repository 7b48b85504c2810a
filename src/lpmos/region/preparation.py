"""Preparation: a pending task gets its boot files, or fails with the reason (pending → ready).

The task's own status is the queue: it stays pending in the store until it was prepared, so nothing
is lost where the region stops or the store is away meanwhile.
"""

import asyncio

import structlog

from lpmos.core.agents import Agents
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.images.catalog import Catalog
from lpmos.model.errors import ImageError, NotFound
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError
from lpmos.store.api import StoreError

RETRY_S = 2.0
"""The pause where the store is away."""
LOOK_AGAIN_S = 60.0
"""All tasks are looked through so often, whatever was announced."""


class Preparation:
    """Prepares the pending tasks of one data center."""

    def __init__(self, fleet: Fleet, agents: Agents, catalog: Catalog, *, idc: str) -> None:
        self._fleet = fleet
        self._agents = agents
        self._catalog = catalog
        self._idc = idc
        self._log = structlog.get_logger().bind(idc=idc)
        self._announced = asyncio.Event()

    async def run(self) -> None:
        """Prepare what is pending and what becomes pending, until cancelled."""
        unsubscribe = self._fleet.subscribe(self._look)
        try:
            while True:
                self._announced.clear()
                done = await self._prepare_all()
                await self._wait(LOOK_AGAIN_S if done else RETRY_S)
        finally:
            unsubscribe()

    def _look(self, change: TaskChange) -> None:
        if change.after is not None and self._concerns(change.after):
            self._announced.set()

    def _concerns(self, task: Task) -> bool:
        return task.idc == self._idc and task.status is Status.PENDING

    async def _wait(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._announced.wait()
        except TimeoutError:
            pass

    async def _prepare_all(self) -> bool:
        """Whether the store took every answer."""
        pending = [task for task in self._fleet.current_tasks() if self._concerns(task)]
        try:
            for task in pending:
                await self._prepare(task)
        except NotFound:
            return False  # deleted meanwhile: the fleet will say so
        except StoreError as error:
            self._log.warning("tasks wait for the store", tasks=len(pending), error=str(error))
            await asyncio.sleep(RETRY_S)
            return False
        return True

    async def _prepare(self, task: Task) -> None:
        problem = self._problem(task)
        if problem is None:
            await self._agents.prepared(task)
            self._log.info("task prepared", task_id=task.task_id, sn=task.sn)
        else:
            await self._agents.fail(task, problem)
            self._log.error("task failed", task_id=task.task_id, reason=problem.reason)

    def _problem(self, task: Task) -> TaskError | None:
        """Why this task cannot be installed from here; None where all is there."""
        if self._catalog.find(task.os_type, task.os_version) is None:
            return no_image(task)
        try:
            self._catalog.agent()
        except ImageError as error:
            return TaskError(
                reason=f"{self._idc} has no agent to boot: {error}",
                hint="build it with `lpmos image build-agent`, then create the task again",
            )
        return None


def no_image(task: Task) -> TaskError:
    """The region lacks the image of this task's OS."""
    return TaskError(
        reason=f"{task.idc} has no image of {task.os_type} {task.os_version}",
        hint=f"build one with `lpmos image build {task.os_type}`, then create the task again",
    )
