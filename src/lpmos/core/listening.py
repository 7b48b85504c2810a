"""How a server stops listening with nobody forgotten whom it let in at the last moment.

asyncio accepts a connection in one turn of its loop and makes its transport in the next; where the
server is closed between them, the transport is neither made nor closed (before Python 3.12.1), and
where it is closed a turn later, no protocol knows of the connection yet that it should close.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

_TURNS = 4
"""From a connection that is accepted to its protocol that knows it: three of the loop."""


class Listening(Protocol):
    """A listening socket, or asyncio's stand-in for one (`asyncio.Server.sockets`)."""

    def fileno(self) -> int:
        """The number of its descriptor."""


async def accept_no_more(listening: Iterable[Listening]) -> None:
    """Return once who was let in at these sockets is known to its protocol, and nobody else is.

    Those that the kernel has in its queue are refused when the socket is closed.
    """
    loop = asyncio.get_running_loop()
    for each in listening:
        loop.remove_reader(each.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
