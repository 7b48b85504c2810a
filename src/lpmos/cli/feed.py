"""What happens at the control plane, live over the WebSocket, with nothing missed.

The feed remembers the newest revision that it heard of and asks for what came after it when it
connects again. Where the server no longer has that (`resync`), and at the first connection, it says
so with a `Resync`: whoever listens then reads the state itself.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from lpmos.cli.client import Client, Document, is_loopback
from lpmos.cli.failures import NoAnswer, NotSignedIn

OPEN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 15.0
SHORTEST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0
MAX_BYTES: Final = 8 << 20

UNAUTHENTICATED, MALFORMED, FORBIDDEN_ORIGIN = 4401, 4400, 4403


class Resync(NamedTuple):
    """Read the state anew: what happened until now may not be told."""


class Tick(NamedTuple):
    """Nothing happened for a moment."""


class Lost(NamedTuple):
    """The connection is gone and is being made again."""

    reason: str


Event = Resync | Tick | Lost | Document


class Feed:
    """The messages of one subscription; `sleep` is how a pause between connections is made."""

    def __init__(
        self,
        client: Client,
        subscription: Mapping[str, Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._subscription = dict(subscription)
        self._sleep = sleep
        self._revision: int | None = None
        self._heard = False

    def events(self, tick_s: float) -> Iterator[Event]:
        """What happens, without end; a `Tick` after every `tick_s` without anything.

        Raises:
            NotSignedIn: the login is over and cannot be renewed.
            NoAnswer: there is no server, or it does not understand this client.
        """
        self._client.get("session")  # who is away or refuses from the start says why over HTTP
        pause_s = SHORTEST_PAUSE_S
        while True:
            self._heard = False
            try:
                with self._open() as socket:
                    yield from self._messages(socket, tick_s)
            except ConnectionClosed as closed:
                self._judge(closed)
                yield Lost(closed.rcvd.reason if closed.rcvd else "the connection was lost")
            except (OSError, WebSocketException, TimeoutError) as error:
                yield Lost(str(error) or type(error).__name__)
            pause_s = SHORTEST_PAUSE_S if self._heard else min(pause_s * 2, LONGEST_PAUSE_S)
            self._sleep(pause_s)

    def _open(self) -> ClientConnection:
        url = self._client.url
        return connect(
            f"ws{url.removeprefix('http')}/ws",
            ssl=self._client.tls,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_BYTES,
            proxy=None if is_loopback(url) else True,
        )

    def _messages(self, socket: ClientConnection, tick_s: float) -> Iterator[Event]:
        socket.send(json.dumps({"type": "auth", "token": self._client.token()}))
        self._expect(socket, "ready")
        wanted = {**self._subscription, "type": "subscribe", "batch": True}
        if self._revision is not None:
            wanted["from_revision"] = self._revision
        socket.send(json.dumps(wanted))
        if self._revision is None:
            yield Resync()
        while True:
            try:
                text = socket.recv(timeout=tick_s)
            except TimeoutError:
                yield Tick()
                continue
            self._heard = True
            for message in _decoded(text):
                yield from self._understood(message)

    def _understood(self, message: Document) -> Iterator[Event]:
        self._revision = message.get("revision", self._revision)
        if message["type"] == "resync":
            yield Resync()
        elif message["type"] not in ("subscribed", "revision", "ready"):
            yield message

    @staticmethod
    def _expect(socket: ClientConnection, kind: str) -> None:
        for message in _decoded(socket.recv(timeout=ANSWER_TIMEOUT_S)):
            if message["type"] != kind:
                raise NoAnswer(f"the server said {message['type']!r} where {kind!r} was expected")

    def _judge(self, closed: ConnectionClosed) -> None:
        """Go on where the end of the connection was no verdict on this client."""
        code = closed.rcvd.code if closed.rcvd else None
        reason = closed.rcvd.reason if closed.rcvd else ""
        if code == UNAUTHENTICATED:
            if not self._heard and not self._client.renew():
                raise NotSignedIn(f"the server does not take this credential: {reason}")
        elif code in (MALFORMED, FORBIDDEN_ORIGIN):
            raise NoAnswer(f"the server refused to tell what happens: {reason}")


def _decoded(text: str | bytes) -> list[Document]:
    """One message, or the messages of a batch.

    Raises:
        NoAnswer: it is neither.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise NoAnswer("the server's WebSocket said what is no JSON") from error
    messages = content if isinstance(content, list) else [content]
    if not all(isinstance(each, dict) and isinstance(each.get("type"), str) for each in messages):
        raise NoAnswer("the server's WebSocket said what is no message")
    return messages
