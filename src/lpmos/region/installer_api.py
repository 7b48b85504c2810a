"""What a distribution's installer asks and tells its region: answer file, progress, the end (I9).

The rule: the token in the path is the caller's right, checked before anything else, and gives this
one install alone. What is told becomes the task's progress and log by the very use cases by which
an agent tells it, so it is kept for the store, merged and fenced as that is. Installers know GET
best (`wget` in a preseed, `curl` in a kickstart): words may come by GET or POST.
"""

import hashlib
import math
from collections.abc import Iterable
from typing import get_args

import msgspec
import structlog
from aiohttp import web

from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.firstboot import WRITTEN_PERCENT
from lpmos.core.handover import HAND_OVER
from lpmos.install import answers, first_boot
from lpmos.model.errors import FieldProblem, InvalidInput, NotFound
from lpmos.model.installer import InstallerManifest
from lpmos.model.installplan import PlannedFile
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, Task, TaskError
from lpmos.region import wire
from lpmos.region.agent_gate import address_of
from lpmos.region.answers import json_answer
from lpmos.region.handover_plans import PREFIX, HandoverPlans
from lpmos.region.installer_tokens import Caller, first_boot_token
from lpmos.region.progress import ProgressWriter
from lpmos.region.reached import Reached
from lpmos.region.reading import read_body
from lpmos.region.sources import Sources
from lpmos.region.tasklog import TaskLogs

LOG_LIMIT_BYTES = 256 * 1024
"""Of one call with log lines; longer ones are refused."""
HINT = "read the task's log, and the installer's own on the machine's console; then try it again"

STAGES = get_args(wire.Stage)


class InstallerApi:
    """The handlers below `/installer/`."""

    def __init__(
        self,
        agents: Agents,
        sources: Sources,
        plans: HandoverPlans,
        clock: Clock,
        *,
        idc: str,
        reached: Reached,
        logs: TaskLogs,
        progress: ProgressWriter,
    ) -> None:
        """`reached` says where a machine finds the region; `progress` is the agents' too."""
        self._agents = agents
        self._sources = sources
        self._plans = plans
        self._clock = clock
        self._reached = reached
        self._logs = logs
        self._progress = progress
        self._log = structlog.get_logger().bind(idc=idc)

    def routes(self) -> list[web.RouteDef]:
        """The table of this part."""
        here = f"{PREFIX}/{{token}}"
        words = {"progress": self.progress, "failed": self.failed, "installed": self.installed}
        return [
            web.get(f"{here}/answer", self.answer),
            web.get(f"{here}/user-data", self.answer),
            web.get(f"{here}/meta-data", self.meta_data),
            web.get(f"{here}/vendor-data", self.vendor_data),
            web.get(f"{here}/first-boot", self.first_boot),
            web.post(f"{here}/log", self.log),
            *(web.get(f"{here}/{name}", handler) for name, handler in words.items()),
            *(web.post(f"{here}/{name}", handler) for name, handler in words.items()),
        ]

    async def answer(self, request: web.Request) -> web.Response:
        """The answer file, rendered now."""
        caller = self._caller(request)
        manifest = self._manifest(caller.task)
        token, region_url = request.match_info["token"], self._reached.url(request)
        text = await self._plans.answer(caller.task, manifest, token, region_url)
        await self._note(caller, f"[INFO] the installer {manifest.name} read its answer file")
        return _text(text)

    async def meta_data(self, request: web.Request) -> web.Response:
        """What cloud-init wants to know beside the answer file of Ubuntu."""
        return _text(answers.meta_data(self._caller(request).task))

    async def vendor_data(self, request: web.Request) -> web.Response:
        """Nothing, which cloud-init asks for all the same."""
        self._caller(request)
        return _text("")

    async def first_boot(self, request: web.Request) -> web.Response:
        """A shell script that makes the system below `$1` say once that it came up."""
        caller = self._caller(request)
        secrets = await self._plans.open_secrets(caller.task)
        token = first_boot_token(request.match_info["token"])
        files = first_boot.files(caller.task, self._reached.url(request), secrets)
        return _text(first_boot_script(files, token))

    async def progress(self, request: web.Request) -> web.Response:
        """A word of progress; without a stage it is a line of the log."""
        caller = self._caller(request)
        query = request.query
        message = wire.one_line(query.get("message", "") or await _body_text(request))
        if "stage" not in query:
            await self._note(caller, wire.log_line(message or "the installer is at work"))
            return _state(caller.task)
        stage, percent = query["stage"], _percent(query.get("percent", "0"))
        if stage not in STAGES or stage == HAND_OVER:
            raise InvalidInput(FieldProblem("stage", "must be one of an installation's stages"))
        progress = Progress(
            step=stage,
            # 100 would complete the task, which is the installed system's word.
            percent=min(max(percent, caller.task.percent), WRITTEN_PERCENT),
            timestamp=self._clock(),
            message=message,
        )
        line = f"[INFO] installer: {stage} {progress.percent:.0f} %: {message}".rstrip(": ")
        task = await self._progress.submit(caller.run, caller.task.task_id, progress, [line])
        return _state(task)

    async def failed(self, request: web.Request) -> web.Response:
        """The installer gave up: the task fails with what it says."""
        caller = self._caller(request)
        said = wire.one_line(request.query.get("message", "") or await _body_text(request))
        reason = f"the installer failed: {said or 'it does not say why'}"
        await self._progress.flush(caller.run, caller.task.task_id)
        error = TaskError(reason=reason, hint=HINT, code="installer-failed")
        task = await self._agents.failed(caller.run, caller.task.task_id, error)
        await self._logs.append(task.task_id, self._clock(), [f"[ERROR] {reason}"])
        self._log.warning("installer failed", task_id=task.task_id, reason=reason)
        return _state(task)

    async def installed(self, request: web.Request) -> web.Response:
        """All is on the disk: what starts next is the installed system, which says so itself."""
        caller = self._caller(request)
        await self._progress.flush(caller.run, caller.task.task_id)
        token = first_boot_token(request.match_info["token"])
        sha256 = hashlib.sha256(token.encode()).hexdigest()
        task = await self._agents.handed_over(caller.run, caller.task.task_id, sha256)
        line = "[INFO] the installer is done; the installed system starts"
        await self._logs.append(task.task_id, self._clock(), [line])
        self._log.info("installer is done", task_id=task.task_id)
        return _state(task)

    async def log(self, request: web.Request) -> web.Response:
        """Lines of the installer's own log; they go into the task's full log."""
        caller = self._caller(request)
        body = await read_body(request, LOG_LIMIT_BYTES)
        lines = [wire.log_line(line) for line in body.decode(errors="replace").splitlines() if line]
        await self._logs.append(caller.task.task_id, self._clock(), lines)
        return _state(caller.task)

    def _caller(self, request: web.Request) -> Caller:
        return self._plans.tokens.caller(request.match_info["token"], address_of(request))

    def _manifest(self, task: Task) -> InstallerManifest:
        found = self._sources.of(task)
        if not isinstance(found, InstallerManifest):
            raise NotFound(f"the installer of task {task.task_id} was removed from its region")
        return found

    async def _note(self, caller: Caller, line: str) -> None:
        """A line in the task, at the progress that it has; it counts as news of the installer."""
        known = caller.task.progress[-1] if caller.task.progress else None
        at = known or Progress(step=HAND_OVER, percent=0.0, timestamp=self._clock())
        progress = msgspec.structs.replace(at, timestamp=self._clock())
        await self._progress.submit(caller.run, caller.task.task_id, progress, [line])


