"""The WebSocket `/ws`: who may listen, for how long, and how much it may say.

A browser is known by its session cookie and by the `Origin` of its page. A program sends
`{"type":"auth","token":…}` first and hears `{"type":"ready"}`. A token never stands in a URL.
"""

import asyncio
from collections import deque
from typing import Any, NoReturn

import msgspec
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect

from lpmos.control.access import (
    COOKIE,
    PUBLIC,
    Door,
    client_address,
    from_foreign_page,
    from_own_page,
)
from lpmos.control.live import Client, LiveHub, Subscription
from lpmos.control.session import Sessions
from lpmos.model.access import Permission, Principal, require
from lpmos.model.errors import LpmosError, TooBusy

AUTH_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
MESSAGE_CHARACTERS = 8192
MESSAGES_PER_WINDOW = 20
WINDOW_S = 10.0

MALFORMED = 4400
UNAUTHENTICATED = 4401
FORBIDDEN_ORIGIN = 4403
AUTH_TOO_LATE = 4408
TOO_LARGE = 1009
TOO_MANY_MESSAGES = 4429
LAGGED = 4008
TRY_LATER = 1013

Socket = WebSocket[Any, Any, Any]


class Auth(msgspec.Struct, frozen=True, tag="auth", tag_field="type", forbid_unknown_fields=True):
    """The first message of a client that has no session cookie."""

    token: str


_decoder = msgspec.json.Decoder(Auth | Subscription)


class Closing(Exception):
    """The connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


@websocket("/ws", opt=PUBLIC)
async def live(
    socket: Socket,
    hub: NamedDependency[LiveHub],
    door: NamedDependency[Door],
    sessions: NamedDependency[Sessions],
) -> None:
    """Tell a client what happens until it goes, lags, or its token is over."""
    if from_foreign_page(socket):
        await socket.close(FORBIDDEN_ORIGIN, "another site's page may not listen")
        return
    try:
        principal = await _by_cookie(socket, door)
        if principal is not None:
            with hub.client() as client:  # from before the browser knows that it is connected
                await socket.accept()
                await _serve(socket, client, sessions.seconds_left(principal))
        await socket.accept()
        principal = await _by_message(socket, sessions)
        with hub.client() as client:
            await socket.send_text('{"type":"ready"}')
            await _serve(socket, client, sessions.seconds_left(principal))
    except Closing as closing:
        await _close(socket, closing)
    except WebSocketDisconnect:
        return


async def _by_cookie(socket: Socket, door: Door) -> Principal | None:
    if COOKIE not in socket.cookies or not from_own_page(socket):
        return None
    try:
        return await door.principal(socket)
    except LpmosError:
        return None


async def _by_message(socket: Socket, sessions: Sessions) -> Principal:
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            message = await _receive(socket)
    except TimeoutError:
        raise Closing(AUTH_TOO_LATE, "no token came in time") from None
    if not isinstance(message, Auth):
        raise Closing(UNAUTHENTICATED, "the first message must be an auth message")
    try:
        principal = sessions.verify(message.token, client_address(socket))
        require(principal, Permission.TASK_READ)
    except TooBusy as error:
        raise Closing(TOO_MANY_MESSAGES, str(error)) from None
    except LpmosError as error:
        raise Closing(UNAUTHENTICATED, str(error)) from None
    return principal


async def _serve(socket: Socket, client: Client | None, seconds_left: float) -> NoReturn:
    """Both directions at once; whichever ends first ends the connection, by an exception."""
    if client is None:
        raise Closing(TRY_LATER, "too many are connected; try again later")
    tasks = [
        asyncio.create_task(each)
        for each in (_listen(socket, client), _tell(socket, client), _watch_lag(client))
    ]
    try:
        done, _ = await asyncio.wait(
            tasks, timeout=max(0.0, seconds_left), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    raise Closing(UNAUTHENTICATED, "the token has expired")


async def _listen(socket: Socket, client: Client) -> NoReturn:
    loop = asyncio.get_running_loop()
    came: deque[float] = deque(maxlen=MESSAGES_PER_WINDOW)
    while True:
        message = await _receive(socket)
        if len(came) == MESSAGES_PER_WINDOW and came[0] > loop.time() - WINDOW_S:
            raise Closing(TOO_MANY_MESSAGES, "too many messages")
        came.append(loop.time())
        if not isinstance(message, Subscription):
            raise Closing(MALFORMED, "only subscribe messages are understood now")
        client.subscription = message
        await socket.send_text('{"type":"subscribed"}')


async def _tell(socket: Socket, client: Client) -> NoReturn:
    while True:
        for frame in await client.batches.get():
            await socket.send_text(frame)


async def _watch_lag(client: Client) -> NoReturn:
    await client.lagged.wait()
    raise Closing(LAGGED, "this client was too slow; read the list again")


async def _receive(socket: Socket) -> Auth | Subscription:
    text = await socket.receive_text()
    if len(text) > MESSAGE_CHARACTERS:
        raise Closing(TOO_LARGE, "the message is too large")
    try:
        message: Auth | Subscription = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Closing(MALFORMED, str(error)[:100]) from None
    return message


async def _close(socket: Socket, closing: Closing) -> None:
    """Say why, but wait for no one who does not read."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await socket.close(closing.code, closing.reason)
    except (TimeoutError, WebSocketDisconnect):
        return
