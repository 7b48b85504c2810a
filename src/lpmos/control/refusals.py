"""What known users tried to change and were refused goes into the audit log, too.

So does every use of a token that was theirs, and is over or revoked: it may have been stolen.
One hook, where errors become answers, notes it; a service of the control plane writes it to the
store afterwards, so that a refusal costs its caller nothing. Of one user `OF_ONE_A_MINUTE` are told
in full, of all together `ALL_A_MINUTE`; the rest of that minute is one event that counts them for
each of `USERS`, and one for all others. So nobody makes the log grow by more than that, and who
only says to be somebody uses up nothing of theirs. Where the store is away longer than `QUEUED`
events last, what is lost is counted as well. An event may be told twice where the store's answer
was lost; both then have the same id.
"""

import asyncio
from collections import Counter, defaultdict, deque
from datetime import datetime
from typing import Any, NamedTuple, cast

import structlog
from litestar import Request, Response
from litestar.handlers import BaseRouteHandler

from lpmos.control.access import CLAIMED, SAFE_METHODS, SHOWN, client_address
from lpmos.control.audited import ACTIONS, UNKNOWN
from lpmos.control.http.observation import request_id
from lpmos.control.http.problems import answer_error
from lpmos.core import journal
from lpmos.core.clock import Clock
from lpmos.model.access import Principal
from lpmos.model.audit import SYSTEM, Actor, AuditEvent, new_event_id
from lpmos.store.api import Store, StoreError

log = structlog.get_logger()

REFUSED = frozenset({401, 403, 404, 409, 412, 422, 429})
"""The statuses that say: not you, not this, not now. Others are faults, of a program or of ours."""

OF_ONE_A_MINUTE = 10
ALL_A_MINUTE = 300
USERS = 200
KINDS_SHOWN = 20
QUEUED = 1000
WRITTEN_AT_ONCE = 50
PERIOD_S = 60.0
RETRY_S = 1.0
LAST_WRITE_S = 1.0
SHOWN_CHARACTERS = 300
TOKEN_REFUSED = "session.used"  # noqa: S105 - an action
"""What is refused to who shows a token of ours that is over or was revoked, whatever it is for."""


class Refused(NamedTuple):
    """Whose refusals are counted together; `known` by a token of theirs that was accepted."""

    name: str
    tenant: str | None
    known: bool


class Kind(NamedTuple):
    """What was tried, and why it was refused."""

    action: str
    code: str


OTHERS = Refused("others", None, known=False)
"""Who more users than `USERS` in one minute are counted as."""

VARIOUS = Kind("audit.refused", "various")
"""What a count of several kinds stands as."""


