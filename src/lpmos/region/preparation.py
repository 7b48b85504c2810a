"""Preparation: a pending task gets its boot files, or fails with the reason (pending → ready).

The task's own status is the queue: it stays pending in the store until it was prepared, so nothing
is lost where the region stops or the store is away meanwhile.
"""

import asyncio

import structlog

from lpmos.core.agents import Agents
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskstore import Superseded
from lpmos.images.catalog import Catalog
from lpmos.model.errors import ImageError, LpmosError, NotFound
from lpmos.model.image import ImageManifest
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task, TaskError
from lpmos.store.api import Ambiguous, NoSpace, Unavailable

RETRY_S = 2.0
"""The pause where the store takes nothing, or the images cannot be read."""
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
                if await self._prepare_all():
                    await self._wait(LOOK_AGAIN_S)
                else:
                    await asyncio.sleep(RETRY_S)
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
        """Prepare each pending task; False where the rest had to be left for later.

        What is wrong with one task is logged and holds up no other.
        """
        pending = [
            task for task in self._fleet.current_tasks(Status.PENDING) if self._concerns(task)
        ]
        for number, task in enumerate(pending):
            try:
                await self._prepare(task)
            except (Unavailable, Ambiguous, NoSpace, ImageError, OSError) as error:
                left = len(pending) - number
                self._log.warning("tasks wait to be prepared", tasks=left, error=str(error))
                return False
            except (NotFound, Superseded):
                continue  # gone meanwhile: the fleet will say so
            except LpmosError as error:
                self._log.error("task not prepared", task_id=task.task_id, error=str(error))
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
        """Why this task cannot be installed from here; None where all is there.

        Raises:
            ImageError: the images cannot be read now.
        """
        if image_of(self._catalog, task) is None:
            return no_image(task)
        try:
            self._catalog.agent()
        except ImageError as error:
            return TaskError(
                reason=f"{self._idc} has no agent to boot: {error}",
                hint="build it with `lpmos image build-agent`, then create the task again",
            )
        return None


def image_of(catalog: Catalog, task: Task) -> ImageManifest | None:
    """The image of this task's OS; None where the region has none.

    Raises:
        ImageError: the images cannot be read, which says nothing of what is there.
    """
    found = catalog.find(task.os_type, task.os_version)
    if found is None:
        catalog.damaged()
    return found


def no_image(task: Task) -> TaskError:
    """The region lacks the image of this task's OS."""
    return TaskError(
        reason=f"{task.idc} has no image of {task.os_type} {task.os_version}",
        hint=f"build one with `lpmos image build {task.os_type}`, then create the task again",
    )
