"""The control plane's REST API as the lab's drivers use it: a few calls and what they need to see.

A client like any other: it knows the documented paths and shapes, and nothing of the server's code
but the model that both share.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from lpmos.lab.errors import ApiRefused
from lpmos.model.image import OfferedOs
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from lpmos.model.task import Progress, StatusChange, TaskError

API: Final = "/api/v1"
CALL_TIMEOUT_S: Final = 30.0

T = TypeVar("T")


class CreatedTask(msgspec.Struct, frozen=True):
    """What the answer to a new task names (A1)."""

    task_id: str
    status: Status


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver looks at in a task (A2)."""

    task_id: str
    hostname: str
    status: Status
    status_history: tuple[StatusChange, ...]
    progress: tuple[Progress, ...] = ()
    error: TaskError | None = None
    handed_over_at: datetime | None = None
    logs: tuple[str, ...] = ()
    hardware: Inventory | None = None


class RegionState(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver looks at in a region (A7)."""

    idc: str
    online: bool
    services: dict[str, str] = {}
    offered: tuple[OfferedOs, ...] = ()


class _Login(msgspec.Struct, frozen=True):
    access_token: str


class _ApiToken(msgspec.Struct, frozen=True):
    token: str


class _Regions(msgspec.Struct, frozen=True):
    regions: tuple[RegionState, ...]


class _Row(msgspec.Struct, frozen=True):
    row: int
    sn: str | None = None
    task_id: str | None = None
    problem: dict[str, Any] | None = None


class _Bulk(msgspec.Struct, frozen=True):
    rows: tuple[_Row, ...]


class _Counts(msgspec.Struct, frozen=True):
    counts: dict[str, int]


class _Health(msgspec.Struct, frozen=True):
    ready: bool


class _Problem(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457)."""

    title: str = ""
    detail: str = ""


class ApiClient:
    """An async context; every call raises `ApiRefused` for an error's answer.

    A server that cannot be reached or does not answer in `CALL_TIMEOUT_S` is status 0.
    """

    def __init__(self, base_url: str, token: str = "") -> None:
        self._base_url = base_url
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ApiClient":
        self._session = aiohttp.ClientSession(
            self._base_url,
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def sign_in(self, username: str, password: str) -> None:
        """Sign in, and call with an API token of one day from then on: a login's lasts minutes."""
        credentials = {"username": username, "password": password}
        self._token = (await self._call("POST", f"{API}/login", _Login, credentials)).access_token
        new = {"name": "lab", "lifetime_days": 1}
        self._token = (await self._call("POST", f"{API}/tokens", _ApiToken, new)).token

    async def ready(self) -> bool:
        """Whether the control plane is of use: it answers, and so does its store."""
        try:
            return (await self._call("GET", "/health", _Health)).ready
        except ApiRefused:
            return False

    async def regions(self) -> tuple[RegionState, ...]:
        """Every region."""
        return (await self._call("GET", f"{API}/regions", _Regions)).regions

    async def create_task(self, new: NewTask) -> CreatedTask:
        """Create a task."""
        body = msgspec.to_builtins(new)
        given = {name: value for name, value in body.items() if value is not None}
        return await self._call("POST", f"{API}/tasks", CreatedTask, given)

    async def create_tasks(self, new: Sequence[NewTask]) -> dict[str, str]:
        """Create many tasks: their ids by serial number.

        Raises:
            ApiRefused: a row was refused; the text has the first.
        """
        rows = [
            {name: value for name, value in msgspec.to_builtins(each).items() if value is not None}
            for each in new
        ]
        found = await self._call("POST", f"{API}/tasks/bulk", _Bulk, rows)
        for row in found.rows:
            if row.task_id is None:
                raise ApiRefused(422, f"row {row.row}: {row.problem}")
        return {str(row.sn): str(row.task_id) for row in found.rows}

    async def approve_all(self) -> None:
        """Have a rule approve every install that overwrites nothing."""
        rule = {"name": "lab", "kind": "approve", "condition": "size(plan.overwrites) == 0"}
        await self._call("POST", f"{API}/rules", dict[str, Any], rule)

    async def counts(self) -> dict[str, int]:
        """How many tasks are in each status."""
        return (await self._call("GET", f"{API}/statistics", _Counts)).counts

    async def task(self, task_id: str) -> TaskState:
        """One task."""
        return await self._call("GET", f"{API}/tasks/{task_id}", TaskState)

    async def explanation(self, task_id: str) -> dict[str, Any]:
        """Why a task is where it is."""
        return await self._call("GET", f"{API}/tasks/{task_id}/explanation", dict[str, Any])

    async def approve(self, task_id: str, notes: str) -> None:
        """Allow the install."""
        body = {"approved": True, "notes": notes}
        await self._call("PUT", f"{API}/tasks/{task_id}/approve", dict[str, Any], body)

    async def _call(
        self,
        method: str,
        path: str,
        shape: type[T],
        body: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> T:
        if self._session is None:
            raise ApiRefused(0, "the client is not open")
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            async with self._session.request(method, path, json=body, headers=headers) as answer:
                content = await answer.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ApiRefused(0, f"{method} {path}: no answer ({error!r})") from error
        if answer.status >= 400:
            raise ApiRefused(answer.status, f"{method} {path}: {_said(answer.status, content)}")
        try:
            return msgspec.json.decode(content, type=shape)
        except msgspec.MsgspecError as error:
            raise ApiRefused(answer.status, f"{method} {path}: strange answer: {error}") from error


def _said(status: int, content: bytes) -> str:
    """An error's answer as a sentence."""
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        return f"{status}: {content[:200].decode(errors='replace')}"
    return f"{status} {problem.title}: {problem.detail}"
