"""Lets agents in (X3): each call of an agent shows its identity, and is that identity's own.

The rule: a path below `/api/v1/agent/` or an older path of the same calls is behind the gate
without being named anywhere else. The gate checks the token before a body is read; each handler
then has `caller` compare who the body says it is. With TLS configured nothing passes without it.
"""

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from lpmos.core.agentrun import AgentRun
from lpmos.core.fleet import Fleet
from lpmos.model.errors import Forbidden
from lpmos.region.answers import Handler
from lpmos.region.identities import REASONS, AgentRefused, Identities, Identity, check_task
from lpmos.region.metrics import Metrics
from lpmos.region.seldom import SAY_EVERY_S, SAY_LIMIT, Seldom

HEADER = "LPMOS-Identity"
"""Of an answer: the identity for the next calls."""

EXCHANGE = "/api/v1/agent/identity"
AGENTS = "/api/v1/agent/"
OLDER = ("/api/report", "/api/progress", "/api/approval/")

_IDENTITY = web.RequestKey("agent_identity", Identity)
_RENEWED = web.RequestKey("agent_identity_renewed", Identity)


class TlsNeeded(Forbidden):
    """An agent's call without TLS at a region that has it."""

    code = "tls-needed"


class AgentGate:
    """Who comes in; `identities` decides what a token is."""

    def __init__(
        self,
        identities: Identities,
        fleet: Fleet,
        metrics: Metrics,
        *,
        idc: str,
        required: bool,
        tls_port: int | None,
    ) -> None:
        """Where not `required`, agents that show nothing come in too (older agent images)."""
        self._identities = identities
        self._fleet = fleet
        self._metrics = metrics
        self._required = required
        self._tls_port = tls_port
        for reason in REASONS:  # a counter that begins with 1 has no increase to Prometheus
            metrics.agents_refused.labels(reason)
        self._said = Seldom(SAY_LIMIT, SAY_EVERY_S)
        self._log = structlog.get_logger().bind(idc=idc)

    @property
    def identities(self) -> Identities:
        """What the gate checks with."""
        return self._identities

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Checks the token of each call of an agent."""

        @web.middleware
        async def enter(request: web.Request, handler: Handler) -> web.StreamResponse:
            route = _route(request)
            if not route.startswith((AGENTS, *OLDER)):
                return await handler(request)
            try:
                self._check_tls(request)
                if route != EXCHANGE:
                    self._identify(request)
                return await handler(request)
            except AgentRefused as error:
                self._refused(request, error)
                raise

        return enter

    async def sign_answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """Give the identity for the next calls, with whatever the answer is."""
        if renewed := request.get(_RENEWED):
            response.headers[HEADER] = self._identities.token(renewed)
        if response.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"

    def caller(self, request: web.Request, run: AgentRun) -> Identity | None:
        """The identity of the run that a body names; None for one that shows none and need not.

        Raises:
            AgentRefused: it is another's.
        """
        identity: Identity | None = request.get(_IDENTITY)
        if identity is None:
            return None
        if identity.mac != run.mac:
            raise AgentRefused(
                "other MAC",
                "the agent's identity is of another machine; boot this one from the network",
                "a machine spoke for another one: look what runs at this address",
            )
        if identity.agent_id != run.agent_id:
            raise AgentRefused(
                "other run",
                "the agent's identity is of another agent run; boot again",
                "somebody else used an agent's identity: look what runs at this address",
            )
        return identity

    def caller_of_task(self, request: web.Request, run: AgentRun, task_id: str) -> bool:
        """As `caller`, for a call about a task; whether that task is over for this caller.

        Whose task is over may hear so, and say its last word again; nothing of it is kept.
        """
        identity = self.caller(request, run)
        if identity is None:
            return False
        check_task(identity.task_id, task_id)
        return self._is_over(identity)

    def caller_by_mac(self, request: web.Request, mac: str) -> AgentRun:
        """The run of a call that names only a MAC; known by this MAC where it shows nothing.

        Raises:
            AgentRefused: the identity is another machine's.
        """
        identity: Identity | None = request.get(_IDENTITY)
        run = identity.run if identity else AgentRun(mac=mac, agent_id=mac)
        self.caller(request, AgentRun(mac=mac, agent_id=run.agent_id))
        return run

    def check_report(self, request: web.Request, run: AgentRun, task_id: str | None) -> bool:
        """Before a report is taken: whether this run's own task, which it is about, is over.

        Raises:
            AgentRefused: the run has another task.
        """
        identity = self.caller(request, run)
        bound = self._identities.task_of(identity) if identity else None
        if identity is None or bound is None or task_id is None:
            return False
        check_task(bound, task_id)
        return self._is_over(identity)

    async def bind(self, request: web.Request, task_id: str) -> None:
        """After a report was taken: the caller's identity is this task's from now on; raises as
        `Identities.bound`.
        """
        identity: Identity | None = request.get(_IDENTITY)
        if identity is not None:
            request[_RENEWED] = await self._identities.bound(identity, task_id)

    def _check_tls(self, request: web.Request) -> None:
        if self._tls_port is not None and not request.secure:
            raise TlsNeeded(
                f"agents are answered by TLS at port {self._tls_port} only; a machine that was"
                " booted before that boots again, and an older agent image is built again with"
                " `lpmos image build-agent`"
            )

    def _identify(self, request: web.Request) -> None:
        """Note whose call it is, and a new token where the old one goes to its end."""
        given = request.headers.get("Authorization")
        if given is None:
            if self._required:
                raise AgentRefused(
                    "none",
                    "an agent without an identity; boot again, and build the agent image again"
                    " with `lpmos image build-agent` where it is an older one",
                    "an older agent image: build it again with `lpmos image build-agent`, or set"
                    " agent_identity to optional until you have; else somebody tries something",
                )
            return
        scheme, _, token = given.partition(" ")
        identity = self._identities.identity_of(
            token.strip() if scheme.lower() == "bearer" else "", address_of(request)
        )
        request[_IDENTITY] = identity
        if self._identities.is_due(identity) and not self._is_over(identity):
            request[_RENEWED] = self._identities.renewed(identity)

    def _is_over(self, identity: Identity) -> bool:
        task_id = self._identities.task_of(identity)
        row = self._fleet.row(task_id) if task_id else None
        return row is not None and row.finished

    def _refused(self, request: web.Request, error: AgentRefused) -> None:
        self._metrics.agents_refused.labels(error.reason).inc()
        if not self._said.takes((error.reason, address_of(request))):
            return
        self._log.warning(
            "an agent is refused",
            reason=error.reason,
            ip=address_of(request),
            path=_route(request),
            hint=error.hint,
        )


def address_of(request: web.Request) -> str:
    """Where a request comes from; IPv4 as such, also on a socket for both (RFC 4291, 2.5.5.2)."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]).removeprefix("::ffff:") if peer else ""


def _route(request: web.Request) -> str:
    """The path that will answer, as it is written in the table of routes."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""
