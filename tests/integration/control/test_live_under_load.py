"""Listeners while much is written: whoever is cut off comes back and has missed nothing (W3)."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import NoReturn

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lpmos.control.live.socket import LAGGED
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Status
from lpmos.store import keys, records
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until

TIMEOUT_S = 60.0
CUTS = 3
HEARD_BETWEEN_CUTS = 30
STATUSES = (Status.PENDING, Status.READY, Status.BOOTING)
HARDWARE = make_inventory(
    disks=(Disk(device="/dev/sda", size_bytes=1, kind="ssd", model="x" * 4_000),)
)
"""Enough in each message that a socket nobody reads is soon full."""

Heard = list[tuple[str, str]]


class Page:
    """What one browser heard, over all its connections, and how far it is."""

    def __init__(self, control_plane: RunningControlPlane) -> None:
        self._control_plane = control_plane
        self.heard: Heard = []
        self.since = control_plane.services.hub.revision()
        self.answers: list[str] = []

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ClientConnection]:
        """A connection that goes on where the last one ended."""
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        place = "127.0.0.1", self._control_plane.port
        await asyncio.get_running_loop().sock_connect(narrow, place)
        url = f"ws://{self._control_plane.host}/ws"
        async with connect(url, sock=narrow, max_queue=1) as connection:
            await connection.send(json.dumps({"type": "auth", "token": self._control_plane.token}))
            assert json.loads(await connection.recv()) == {"type": "ready"}
            wanted = {"type": "subscribe", "batch": True, "from_revision": self.since}
            await connection.send(json.dumps(wanted))
            yield connection

    async def read(self, connection: ClientConnection) -> None:
        """Take in one batch, or an answer."""
        said = json.loads(await connection.recv())
        for message in said if isinstance(said, list) else [said]:
            match message["type"]:
                case "status":
                    self.heard.append((message["task_id"], message["status"]))
                case "subscribed" | "resync" as answer:
                    self.answers.append(answer)
                    self.since = message["revision"]
                case "revision":
                    self.since = message["revision"]

    async def read_until_closed(self, connection: ClientConnection) -> int:
        """Take in what was still on its way; the close code."""
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await self.read(connection)
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code


class Writer:
    """Makes tasks with large hardware go through their statuses until it is told to end."""

    def __init__(self, control_plane: RunningControlPlane) -> None:
        self._store = control_plane.store
        self.written: Heard = []
        self.revision = 0
        self.ended = False

    async def run(self) -> None:
        for number in count():
            if self.ended:
                return
            for status in STATUSES:
                task = make_task(
                    task_id=f"t{number}", sn=f"SN-{number}", status=status, hardware=HARDWARE
                )
                self.written.append((task.task_id, status.value))
                key = keys.task(task.idc, task.sn)
                self.revision = await self._store.put(key, records.encode(task))


async def test_listener_that_is_cut_off_again_and_again_misses_nothing(
    control_plane: RunningControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = control_plane.services.hub
    monkeypatch.setattr(hub, "_stall_looks", 10)
    writer = Writer(control_plane)
    page, steady = Page(control_plane), Page(control_plane)

    async def read_steadily(connection: ClientConnection) -> NoReturn:
        while True:
            await steady.read(connection)

    async def only_the_steady_one_is_left() -> bool:
        return hub.count() == 1

    async def steady_one_has_all() -> bool:
        return steady.since >= writer.revision

    async with (
        asyncio.timeout(TIMEOUT_S),
        steady.connected() as reading,
        asyncio.TaskGroup() as group,
    ):
        reader = group.create_task(read_steadily(reading))
        writing = group.create_task(writer.run())
        for _ in range(CUTS):
            async with page.connected() as connection:
                enough = len(page.heard) + HEARD_BETWEEN_CUTS
                while len(page.heard) < enough:
                    await page.read(connection)
                connection.transport.pause_reading()
                await until(only_the_steady_one_is_left, TIMEOUT_S)
                connection.transport.resume_reading()
                assert await page.read_until_closed(connection) == LAGGED
        writer.ended = True
        await writing
        await until(steady_one_has_all, TIMEOUT_S)
        reader.cancel()
        async with page.connected() as connection:
            while page.since < writer.revision:
                await page.read(connection)
    assert page.answers == ["subscribed"] * (CUTS + 1)
    assert steady.heard == writer.written
    assert page.heard == writer.written
