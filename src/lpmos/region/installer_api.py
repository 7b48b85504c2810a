"""What a distribution's installer asks and tells its region: answer file, progress, the end (I9).

The rule: the token in the path is the caller's right, checked before anything else, and gives this
one install alone. What is told becomes the task's progress and log by the very use cases by which
an agent tells it, so it is kept for the store, merged and fenced as that is. Installers know GET
best (`wget` in a preseed, `curl` in a kickstart): words may come by GET or POST.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from typing import get_args

import msgspec
import structlog
from aiohttp import web

from lpmos.core.agents import Agents
from lpmos.core.clock import Clock
from lpmos.core.firstboot import WRITTEN_PERCENT
from lpmos.core.handover import HAND_OVER
from lpmos.core.loglines import Numbered
from lpmos.core.tracing import about
from lpmos.install import answers, first_boot
from lpmos.model.errors import FieldProblem, InvalidInput, NotFound, TooBusy, TooLarge
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
from lpmos.region.seldom import Seldom
from lpmos.region.sources import Sources
from lpmos.region.tasklog import TaskLogs

MASK = "********"
LOG_LIMIT_BYTES = 256 * 1024
"""Of one call with log lines; longer ones are refused."""
LOG_LINES = 2_000
"""Of one call, too: each is looked at for itself. The package's own scripts send 91 at most."""
LOG_CALLS_A_MINUTE = 120
HINT = "read the task's log, and the installer's own on the machine's console; then try it again"

STAGES = get_args(wire.Stage)
_FILE = re.compile(r"[A-Za-z0-9._-]{0,64}")
_NUMBER = re.compile(r"[1-9][0-9]{0,14}")
_ANY_TOKEN = re.compile(PREFIX + r"/[0-9a-f]{16}[^/\s]*")
"""Another's too, and a part of one; `/var/log/installer/syslog` has none."""


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
        self._log_calls = Seldom(LOG_CALLS_A_MINUTE, 60.0)
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
            web.get(f"{here}/windows/{{name}}", self.windows_file),
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

    async def windows_file(self, request: web.Request) -> web.Response:
        """A batch file of Windows's install, by its name."""
        caller = self._caller(request)
        manifest, url = self._manifest(caller.task), self._reached.url(request)
        token, name = request.match_info["token"], request.match_info["name"]
        return _text(await self._plans.windows_file(caller.task, manifest, token, url, name))

    async def progress(self, request: web.Request) -> web.Response:
        """A word of progress; without a stage it is a line of the log."""
        caller = self._caller(request)
        query = request.query
        message = wire.one_line(query.get("message", "") or await _body_text(request))
        if "stage" not in query:
            text = message or "the installer is at work"
            await self._note(caller, wire.spoken_line(text, wire.INSTALLER))
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
        line = f"[INFO] [installer] {stage} {progress.percent:.0f} %: {message}".rstrip(": ")
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
        """Lines of the installer's own log; with `first`, the number of the first, taken once.

        They are no progress: an installer that only logs is at its deadline all the same.
        """
        caller = self._caller(request)
        if not self._log_calls.takes(caller.task.task_id):
            raise TooBusy(f"a log is taken at most {LOG_CALLS_A_MINUTE} times a minute")
        body = await read_body(request, LOG_LIMIT_BYTES)
        if body.count(b"\n") > LOG_LINES:
            raise TooLarge(f"the body has more than {LOG_LINES} lines")
        secrets = await self._plans.open_secrets(caller.task)
        text = _without_token(body.decode(errors="replace"), request.match_info["token"])
        text = masked(text, secrets.texts)
        lines = _log_lines(text, request.query.get("file", ""))
        if lines:
            known = caller.task.progress[-1] if caller.task.progress else None
            at = known or Progress(step=HAND_OVER, percent=0.0, timestamp=self._clock())
            numbered = _numbered(request.query.get("first"), caller.task)
            await self._progress.submit(
                caller.run, caller.task.task_id, at, lines, numbered=numbered
            )
        return _state(caller.task)

    def _caller(self, request: web.Request) -> Caller:
        caller = self._plans.tokens.caller(request.match_info["token"], address_of(request))
        about(caller.task)
        return caller

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


def masked(text: str, secrets: Iterable[str]) -> str:
    """A log with `********` for each secret; those come longest first."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


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


def _log_lines(text: str, file: str) -> list[str]:
    """The lines of a log file, each with its level and who speaks; the last may be without end."""
    if not _FILE.fullmatch(file):
        raise InvalidInput(FieldProblem("file", "must be up to 64 of A-Z, a-z, 0-9, '.', '_', '-'"))
    name = f"{file}: " if file else ""
    lines = text.removesuffix("\n").split("\n") if text else []
    return [wire.spoken_line(line, wire.INSTALLER, name) for line in lines]


def _numbered(first: str | None, task: Task) -> Numbered | None:
    if first is None:
        return None
    if not _NUMBER.fullmatch(first):
        raise InvalidInput(FieldProblem("first", "must be a line's number, counted from 1"))
    return Numbered(wire.INSTALLER, int(first), task.log_marks.get(wire.INSTALLER, 0))


def _without_token(text: str, token: str) -> str:
    """What an installer logs of its own addresses, without what gives the right to call."""
    text = text.replace(token, "TOKEN").replace(first_boot_token(token), "TOKEN")
    return _ANY_TOKEN.sub(f"{PREFIX}/TOKEN", text)


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
