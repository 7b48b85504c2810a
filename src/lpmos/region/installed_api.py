"""The one call of an installed system to its region: that it came up (L2), or that it failed.

The rule: the call's own token is its right, and gives nothing but this word. It is hashed here and
goes no further: not into the store, the outbox, the log, or an answer.
"""

import hashlib
import re
from typing import Annotated, Literal, NamedTuple

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from lpmos.core.agents import Agents
from lpmos.core.firstboot import NotHandedOver
from lpmos.core.problems import decode_body
from lpmos.core.tracing import about
from lpmos.install.first_boot import PATH
from lpmos.model.errors import Conflict, NotFound, Unauthenticated
from lpmos.model.machine import parse_mac
from lpmos.model.task import Task, TaskError
from lpmos.region.answers import json_answer
from lpmos.region.reading import read_body
from lpmos.region.seldom import SAY_EVERY_S, SAY_LIMIT, Seldom
from lpmos.region.wire import FailedCommand, bounded_error

BODY_LIMIT_BYTES = 16_384
FAILED_HINT = (
    "the disk holds the new system, which runs: repair there what failed, or change the task's"
    " setup and create it again"
)
TOKEN_PATTERN = "^[A-Za-z0-9_-]{32,128}$"  # noqa: S105 - its shape, not a token
_TASK_ID = re.compile(r"[0-9a-f-]{1,64}")


class InstalledCall(msgspec.Struct, frozen=True, kw_only=True):
    """What an installed system says; unknown fields are ignored.

    `failed`: something of the task's setup that it does first did not succeed.
    """

    task_id: Annotated[str, Meta(pattern=f"^{_TASK_ID.pattern}$")]
    mac_address: str
    token: Annotated[str, Meta(pattern=TOKEN_PATTERN)]
    status: Literal["up", "failed"] = "up"
    message: str = ""
    output: str = ""


class Said(NamedTuple):
    """A call of which all is checked; `failure` None: the system is up."""

    task_id: str
    mac: str
    token_sha256: str
    failure: TaskError | None


def parse_installed(body: bytes) -> Said:
    """The task's id, the normalised MAC, the SHA-256 of the token, and what failed.

    Raises:
        msgspec.DecodeError: the body is not JSON.
        InvalidInput: names the field that is wrong.
    """
    call = decode_body(body, InstalledCall)
    mac = parse_mac(call.mac_address, "mac_address")
    token_sha256 = hashlib.sha256(call.token.encode()).hexdigest()
    failure = None
    if call.status == "failed":
        reason = f"the first boot of the installed system failed: {call.message or 'no reason'}"
        error = FailedCommand(output=call.output or None, hint=FAILED_HINT)
        failure = bounded_error(reason, error)
    return Said(call.task_id, mac, token_sha256, failure)


class InstalledApi:
    """The handler of `POST /api/v1/installed`."""

    def __init__(self, agents: Agents, *, idc: str) -> None:
        self._agents = agents
        self._said = Seldom(SAY_LIMIT, SAY_EVERY_S)
        self._log = structlog.get_logger().bind(idc=idc)

    def routes(self) -> list[web.RouteDef]:
        """The table of this part."""
        return [web.post(PATH, self.installed)]

    async def installed(self, request: web.Request) -> web.Response:
        """Complete the task, or fail it; repeated it is the same answer."""
        said = parse_installed(await read_body(request, BODY_LIMIT_BYTES))
        task_id, mac = said.task_id, said.mac
        try:
            task = await self._heard(said)
        except NotHandedOver:
            raise
        except (Conflict, NotFound, Unauthenticated) as error:
            if self._said.takes(request.remote):
                self._log.warning(
                    "an installed system is refused",
                    task_id=task_id,
                    mac=mac,
                    ip=request.remote,
                    code=error.code,
                    error=str(error),
                )
            raise
        about(task)
        what = "came up" if said.failure is None else "could not do what it does first"
        self._log.info(f"the installed system {what}", task_id=task_id, mac=mac)
        return json_answer({"status": task.status.value, "task_id": task.task_id})

    async def _heard(self, said: Said) -> Task:
        if said.failure is None:
            return await self._agents.came_up(said.mac, said.task_id, said.token_sha256)
        return await self._agents.came_up_failing(
            said.mac, said.task_id, said.token_sha256, said.failure
        )
