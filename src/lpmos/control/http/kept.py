"""Answers that are kept as they are sent, so that the same question again costs no work.

Each is kept with what it was made of; it is given out only while that is still what there is. Who
keeps one says whom it is for in its key: nobody is given an answer that was made for others.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, cast

from litestar import Response
from litestar.types import Message, Receive, Scope, Send

from lpmos.control.http.encoding import LEAST_BYTES, VARY, Coding, accepted, encoded

KEPT_BYTES = 12_000_000
"""How much is kept of one kind of answers; what was not asked for longest goes first. The plain
bodies count; what is compressed of them comes on top, a fraction of it."""

ENTRY_BYTES = 2000
"""What an answer takes beside its body, its key included."""

JSON = b"application/json"


class Answer:
    """One answer of status 200 in JSON, in each coding once it was asked for."""

    def __init__(self, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._body = body
        self._headers = headers
        self._messages: dict[Coding | None, tuple[Message, Message]] = {}
        self.size_bytes = len(body)

    def messages(self, coding: Coding | None) -> tuple[Message, Message]:
        """Start and body; whoever changes one changes it for nobody else."""
        if len(self._body) < LEAST_BYTES:
            coding = None
        if coding not in self._messages:
            self._messages[coding] = self._made(coding)
        start, body = self._messages[coding]
        return cast(Message, {**start}), cast(Message, {**body})

    def _made(self, coding: Coding | None) -> tuple[Message, Message]:
        body = self._body if coding is None else encoded(self._body, coding)
        headers = [
            (b"content-type", JSON),
            (b"content-length", b"%d" % len(body)),
            *self._headers,
        ]
        if len(self._body) >= LEAST_BYTES:
            headers.append(VARY)
        if coding is not None:
            headers.append((b"content-encoding", coding.encode()))
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        return start, {"type": "http.response.body", "body": body, "more_body": False}


class KeptResponse(Response[Any]):
    """An answer as handlers and hooks of the framework give it."""

    def __init__(self, answer: Answer) -> None:
        """The framework renders nothing of it."""
        super().__init__(None)
        self._answer = answer

    def to_asgi_response(self, *_: object, **__: object) -> Any:
        """The answer as an application."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in self._answer.messages(accepted(scope)):
            await send(message)


class KeptAnswers:
    """Answers by whom they are for and what was asked."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[Hashable, tuple[object, Answer]] = OrderedDict()
        self._size_bytes = 0

    def find(self, key: Hashable, made_of: object) -> Answer | None:
        """The answer that was made of just this, where it is kept."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != made_of:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def keep(self, key: Hashable, made_of: object, answer: Answer) -> None:
        """Keep an answer in place of the one before it."""
        self._drop(key)
        self._kept[key] = made_of, answer
        self._size_bytes += answer.size_bytes + ENTRY_BYTES
        while self._size_bytes > self._limit_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        _, answer = self._kept.pop(key, (None, None))
        self._size_bytes -= answer.size_bytes + ENTRY_BYTES if answer else 0
