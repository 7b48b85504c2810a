"""A browser's end of the live messages without a socket: it follows the protocol of `/ws`."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec

from lpmos.control.live.frames import FrameSink
from lpmos.control.live.hub import STALL_LOOKS, Client, LiveHub
from lpmos.control.live.replay import Replay
from lpmos.control.live.subscriptions import Subscription
from lpmos.core.fleet import Fleet
from lpmos.model.access import Principal, Role
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.mirror import SILENCE_S, Mirror
from tests.support.builders import NOW
from tests.support.followed_store import FollowedStore
from tests.support.following import following
from tests.support.gated_store import GatedStore
from tests.support.polling import until

TIMEOUT_S = 30.0
FULL = 1 << 20
"""More in a socket's buffer than a client may have."""

Message = dict[str, Any]


def viewer(subject: str = "ann", **fields: object) -> Principal:
    """A user who may look at everything, with these fields set."""
    whole = Principal(subject=subject, roles=(Role.VIEWER,), expires_at=NOW, credential="session:1")
    return msgspec.structs.replace(whole, **fields)


class HeldSink(FrameSink):
    """Frames that were written and not read yet; `unsent` is what the hub is told of them."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.unsent = 0
        self.ended: int | None = None

    def write_frames(self, frames: bytes) -> None:
        self.frames += split_frames(frames)

    def unsent_bytes(self) -> int:
        return self.unsent

    def end(self, code: int, reason: str) -> None:
        self.ended = code

    async def written(self) -> None:
        """Wait until something came."""

        async def is_there() -> bool:
            return bool(self.frames)

        await until(is_there)

    def read(self) -> list[Message]:
        """Every message that came since the last call, those of a batch one by one."""
        frames, self.frames = self.frames, []
        return [message for frame in frames for message in messages_of(frame)]

    def news(self) -> list[Message]:
        """As `read`, without those that only say how far it is."""
        return [message for message in self.read() if message["type"] != "revision"]


class Listener:
    """What a page knows: the tasks' statuses, every status that it saw, and how far it is."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.statuses: dict[str, str] = {}
        self.percent: dict[str, float] = {}
        self.saw: dict[str, list[str]] = {}
        self.since: int | None = None
        self.resyncs = 0
        self.repeated: list[Message] = []
        self._heard: set[tuple[str, str]] = set()

    def connect(self, hub: LiveHub, client: Client) -> None:
        """Say what it wants, and from where on."""
        wanted = self.subscription
        hub.subscribe(
            client,
            Subscription(
                idc=wanted.idc,
                task_id=wanted.task_id,
                batch=wanted.batch,
                from_revision=self.since,
            ),
        )

    def take(self, message: Message, fleet: Fleet) -> None:
        """Take in one message; `fleet` is what the API of the same control plane would answer."""
        kind = message["type"]
        if kind == "resync" or (kind == "subscribed" and self.since is None):
            self.resyncs += 1
            self._read(fleet)
        if kind in ("resync", "subscribed", "revision"):
            self.since = message["revision"]
        elif kind == "status":
            heard = message["task_id"], message["status"]
            if heard in self._heard:
                self.repeated.append(message)
            self._heard.add(heard)
            self.statuses[message["task_id"]] = message["status"]
            self.saw.setdefault(message["task_id"], []).append(message["status"])
        elif kind == "progress":
            self.percent[message["task_id"]] = message["percentage"]
        elif kind == "removed":
            self.statuses.pop(message["task_id"], None)
            self.percent.pop(message["task_id"], None)

    def _read(self, fleet: Fleet) -> None:
        """Read the list again: each task with its whole history of statuses."""
        self.statuses, self.percent, self._heard = {}, {}, set()
        for task in fleet.current_tasks():
            if self.subscription.idc not in (None, task.idc):
                continue
            self.statuses[task.task_id] = task.status.value
            self.saw.setdefault(task.task_id, []).extend(
                change.status.value for change in task.status_history
            )
            if task.progress:
                self.percent[task.task_id] = task.percent


def split_frames(written: bytes) -> list[bytes]:
    """The payloads of whole, unmasked text frames (RFC 6455 section 5.2)."""
    payloads = []
    while written:
        assert written[0] == 0x81
        length, start = written[1], 2
        if length == 126:
            length, start = int.from_bytes(written[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(written[2:10]), 10
        assert len(written) >= start + length
        payloads.append(written[start : start + length])
        written = written[start + length :]
    return payloads


def messages_of(payload: bytes) -> list[Message]:
    """The messages of one frame: an array, or a single one."""
    content = json.loads(payload)
    return content if isinstance(content, list) else [content]


class LivePlane:
    """The part of a control plane that tells what happens, over a store that others share."""

    def __init__(
        self, store: FollowedStore, replay: Replay | None, stall_looks: int, silence_s: float
    ) -> None:
        self.store = store
        self.gate = GatedStore(store)
        self.mirror = Mirror(self.gate, keys.ROOT, silence_s=silence_s, retry_s=0.001)
        self.fleet = Fleet(self.mirror)
        self.hub = LiveHub(self.fleet, self.mirror, replay=replay, stall_looks=stall_looks)

    @contextmanager
    def listening(self, sink: FrameSink, principal: Principal) -> Iterator[Client]:
        """A client that hears everything, as one that asked for nothing does."""
        with self.hub.client(sink, principal) as client:
            self.hub.listen(client)
            yield client

    async def catch_up(self, revision: int | None = None) -> None:
        """Let the changes through, all or up to a revision, and wait until they are known here."""
        last = self.store.revision if revision is None else revision
        self.gate.let_through(last)
        async with asyncio.timeout(TIMEOUT_S):
            await self.mirror.wait_for(last)

    def put(self, task: Task) -> int:
        """Store a task's document as it is; the revision."""
        return self.store.put(keys.task(task.idc, task.sn), value=records.encode(task))

    async def tell(self, *tasks: Task) -> None:
        """Store each document in turn, and have the clients told all of it."""
        for task in tasks:
            await self.catch_up(self.put(task))
        self.hub.flush()


@asynccontextmanager
async def live_plane(
    store: FollowedStore | None = None,
    *,
    replay: Replay | None = None,
    stall_looks: int = STALL_LOOKS,
    silence_s: float = SILENCE_S,
) -> AsyncIterator[LivePlane]:
    """A running plane that has listed the store."""
    plane = LivePlane(store or FollowedStore(), replay, stall_looks, silence_s)
    async with following(plane.mirror):
        try:
            yield plane
        finally:
            plane.hub.close()
