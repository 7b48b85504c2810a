"""Writes of one turn of the loop become one; nothing is lost at the end of a connection."""

import asyncio
from typing import cast

from lpmos.control.http.transport import JOINED_BYTES, JoiningTransport


class Written:
    """A transport that notes each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def _pair() -> tuple[Written, JoiningTransport]:
    written = Written()
    return written, JoiningTransport(cast(asyncio.Transport, written))


async def test_writes_of_one_turn_go_out_as_one() -> None:
    written, joining = _pair()
    joining.write(b"head")
    joining.write(b"body")
    assert written.writes == []
    await asyncio.sleep(0)
    assert written.writes == [b"headbody"]
    joining.write(b"next")
    await asyncio.sleep(0)
    assert written.writes == [b"headbody", b"next"]


async def test_close_sends_what_waits_and_nothing_after() -> None:
    written, joining = _pair()
    joining.write(b"last")
    joining.close()
    assert (written.writes, written.closed) == ([b"last"], True)
    assert joining.is_closing()
    joining.write(b"too late")
    await asyncio.sleep(0)
    assert written.writes == [b"last"]


async def test_much_is_sent_at_once_so_that_the_peer_is_felt() -> None:
    written, joining = _pair()
    joining.write(b"x" * JOINED_BYTES)
    assert len(written.writes) == 1
    await asyncio.sleep(0)
    assert len(written.writes) == 1


async def test_released_transport_has_had_what_waited() -> None:
    written, joining = _pair()
    joining.write(b"upgrade")
    assert joining.released() is cast(asyncio.Transport, written)
    assert written.writes == [b"upgrade"]
