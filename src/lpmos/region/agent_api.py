"""The agent API (B1-B5, B8): docs/reference/agent-protocol.md from the region's side.

The rule: what an agent is told was written to the store before, and an error never changes
anything. A store that is away is always a 503, never a machine without a task.
"""

import asyncio
from collections.abc import Sequence

import structlog
from aiohttp import web

from lpmos.core.agents import AgentRun, Agents, NoTask
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.problems import MEDIA_TYPE, problem_for
from lpmos.images.catalog import Catalog
from lpmos.install import plan_install, required_bytes
from lpmos.model.errors import LpmosError, TooLarge
from lpmos.model.installplan import InstallPlan
from lpmos.model.lifecycle import Status
from lpmos.model.machine import parse_mac
from lpmos.model.task import Progress, Task, TaskError
from lpmos.region import wire
from lpmos.region.answers import json_answer
from lpmos.region.liveness import AgentLiveness
from lpmos.region.metrics import Metrics
from lpmos.region.preparation import image_of, no_image
from lpmos.region.progress import ProgressWriter
from lpmos.region.serials import usable_sn
from lpmos.region.tasklog import TaskLogs
from lpmos.store.api import Unavailable

NO_TASK_RETRY_S = 10
LONGEST_WAIT_S = 60
BODY_TIMEOUT_S = 30.0
KNOWN_TIMEOUT_S = 2.0
"""How long the answer to a report waits for the region to hear of its own write."""

_DECIDED = frozenset({Status.APPROVED, Status.INSTALLING})


