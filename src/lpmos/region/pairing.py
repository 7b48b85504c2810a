"""One client's part in the promises of its region: asks for them when it needs them, gives them.

The rule: a promise is on this disk before it is given, and binds from before that; what this client
is at that moment is looked at once more, for it may have begun to serve meanwhile.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

import structlog

from lpmos.model.promises import Answer, Ask, Promises, Refusal, Situation
from lpmos.region.peer_calls import Calls, NoAnswer
from lpmos.region.remembered import Remembered

ASK_EVERY_S = 1.5
IDLE_POLL_S = 0.1
SAY_EVERY_S = 30.0
"""How often the log says who gives no promise."""
NONCE_BYTES = 9


class Pairing:
    """What one client promised the others, and what they promised it."""

    def __init__(
        self,
        identity: str,
        remembered: Remembered,
        *,
        situation: Callable[[], Situation],
        look: Callable[[], Awaitable[None]],
        wanted: Callable[[], bool],
        promised: Callable[[], None],
    ) -> None:
        """`situation` is what the client is, `look` makes it ask the store anew, `wanted` says
        whether it needs promises, and `promised` is called when it begins to be bound by one.
        """
        self._identity = identity
        self._remembered = remembered
        self._situation = situation
        self._look = look
        self._wanted = wanted
        self._on_promise = promised
        self._promises = Promises(identity)
        self._said_at: dict[str, float] = {}
        self._log = structlog.get_logger().bind(identity=identity)
        before = remembered.promised(time.monotonic())
        if before:
            self._promises.bind(before.to, before.until)

    @property
    def promised_s(self) -> float:
        """How long it has still promised not to serve; 0 where it has not."""
        return max(0.0, self._promises.promised_until - time.monotonic())

    def holds_until(self, off: frozenset[str] = frozenset()) -> float:
        """The `time.monotonic()` until which all others that are not `off` have promised."""
        return self._promises.holds_until(self._remembered.kept.others, off)

    async def run(self, calls: Calls) -> None:
        """Ask while promises are wanted, until cancelled."""
        while True:
            if not self._wanted():
                await asyncio.sleep(IDLE_POLL_S)
                continue
            others = dict(self._remembered.kept.others)
            await asyncio.gather(*[self._ask(calls, *other) for other in others.items()])
            await asyncio.sleep(ASK_EVERY_S)

    async def answer(self, ask: Ask) -> Answer:
        """What another client of the region is answered."""
        if self._situation().sees_store_since is not None:
            await self._look()
        bound = self.promised_s > 0
        answer = self._promises.answer(
            ask, self._situation(), time.monotonic(), secrets.token_urlsafe(NONCE_BYTES)
        )
        if answer.refusal is not None:
            self._log.debug("gives no promise", to=ask.asker, why=answer.refusal.value)
            return answer
        self._on_promise()
        if not bound:
            self._log.warning("promises to serve no machine: another client does", to=ask.asker)
        until = self._promises.promised_until
        await asyncio.to_thread(self._remembered.promise, ask.asker, until)
        return answer

    async def _ask(self, calls: Calls, other: str, url: str) -> None:
        if not url:
            self._say(other, "where it is reached is not known")
            return
        refusal = await self._asked(calls, other, url)
        if refusal is Refusal.CHALLENGE:  # there was none before, or an answer was lost
            refusal = await self._asked(calls, other, url)
        if refusal is not None:
            self._say(other, refusal)

    async def _asked(self, calls: Calls, other: str, url: str) -> str | None:
        """Ask once; why there is no promise, None where there is."""
        nonce = secrets.token_urlsafe(NONCE_BYTES)
        ask = self._promises.ask(other, self._situation(), time.monotonic(), nonce)
        try:
            answer = await calls.ask(url, ask)
        except NoAnswer as error:
            return str(error)
        self._promises.take(answer)
        return answer.refusal

    def _say(self, other: str, why: str) -> None:
        now = time.monotonic()
        if now - self._said_at.get(other, float("-inf")) < SAY_EVERY_S:
            return
        self._said_at[other] = now
        self._log.warning(
            "another client of the region gives no promise to serve no machine",
            other=other,
            why=why,
            hint="if that client is off, and stays off: lpmos region serve-alone",
        )
