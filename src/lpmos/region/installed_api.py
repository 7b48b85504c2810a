"""The one call of an installed system to its region: that it came up (L2).

The rule: the call's own token is its right, and gives nothing but this word. It is hashed here and
goes no further: not into the store, the outbox, the log, or an answer.
"""

import hashlib
import re
from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from lpmos.core.agents import Agents
from lpmos.core.firstboot import NotHandedOver
from lpmos.core.problems import decode_body
from lpmos.install.first_boot import PATH
from lpmos.model.errors import Conflict, NotFound, Unauthenticated
from lpmos.model.machine import parse_mac
from lpmos.region.answers import json_answer
from lpmos.region.reading import read_body
from lpmos.region.seldom import SAY_EVERY_S, SAY_LIMIT, Seldom

BODY_LIMIT_BYTES = 4096
TOKEN_PATTERN = "^[A-Za-z0-9_-]{32,128}$"  # noqa: S105 - its shape, not a token
_TASK_ID = re.compile(r"[0-9a-f-]{1,64}")


class InstalledCall(msgspec.Struct, frozen=True, kw_only=True):
    """What an installed system says; unknown fields are ignored."""

    task_id: Annotated[str, Meta(pattern=f"^{_TASK_ID.pattern}$")]
    mac_address: str
    token: Annotated[str, Meta(pattern=TOKEN_PATTERN)]


def parse_installed(body: bytes) -> tuple[str, str, str]:
    """The task's id, the normalised MAC, and the SHA-256 of the token.

    Raises:
        msgspec.DecodeError: the body is not JSON.
        InvalidInput: names the field that is wrong.
    """
    call = decode_body(body, InstalledCall)
    mac = parse_mac(call.mac_address, "mac_address")
    return call.task_id, mac, hashlib.sha256(call.token.encode()).hexdigest()


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
        """Complete the task; repeated it is the same answer."""
        task_id, mac, token_sha256 = parse_installed(await read_body(request, BODY_LIMIT_BYTES))
        try:
            task = await self._agents.came_up(mac, task_id, token_sha256)
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
        self._log.info("the installed system came up", task_id=task_id, mac=mac)
        return json_answer({"status": task.status.value, "task_id": task.task_id})
