"""The words between the clients of a region on the wire: who asks for a promise, and what it hears.

`POST /api/v1/peer/promise` has a signed `Ask` as its body and is answered with a signed `Answer`.
The rule: what is not signed by the very client that it speaks for changes nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp
import msgspec
from aiohttp import web

from lpmos.model.errors import LpmosError, Unauthenticated
from lpmos.model.promises import Answer, Ask
from lpmos.region.signing import BadToken, Signer, Signers

PATH = "/api/v1/peer/promise"
KIND_ASK, KIND_ANSWER = "promise-ask", "promise-answer"
ASK_TIMEOUT_S = 1.2
BODY_LIMIT_BYTES = 1024


class NoAnswer(LpmosError):
    """Another client of the region did not answer, or with something else."""


class Calls(Protocol):
    """The way to the other clients."""

    async def ask(self, url: str, ask: Ask) -> Answer:
        """Ask the client whose own address is `url`.

        Raises:
            NoAnswer: no answer in time, or none of that client's.
        """
        ...


class SignedCalls:
    """Over HTTP, with the clients' keys."""

    def __init__(self, signer: Signer, signers: Signers) -> None:
        self._signer = signer
        self._signers = signers

    async def ask(self, url: str, ask: Ask) -> Answer:
        """See `Calls.ask`."""
        token = self._signer.sign(KIND_ASK, msgspec.json.encode(ask))
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(url + PATH, data=token, allow_redirects=False) as response,
            ):
                body = await response.content.read(BODY_LIMIT_BYTES + 1)
            if response.status != 200:
                raise NoAnswer(f"it answered {response.status}")
            answer = self._answer(body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswer(str(error) or "no answer in time") from error
        except (BadToken, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise NoAnswer(f"its answer cannot be trusted: {error}") from error
        if answer.by != ask.to:
            raise NoAnswer(f"{answer.by} answered")
        return answer

    def route(self, answered: Callable[[Ask], Awaitable[Answer]]) -> web.RouteDef:
        """The call that others make, answered by `answered`."""

        async def handle(request: web.Request) -> web.Response:
            body = await request.content.read(BODY_LIMIT_BYTES + 1)
            try:
                ask = self._ask(body)
            except (BadToken, msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise Unauthenticated(
                    f"this is no question of a region's client: {error}"
                ) from None
            answer = await answered(ask)
            return web.Response(text=self._signer.sign(KIND_ANSWER, msgspec.json.encode(answer)))

        return web.post(PATH, handle)

    def _ask(self, body: bytes) -> Ask:
        client, payload = self._signers.verify_from(KIND_ASK, body.decode("ascii"))
        ask = msgspec.json.decode(payload, type=Ask)
        if client != ask.asker:
            raise BadToken("it is signed by another client than it speaks for")
        return ask

    def _answer(self, body: bytes) -> Answer:
        client, payload = self._signers.verify_from(KIND_ANSWER, body.decode("ascii"))
        answer = msgspec.json.decode(payload, type=Answer)
        if client != answer.by:
            raise BadToken("it is signed by another client than it speaks for")
        return answer