def first_boot_script(files: Iterable[PlannedFile], token: str) -> str:
    """A POSIX shell script that writes the files below the directory that is its argument."""
    parts = ["#!/bin/sh", "set -eu", 'root="${1:-}"']
    for number, file in enumerate(files):
        content = file.content.replace(first_boot.TOKEN, token)
        end = f"END-OF-FILE-{number}"
        while end in content:
            end += "-"
        directory = file.path.rpartition("/")[0]
        parts += [
            f'mkdir -p "$root{directory}"',
            f"cat > \"$root{file.path}\" <<'{end}'",
            content.removesuffix("\n"),
            end,
            f'chmod {file.mode:o} "$root{file.path}"',
        ]
    return "\n".join(parts) + "\n"


def is_handed_over(task: Task) -> bool:
    """Whether an installer has the machine, and no agent is expected to be heard."""
    return task.status is Status.INSTALLING and task.handover is not None


async def _body_text(request: web.Request) -> str:
    """What a POST says: text, or the description in the JSON of a reporting hook (Subiquity's)."""
    if request.method != "POST":
        return ""
    body = await read_body(request, wire.BODY_LIMIT_BYTES)
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return body.decode(errors="replace")
    if not isinstance(said, dict):
        return str(said)
    words = (said.get(name) for name in ("event_type", "name", "description", "result"))
    return " ".join(str(word) for word in words if word)


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise InvalidInput(FieldProblem("percent", "is not a number from 0 to 100"))
    return percent


def _text(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/plain", headers={"Cache-Control": "no-store"})


def _state(task: Task) -> web.Response:
    return json_answer({"status": task.status.value, "task_id": task.task_id})