class AgentApi:
    """The handlers for agents."""

    def __init__(
        self,
        agents: Agents,
        fleet: Fleet,
        catalog: Catalog,
        clock: Clock,
        *,
        idc: str,
        logs: TaskLogs,
        metrics: Metrics,
        liveness: AgentLiveness,
    ) -> None:
        self._agents = agents
        self._fleet = fleet
        self._catalog = catalog
        self._clock = clock
        self._idc = idc
        self._logs = logs
        self._metrics = metrics
        self._liveness = liveness
        self._log = structlog.get_logger().bind(idc=idc)
        self._polls: set[asyncio.Timeout] = set()
        self._stopping = False
        self.progress_writer = ProgressWriter(self._write_progress)

    def routes(self) -> list[web.RouteDef]:
        """The table of this part, older paths beside the present ones."""
        return [
            web.post("/api/v1/agent/report", self.report),
            web.post("/api/report", self.report),
            web.get("/api/v1/agent/approval/{mac}", self.approval),
            web.get("/api/approval/{mac}", self.approval),
            web.post("/api/v1/agent/status", self.status),
            web.post("/api/v1/agent/progress", self.progress),
            web.post("/api/progress", self.progress),
            web.get("/api/v1/tasks/{task_id}/log", self.log),
        ]

    async def end_polls(self, _: web.Application) -> None:
        """Answer who waits for a decision now, as if the time were over: the region stops."""
        self._stopping = True
        for limit in self._polls:
            limit.reschedule(asyncio.get_running_loop().time())

    async def report(self, request: web.Request) -> web.Response:
        """B1: when it is answered, the region knows the machine by every MAC of the report."""
        body = await _body(request, wire.REPORT_LIMIT_BYTES)
        run, call = wire.parse(body, wire.Report)
        sn = usable_sn(call.sn)
        try:
            known = self._agents.find_task(run.mac, sn)
            task = await self._agents.report(run, sn, call.hardware, self._required_bytes(known))
        except NoTask as error:
            self._metrics.reports.labels("no task").inc()
            self._log.info("report without a task", mac=run.mac, sn=sn)
            return self._no_task(error)
        self._liveness.heard(run, (task.idc, task.sn))
        await self._hear_of(task)
        self._metrics.reports.labels("task").inc()
        self._log.info("report", mac=run.mac, task_id=task.task_id, status=task.status.value)
        answer = {"status": "received", "task_id": task.task_id}
        if task.finished:
            return json_answer({**answer, "next_action": "stop", "reason": _end_reason(task)})
        return json_answer({**answer, "next_action": "wait_for_approval"})

    async def approval(self, request: web.Request) -> web.Response:
        """B4: a long poll."""
        mac = parse_mac(request.match_info["mac"], "mac")
        wait_s = wire.parse_wait_s(request.query.get("wait"), LONGEST_WAIT_S)
        task = self._task_of(mac, request.query.get("task_id"))
        self._liveness.heard(AgentRun(mac=mac, agent_id=mac), (task.idc, task.sn), wait_s)
        if wait_s and not self._stopping:
            await self._poll(task, wait_s)
            task = self._task_of(mac, task.task_id)
        if task.status in _DECIDED:
            return await self._approved(task)
        if task.finished:
            return json_answer({"status": task.status.value, "reason": _end_reason(task)})
        return json_answer({"status": "pending"})

    async def status(self, request: web.Request) -> web.Response:
        """B2: the claim before the disk is touched, and the end of an install."""
        body = await _body(request, wire.BODY_LIMIT_BYTES)
        run, call = wire.parse(body, wire.StatusCall)
        if call.status == "installing":
            task = await self._agents.claim(run, call.task_id, call.intent_id)
        else:
            await self.progress_writer.flush(run, call.task_id)
            task = await self._ended(run, call)
        self._liveness.heard(run, (task.idc, task.sn))
        line = f"[INFO] the agent is {call.status}: {call.text()}"
        if call.status == "failed":
            line = f"[ERROR] {call.text()}"
        await self._logs.append(task.task_id, self._clock(), [line, *call.output_lines()])
        self._log.info("agent status", mac=run.mac, task_id=task.task_id, status=task.status.value)
        return _state(task)

    async def progress(self, request: web.Request) -> web.Response:
        """B3: answered when the store has it."""
        body = await _body(request, wire.BODY_LIMIT_BYTES)
        run, call = wire.parse(body, wire.ProgressCall)
        progress = Progress(
            step=call.stage,
            percent=call.percentage,
            timestamp=self._clock(),
            message=call.text(),
            bytes_done=call.bytes_done,
            bytes_total=call.bytes_total,
            bytes_per_second=call.bytes_per_second,
        )
        task = await self.progress_writer.submit(run, call.task_id, progress, call.lines())
        self._liveness.heard(run, (task.idc, task.sn))
        return _state(task)

    async def log(self, request: web.Request) -> web.FileResponse:
        """The full log of a task, with ranges."""
        path = self._logs.path(request.match_info["task_id"])
        if not await asyncio.to_thread(path.is_file):
            self._check_connected()
            raise NoTask(f"{self._idc} keeps no log of this task")
        return web.FileResponse(path, headers={"Content-Type": "text/plain; charset=utf-8"})

    async def _ended(self, run: AgentRun, call: wire.StatusCall) -> Task:
        if call.status == "completed":
            return await self._agents.completed(run, call.task_id)
        return await self._agents.failed(run, call.task_id, call.task_error())

    async def _write_progress(
        self, run: AgentRun, task_id: str, progress: Progress, lines: Sequence[str]
    ) -> Task:
        with self._metrics.progress_write_seconds.time():
            task = await self._agents.progress(run, task_id, progress, lines)
        self._metrics.progress_writes.inc()
        await self._logs.append(task.task_id, progress.timestamp, lines)
        return task

    async def _approved(self, task: Task) -> web.Response:
        plan = self._plan(task)
        if isinstance(plan, InstallPlan):
            return json_answer({"status": "approved", "plan": plan})
        self._log.error("no install plan", task_id=task.task_id, reason=plan.reason)
        if task.status is not Status.APPROVED:  # the agent that installs has its plan
            return json_answer({"status": "pending"})
        task = await self._agents.fail(task, plan)
        return json_answer({"status": task.status.value, "reason": _end_reason(task)})

    def _plan(self, task: Task) -> InstallPlan | TaskError:
        manifest = image_of(self._catalog, task)
        if manifest is None:
            return no_image(task)
        try:
            return plan_install(task, manifest)
        except LpmosError as error:
            return TaskError(reason=f"no install plan can be made: {error}")

    def _task_of(self, mac: str, task_id: str | None) -> Task:
        """The task that this machine asks about; its present one where it names none."""
        task = self._fleet.task(task_id) if task_id else self._agents.find_task(mac, None)
        machine = task and self._fleet.machine(task.idc, task.sn)
        macs = ((task.mac,) if task else ()) + (machine.macs if machine else ())
        if task is None or task.idc != self._idc or mac not in macs:
            self._check_connected()
            raise NoTask(f"there is no such task for {mac} in {self._idc}")
        return task

    def _check_connected(self) -> None:
        """Say that something does not exist only where the store was asked.

        Raises:
            Unavailable: it is away, or was not read yet.
        """
        if not self._fleet.connected:
            raise Unavailable("the store is away, and this is not known here yet")

    async def _poll(self, task: Task, wait_s: float) -> None:
        """Wait for a decision, at most `wait_s` and not beyond the region's end."""
        try:
            async with asyncio.timeout(None) as limit:
                self._polls.add(limit)
                await self._fleet.wait_for_task(task.task_id, _decided, wait_s)
        except TimeoutError:
            pass
        finally:
            self._polls.discard(limit)

    async def _hear_of(self, task: Task) -> None:
        """Wait until the fleet has what was just written; its machine came in the same revision."""

        def known(here: Task) -> bool:
            return here.hardware == task.hardware and here.updated_at >= task.updated_at

        await self._fleet.wait_for_task(task.task_id, known, KNOWN_TIMEOUT_S)

    def _required_bytes(self, task: Task | None) -> int:
        manifest = task and image_of(self._catalog, task)
        return required_bytes(manifest) if manifest else 0

    def _no_task(self, error: NoTask) -> web.Response:
        problem = problem_for(error)
        body = {
            **problem.document,
            "error": str(error),
            "retry_after": NO_TASK_RETRY_S,
            "discovery": self._agents.discovers,
        }
        headers = {"Retry-After": str(NO_TASK_RETRY_S)}
        return json_answer(body, status=problem.status, content_type=MEDIA_TYPE, headers=headers)


def _decided(task: Task) -> bool:
    return task.finished or task.status in _DECIDED


def _state(task: Task) -> web.Response:
    return json_answer({"status": task.status.value, "task_id": task.task_id})


def _end_reason(task: Task) -> str:
    if task.error:
        return task.error.reason
    if task.approval and task.approval.reason:
        return task.approval.reason
    return f"task {task.task_id} is {task.status.value}"


async def _body(request: web.Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `limit_bytes`; the rest is not read.
        Unavailable: it did not come within `BODY_TIMEOUT_S`.
    """
    too_large = TooLarge(f"the body has more than {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        raise Unavailable(f"the body did not come within {BODY_TIMEOUT_S:.0f} s") from None
    return bytes(body)
