"""The agent API (B1-B5, B8): docs/reference/agent-protocol.md from the region's side.

The rule: what an agent is told was written to the store before, and an error never changes
anything. A store that is away is always a 503, never a machine without a task.
"""

import asyncio
from collections.abc import Sequence

import structlog
from aiohttp import web

from lpmos.core.agentrun import AgentRun, NoTask
from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.loglines import Marks
from lpmos.core.logproof import LogReaders
from lpmos.core.problems import MEDIA_TYPE, problem_for
from lpmos.core.tasksecrets import TaskSecretReader
from lpmos.core.tracing import about
from lpmos.install import plan_install
from lpmos.install.jobs import order_job
from lpmos.model.errors import (
    FieldProblem,
    ForeignMachine,
    InvalidInput,
    LpmosError,
    Occupied,
    TooBusy,
)
from lpmos.model.fingerprint import usable_sn
from lpmos.model.installer import InstallerManifest
from lpmos.model.installplan import InstallPlan, JobOrder
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Status
from lpmos.model.machine import parse_mac
from lpmos.model.task import Progress, Task, TaskError
from lpmos.region import wire
from lpmos.region.agent_gate import EXCHANGE, AgentGate, address_of
from lpmos.region.answers import json_answer
from lpmos.region.handover_plans import HandoverPlans
from lpmos.region.installer_api import is_handed_over
from lpmos.region.liveness import AgentLiveness
from lpmos.region.metrics import Metrics
from lpmos.region.progress import ProgressWriter
from lpmos.region.reached import Reached
from lpmos.region.reading import read_body
from lpmos.region.seldom import Seldom
from lpmos.region.sources import Sources, no_source
from lpmos.region.tasklog import TaskLogs
from lpmos.store.api import Unavailable
from lpmos.store.spans import places, waited_on_purpose

NO_TASK_RETRY_S = 10
EXCHANGES_A_MINUTE = 1_200
"""Of one address, behind which a rack may be; each is kept for an hour, on the disk too."""
LONGEST_WAIT_S = 60
FOREIGN_HINT = (
    "give each machine a MAC address of its own; where this machine shall be installed in the"
    " other's place, cancel the task and create a new one"
)
AWAITED_LOOK_S = 1.0
"""How often it is looked whether an approved task's image has come."""
KNOWN_TIMEOUT_S = 2.0
"""How long the answer to a report waits for the region to hear of its own write."""

_DECIDED = frozenset({Status.APPROVED, Status.INSTALLING})
_HANDED_OVER = "the machine was handed over to its distribution's installer"
_STARTS = "the system is installed, and the machine has to start it from its own disk"