class Refusals:
    """Notes refusals and writes them, until cancelled, as `run`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        period_s: float = PERIOD_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """What is beyond the limits is counted over `period_s`; write again after `retry_s`."""
        self._store = store
        self._clock = clock
        self._period_s = period_s
        self._retry_s = retry_s
        self._queue: deque[AuditEvent] = deque()
        self._seen: Counter[Refused] = Counter()
        self._untold: defaultdict[Refused, Counter[Kind]] = defaultdict(Counter)
        self._queued_now = 0
        self._lost = 0
        self._arrived = asyncio.Event()

    def answer_error(
        self, request: Request[Any, Any, Any], error: Exception
    ) -> Response[dict[str, object]]:
        """The answer to a request that ended with `error`, which is noted where it must be."""
        answer = answer_error(request, error)
        shown: Actor | None = request.scope.get(SHOWN)  # type: ignore[assignment]
        if answer.status_code == 401 and shown is not None and CLAIMED not in request.scope:
            target = (shown.credential or "session").replace(":", "/", 1)
            self._note(request, shown, answer, TOKEN_REFUSED, target)
        elif request.method not in SAFE_METHODS and answer.status_code in REFUSED:
            by, action = _who(request), _action(request)
            if by is not None:
                self._note(request, by, answer, action, _target(request, action))
        return answer

    async def run(self) -> None:
        """Write what was noted for ever; at the end, what can be written at once."""
        period_ends_s = asyncio.get_running_loop().time() + self._period_s
        try:
            while True:
                if not await self._noted_before(period_ends_s):
                    period_ends_s += self._period_s
                    self._tell_counts()
                await self._write_all()
        finally:
            self._tell_counts()
            await self._write_last()

    async def _noted_before(self, moment_s: float) -> bool:
        """Wait for something to write; False where there is nothing until `moment_s`."""
        try:
            async with asyncio.timeout_at(moment_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        self._arrived.clear()
        return True

    async def _write_all(self) -> None:
        """Write the queue; an event leaves it once it is written."""
        while self._queue:
            events = [self._queue[place] for place in range(min(WRITTEN_AT_ONCE, len(self._queue)))]
            try:
                await self._store.txn([], [journal.put(event) for event in events])
            except StoreError as error:
                log.info("refusals are not written yet", reason=str(error), queued=len(self._queue))
                await asyncio.sleep(self._retry_s)
                continue
            for _ in events:
                self._queue.popleft()

    async def _write_last(self) -> None:
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                await self._write_all()
        except TimeoutError:
            log.warning("refusals were not written", count=len(self._queue))

    def _note(
        self,
        request: Request[Any, Any, Any],
        by: Actor,
        answer: Response[dict[str, object]],
        action: str,
        target: str,
    ) -> None:
        kind = Kind(action, str(answer.content["code"]))
        who = Refused(by.name, by.tenant, known=request.scope.get("user") is not None)
        if who not in self._seen and len(self._seen) >= USERS:
            who = OTHERS
        self._seen[who] += 1
        over = self._seen[who] > OF_ONE_A_MINUTE or self._queued_now >= ALL_A_MINUTE
        if over or who is OTHERS:
            self._untold[who][kind] += 1
            return
        self._queued_now += 1
        now = self._clock()
        self._put(
            AuditEvent(
                event_id=new_event_id(now),
                at=now,
                action=action,
                actor=by,
                target=target,
                tenant=by.tenant,
                outcome="refused",
                after={
                    "method": request.method,
                    "path": request.url.path[:SHOWN_CHARACTERS],
                    "status": answer.status_code,
                    "detail": _detail(answer),
                },
                reason=kind.code,
            )
        )

    def _tell_counts(self) -> None:
        """End a period: what was not told in full is told as numbers."""
        now = self._clock()
        for who, kinds in self._untold.items():
            self._put(_count(who, kinds, now, self._period_s))
        self._untold.clear()
        self._seen.clear()
        self._queued_now = 0
        lost, self._lost = self._lost, 0
        if lost:
            self._put(
                AuditEvent(
                    event_id=new_event_id(now),
                    at=now,
                    action="audit.overflowed",
                    actor=SYSTEM,
                    target="audit/refusals",
                    outcome="refused",
                    after={"count": lost},
                )
            )

    def _put(self, event: AuditEvent) -> None:
        if len(self._queue) >= QUEUED:
            self._lost += 1
            return
        self._queue.append(event)
        self._arrived.set()


def _count(who: Refused, kinds: Counter[Kind], now: datetime, within_s: float) -> AuditEvent:
    """What stands for all of a user's refusals that are not told in full."""
    kind = next(iter(kinds)) if len(kinds) == 1 else VARIOUS
    most = {f"{each.action} {each.code}": count for each, count in kinds.most_common(KINDS_SHOWN)}
    return AuditEvent(
        event_id=new_event_id(now),
        at=now,
        action=kind.action,
        actor=Actor(name=who.name, tenant=who.tenant),
        target=kind.action.partition(".")[0],
        tenant=who.tenant,
        outcome="refused",
        after={"count": kinds.total(), "within_s": within_s, "most": most},
        reason=kind.code,
    )


def _who(request: Request[Any, Any, Any]) -> Actor | None:
    """Whom the call came from, as far as that is known."""
    principal: Principal | None = request.scope.get("user")
    if principal is None:
        return request.scope.get(CLAIMED)  # type: ignore[return-value]
    return Actor(
        name=principal.subject,
        tenant=principal.tenant,
        credential=principal.credential,
        address=client_address(request),
        request_id=request_id(request.scope),
    )


def _action(request: Request[Any, Any, Any]) -> str:
    """What was tried, as the log has it where it is done."""
    handler: BaseRouteHandler | None = request.scope.get("route_handler")
    return ACTIONS.get(handler.fn.__name__, UNKNOWN) if handler else UNKNOWN


def _target(request: Request[Any, Any, Any], action: str) -> str:
    thing = action.partition(".")[0]
    names = [str(value)[:128] for value in request.path_params.values()]
    return "/".join([thing, *names])


def _detail(answer: Response[dict[str, object]]) -> str:
    """What the caller was told; of wrong fields only the names, for a value may be a secret."""
    errors = answer.content.get("errors")
    if errors:
        names = [str(each["field"]) for each in cast(list[dict[str, object]], errors)]
        return f"wrong: {', '.join(names)}"[:SHOWN_CHARACTERS]
    return str(answer.content["detail"])[:SHOWN_CHARACTERS]
