"""The WebSocket `/ws`: who may listen, for how long, and how much it may say (W1).

A browser is known by its session cookie and by the `Origin` of its page. A program sends
`{"type":"auth","token":…}` first and hears `{"type":"ready"}`. A token never stands in a URL. Who
it is, is asked again every `RECHECK_S`: a session that is revoked ends the connection, and another
role or tenant changes what it hears.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, cast

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
from lpmos.control.live.frames import EXTENSION, FrameSink
from lpmos.control.live.hub import Client, LiveHub
from lpmos.control.live.subscriptions import Subscription
from lpmos.model.access import Permission, Principal, require
from lpmos.model.errors import Forbidden, LpmosError, TooBusy, Unauthenticated

AUTH_TIMEOUT_S = 5.0
RECHECK_S = 5.0
SUBSCRIBE_WITHIN_S = 1.0
"""One that has not said until then what it wants hears everything. Before, it hears nothing: to who
goes on from a revision, nothing comes before what was missed.
"""

MESSAGE_CHARACTERS = 8192
MESSAGES_PER_WINDOW = 20
WINDOW_S = 10.0

TOO_LARGE = 1009
TRY_LATER = 1013
LAGGED = 4008
MALFORMED = 4400
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
AUTH_TOO_LATE = 4408
TOO_MANY_MESSAGES = 4429

Socket = WebSocket[Any, Any, Any]
Ask = Callable[[], Awaitable[Principal]]
"""Asks who is at the other end; raises as a call of the API would."""


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
) -> None:
    """Tell a client what happens until it goes, lags, or may not listen any more."""
    if from_foreign_page(socket):
        await socket.close(FORBIDDEN, "another site's page may not listen")
        return
    sink = cast(FrameSink, cast(dict[str, object], socket.scope["extensions"])[EXTENSION])
    try:
        await _listen(socket, sink, hub, door)
    except Closing as closing:
        sink.end(closing.code, closing.reason)
    except TooBusy as error:
        sink.end(TRY_LATER, str(error))
    except WebSocketDisconnect:
        return


async def _listen(socket: Socket, sink: FrameSink, hub: LiveHub, door: Door) -> None:
    if COOKIE in socket.cookies and from_own_page(socket):
        known = await _by_cookie(socket, door)
        await socket.accept()
        if isinstance(known, Closing):
            raise known
        with hub.client(sink, known[0]) as client:
            await _serve(socket, hub, client, known[1])
    await socket.accept()
    with hub.arrival():
        principal, ask = await _by_message(socket, door)
    with hub.client(sink, principal) as client:
        await socket.send_text('{"type":"ready"}')
        await _serve(socket, hub, client, ask)


async def _by_cookie(socket: Socket, door: Door) -> tuple[Principal, Ask] | Closing:
    """Who it is, or why the connection ends as soon as it is there: so that a page learns it."""

    async def ask() -> Principal:
        return _allowed(await door.principal(socket))

    try:
        return await ask(), ask
    except LpmosError as error:
        return _closing(error)


async def _by_message(socket: Socket, door: Door) -> tuple[Principal, Ask]:
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            message = await _receive(socket)
    except TimeoutError:
        raise Closing(AUTH_TOO_LATE, "no token came in time") from None
    if not isinstance(message, Auth):
        raise Closing(UNAUTHENTICATED, "the first message must be an auth message")
    token, address = message.token.strip(), client_address(socket)

    async def ask() -> Principal:
        return _allowed(await door.bearer(token, address))

    try:
        return _allowed(await door.typed(token, address)), ask
    except LpmosError as error:
        raise _closing(error) from None


def _closing(error: LpmosError) -> Closing:
    match error:
        case Unauthenticated():
            return Closing(UNAUTHENTICATED, str(error))
        case Forbidden():
            return Closing(FORBIDDEN, str(error))
        case TooBusy():
            return Closing(TOO_MANY_MESSAGES, str(error))
        case _:
            return Closing(TRY_LATER, str(error))


def _allowed(principal: Principal) -> Principal:
    require(principal, Permission.TASK_READ)
    return principal


async def _serve(socket: Socket, hub: LiveHub, client: Client, ask: Ask) -> NoReturn:
    """All at once; whichever ends first ends the connection, by an exception."""
    tasks = [
        asyncio.create_task(each)
        for each in (_hear(socket, hub, client), _recheck(hub, client, ask), _watch_lag(client))
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    raise AssertionError("none of them returns")


async def _hear(socket: Socket, hub: LiveHub, client: Client) -> NoReturn:
    """Take what the client says, one message after the other."""
    loop = asyncio.get_running_loop()
    came: deque[float] = deque(maxlen=MESSAGES_PER_WINDOW)
    waiting = loop.call_later(SUBSCRIBE_WITHIN_S, hub.listen, client)
    while True:
        message = await _receive(socket)
        waiting.cancel()
        if len(came) == MESSAGES_PER_WINDOW and came[0] > loop.time() - WINDOW_S:
            raise Closing(TOO_MANY_MESSAGES, "too many messages")
        came.append(loop.time())
        if not isinstance(message, Subscription):
            raise Closing(MALFORMED, "only subscribe messages are understood now")
        await hub.reach(message.from_revision or 0)
        hub.subscribe(client, message)


async def _recheck(hub: LiveHub, client: Client, ask: Ask) -> NoReturn:
    """Ask again who the client is; where nobody can tell now, what was known holds."""
    while True:
        await asyncio.sleep(RECHECK_S)
        try:
            hub.identify(client, await ask())
        except (Unauthenticated, Forbidden) as error:
            raise _closing(error) from None
        except LpmosError:
            continue


async def _watch_lag(client: Client) -> NoReturn:
    await client.lagged.wait()
    raise Closing(LAGGED, "this client was too slow; connect again and go on where it was")


async def _receive(socket: Socket) -> Auth | Subscription:
    text = await socket.receive_text()
    if len(text) > MESSAGE_CHARACTERS:
        raise Closing(TOO_LARGE, "the message is too large")
    try:
        message: Auth | Subscription = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Closing(MALFORMED, str(error)[:100]) from None
    return message