class AgentApi:
    """The handlers for agents."""

    def __init__(
        self,
        agents: Agents,
        fleet: Fleet,
        sources: Sources,
        clock: Clock,
        *,
        idc: str,
        reached: Reached,
        logs: TaskLogs,
        log_readers: LogReaders,
        metrics: Metrics,
        liveness: AgentLiveness,
        gate: AgentGate,
        secrets: TaskSecretReader,
        handovers: HandoverPlans,
    ) -> None:
        """`reached` says where the installed system of a machine finds the region; `handovers`
        makes the plans of who is installed by an installer.
        """
        self._agents = agents
        self._fleet = fleet
        self._secrets = secrets
        self._sources = sources
        self._handovers = handovers
        self._clock = clock
        self._idc = idc
        self._reached = reached
        self._logs = logs
        self._log_readers = log_readers
        self._metrics = metrics
        self._liveness = liveness
        self._gate = gate
        self._exchanges = Seldom(EXCHANGES_A_MINUTE, 60.0)
        self._log = structlog.get_logger().bind(idc=idc)
        self._polls: set[asyncio.Timeout] = set()
        self._stopping = False
        self.progress_writer = ProgressWriter(self._write_progress)

    def routes(self) -> list[web.RouteDef]:
        """The table of this part, older paths beside the present ones."""
        return [
            web.post(EXCHANGE, self.identity),
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

    async def identity(self, request: web.Request) -> web.Response:
        """X3: the boot script's nonce for an identity."""
        body = await read_body(request, wire.BODY_LIMIT_BYTES)
        run, call = wire.parse(body, wire.IdentityCall)
        if not self._exchanges.takes(address_of(request)):
            raise TooBusy(f"more than {EXCHANGES_A_MINUTE} boots a minute from one address")
        identities = self._gate.identities
        identity = await identities.exchange(call.nonce, run, address_of(request))
        self._metrics.agents_known.inc()
        self._log.info("agent is known", mac=run.mac, ip=identity.address)
        answer = {"identity": identities.token(identity), "expires_at": identity.expires}
        return json_answer(answer)

    async def report(self, request: web.Request) -> web.Response:
        """B1: when it is answered, the region knows the machine by every MAC of the report."""
        body = await read_body(request, wire.REPORT_LIMIT_BYTES)
        run, call = wire.parse(body, wire.Report)
        sn = usable_sn(call.sn)
        try:
            known = self._agents.find_task(run.mac, sn)
            is_over = self._gate.check_report(request, run, known.task_id if known else None)
            if known and is_over:
                return _stopped(known, _end_reason(known))
            if known and self._plans_for(known) and self._sources.awaited(known):
                raise Occupied(f"{self._idc} fetches still what {known.sn} is installed from")
            needed = self._sources.required_bytes(known)
            task = await self._agents.report(
                run,
                sn,
                call.hardware,
                needed,
                whole_image=self._sources.is_whole_image(known),
                sector_bytes=self._sources.sector_bytes(known),
            )
            about(task)
            if refusal := self._sources.refusal(task, address_of(request)):
                task = await self._agents.fail(task, refusal)
        except NoTask as error:
            self._metrics.reports.labels("no task").inc()
            self._log.info("report without a task", mac=run.mac, sn=sn)
            return self._no_task(error)
        except ForeignMachine as error:
            self._metrics.reports.labels("another machine").inc()
            self._log.warning("report of another machine", mac=run.mac, sn=sn, why=str(error))
            return _foreign(error)
        await self._gate.bind(request, task.task_id)
        self._liveness.heard(run, (task.idc, task.sn))
        await self._hear_of(task)
        self._metrics.reports.labels("task").inc()
        self._log.info("report", mac=run.mac, task_id=task.task_id, status=task.status.value)
        if task.finished:
            return _stopped(task, _end_reason(task))
        if task.starts_its_system:
            return _stopped(task, _STARTS)
        answer = {"status": "received", "task_id": task.task_id}
        return json_answer({**answer, "next_action": "wait_for_approval"})

    @staticmethod
    def _plans_for(task: Task) -> bool:
        """Whether a report has its disks planned, by what its system needs."""
        return not (task.finished or task.starts_its_system or task.status is Status.INSTALLING)

    async def approval(self, request: web.Request) -> web.Response:
        """B4: a long poll."""
        mac = parse_mac(request.match_info["mac"], "mac")
        wait_s = wire.parse_wait_s(request.query.get("wait"), LONGEST_WAIT_S)
        run = self._gate.caller_by_mac(request, mac)
        task = self._task_of(mac, request.query.get("task_id"))
        self._gate.caller_of_task(request, run, task.task_id)
        about(task)
        if task.starts_its_system:
            return json_answer({"status": "restarting", "reason": _STARTS})
        self._liveness.heard(AgentRun(mac=mac, agent_id=mac), (task.idc, task.sn), wait_s)
        if wait_s and not self._stopping:
            await self._poll(task, wait_s)
            waited_on_purpose(places())
            task = self._task_of(mac, task.task_id)
        if task.status in _DECIDED:
            return await self._approved(task, request)
        if task.finished:
            return json_answer({"status": task.status.value, "reason": _end_reason(task)})
        return json_answer({"status": "pending"})

    async def status(self, request: web.Request) -> web.Response:
        """B2: the claim before the disk is touched, and the end of an install."""
        body = await read_body(request, wire.BODY_LIMIT_BYTES)
        run, call = wire.parse(body, wire.StatusCall)
        is_over = self._gate.caller_of_task(request, run, call.task_id)
        if call.status == "installing":
            task = await self._agents.claim(run, call.task_id, call.intent_id)
        else:
            await self.progress_writer.flush(run, call.task_id)
            task = await self._ended(run, call)
        about(task)
        if is_over:
            return _state(task)
        self._note_alive(run, task)
        line = f"[INFO] [agent] the agent is {call.status}: {call.text()}"
        if call.status == "failed":
            line = f"[ERROR] [agent] {call.text()}"
        await self._logs.append(task.task_id, self._clock(), [line, *call.output_lines()])
        self._log.info("agent status", mac=run.mac, task_id=task.task_id, status=task.status.value)
        return _state(task)

    async def progress(self, request: web.Request) -> web.Response:
        """B3: answered when the store has it."""
        body = await read_body(request, wire.BODY_LIMIT_BYTES)
        run, call = wire.parse(body, wire.ProgressCall)
        is_over = self._gate.caller_of_task(request, run, call.task_id)
        progress = Progress(
            step=call.stage,
            percent=call.percentage,
            timestamp=self._clock(),
            message=call.text(),
            bytes_done=call.bytes_done,
            bytes_total=call.bytes_total,
            bytes_per_second=call.bytes_per_second,
        )
        lines: Sequence[str] = () if is_over else call.lines()
        numbered = call.numbered(self._fleet.log_marks(call.task_id))
        results = call.step_results()
        writer = self.progress_writer
        task = await writer.submit(run, call.task_id, progress, lines, results, numbered=numbered)
        if not is_over:
            self._note_alive(run, task)
        return _state(task)

    async def log(self, request: web.Request) -> web.FileResponse:
        """The full log of a task, with ranges, for control planes."""
        task_id = request.match_info["task_id"]
        path = self._logs.path(task_id)
        self._log_readers.check(task_id, request.headers.get("Authorization"))
        if not await asyncio.to_thread(path.is_file):
            self._check_connected()
            raise NoTask(f"{self._idc} keeps no log of this task")
        return web.FileResponse(path, headers={"Content-Type": "text/plain; charset=utf-8"})

    def _note_alive(self, run: AgentRun, task: Task) -> None:
        """The agent lives, unless this was its last word."""
        if task.starts_its_system or is_handed_over(task):
            self._liveness.left((task.idc, task.sn))
        else:
            self._liveness.heard(run, (task.idc, task.sn))

    async def _ended(self, run: AgentRun, call: wire.StatusCall) -> Task:
        if call.status == "completed":
            return await self._agents.completed(run, call.task_id)
        if call.status == "restarting":
            if call.first_boot_sha256 is None:
                raise InvalidInput(FieldProblem("first_boot_sha256", "is missing"))
            return await self._agents.handed_over(run, call.task_id, call.first_boot_sha256)
        if call.status == "handing_over":
            return await self._agents.installer_begins(run, call.task_id, call.handover)
        return await self._agents.failed(run, call.task_id, call.task_error())

    async def _write_progress(
        self,
        run: AgentRun,
        task_id: str,
        progress: Progress,
        lines: Sequence[str],
        results: Sequence[StepResult],
        *,
        marks: Marks,
    ) -> Task:
        with self._metrics.progress_write_seconds.time():
            task = await self._agents.progress(run, task_id, progress, lines, results, marks=marks)
        self._metrics.progress_writes.inc()
        await self._logs.append(task.task_id, self._clock(), lines)
        return task

    async def _approved(self, task: Task, request: web.Request) -> web.Response:
        if is_handed_over(task):
            return json_answer({"status": "restarting", "reason": _HANDED_OVER})
        if self._sources.awaited(task):
            return json_answer({"status": "pending"})
        plan = await self._plan(task, request)
        if not isinstance(plan, TaskError):
            return json_answer({"status": "approved", "plan": plan})
        self._log.error("no install plan", task_id=task.task_id, reason=plan.reason)
        if task.status is not Status.APPROVED:  # the agent that installs has its plan
            return json_answer({"status": "pending"})
        task = await self._agents.fail(task, plan)
        return json_answer({"status": task.status.value, "reason": _end_reason(task)})

    async def _plan(self, task: Task, request: web.Request) -> InstallPlan | JobOrder | TaskError:
        if task.job is not None:
            return order_job(task) or _no_plan("it has no approved plan")
        manifest = self._sources.of(task)
        region_url = self._reached.url(request)
        if manifest is None:
            return no_source(task)
        try:
            if isinstance(manifest, InstallerManifest):
                address = address_of(request)
                if refusal := self._sources.loader_refusal(task, address):
                    return refusal
                return await self._handovers.plan(task, manifest, address, region_url)
            secrets = await self._secrets.opened(task)
            return plan_install(task, manifest, region_url, secrets)
        except Unavailable:
            raise
        except LpmosError as error:
            return _no_plan(str(error))

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
        """Wait for a decision that can be carried out, at most `wait_s`; not beyond the end."""
        try:
            async with asyncio.timeout(wait_s) as limit:
                self._polls.add(limit)
                await self._fleet.wait_for_task(task.task_id, _decided, wait_s)
                while self._awaits_its_source(task.task_id):  # noqa: ASYNC110 - a directory tells nobody
                    await asyncio.sleep(AWAITED_LOOK_S)
        except TimeoutError:
            pass
        finally:
            self._polls.discard(limit)

    def _awaits_its_source(self, task_id: str) -> bool:
        task = self._fleet.task(task_id)
        return bool(task and task.status is Status.APPROVED and self._sources.awaited(task))

    async def _hear_of(self, task: Task) -> None:
        """Wait until the fleet has what was just written; its machine came in the same revision."""

        def known(here: Task) -> bool:
            return here.hardware == task.hardware and here.updated_at >= task.updated_at

        await self._fleet.wait_for_task(task.task_id, known, KNOWN_TIMEOUT_S)

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


def _foreign(error: ForeignMachine) -> web.Response:
    problem = problem_for(error)
    body = {**problem.document, "error": str(error), "hint": FOREIGN_HINT}
    return json_answer(body, status=problem.status, content_type=MEDIA_TYPE)


def _decided(task: Task) -> bool:
    return task.finished or task.status in _DECIDED


def _stopped(task: Task, reason: str) -> web.Response:
    answer = {"status": "received", "task_id": task.task_id, "next_action": "stop"}
    return json_answer({**answer, "reason": reason})


def _state(task: Task) -> web.Response:
    return json_answer({"status": task.status.value, "task_id": task.task_id})


def _no_plan(why: str) -> TaskError:
    return TaskError(reason=f"no install plan can be made: {why}")


def _end_reason(task: Task) -> str:
    if task.error:
        return task.error.reason
    if task.approval and task.approval.reason:
        return task.approval.reason
    return f"task {task.task_id} is {task.status.value}"
