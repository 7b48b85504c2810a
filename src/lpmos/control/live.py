"""The live hub: changes of tasks go out as messages, many times copied but encoded once.

Changes are gathered for a moment and sent as one batch, at most `BATCHES_PER_SECOND`. In a batch
only the newest progress and hardware of a task remain; every status stays, in order. A client has
a short queue of batches; one whose queue is full is cut off rather than waited for, and reads the
list again when it comes back.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from lpmos.core.fleet import Fleet, TaskChange
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task

BATCHES_PER_SECOND = 20
QUEUED_BATCHES = 64
MAX_CLIENTS = 2000


class ProgressMessage(msgspec.Struct, frozen=True, tag="progress", omit_defaults=True):
    """How far an install is; `percentage` is of the whole install."""

    task_id: str
    percentage: float
    stage: str
    message: str
    bytes_per_second: float | None = None


class StatusMessage(msgspec.Struct, frozen=True, tag="status"):
    """A task came into a status; a task not heard of before is new."""

    task_id: str
    status: Status


class HardwareMessage(msgspec.Struct, frozen=True, tag="hardware"):
    """A machine reported its hardware."""

    task_id: str
    hardware: Inventory


Message = ProgressMessage | StatusMessage | HardwareMessage


class Subscription(
    msgspec.Struct, frozen=True, tag="subscribe", tag_field="type", forbid_unknown_fields=True
):
    """What a client wants to hear; None is everything. `batch`: arrays of messages, not single."""

    idc: str | None = None
    task_id: str | None = None
    batch: bool = False

    def wants(self, task: Task) -> bool:
        """Whether messages of this task go to the client."""
        return self.idc in (None, task.idc) and self.task_id in (None, task.task_id)


class Client:
    """One connection's share of the hub: a queue of batches, each a tuple of text frames."""

    def __init__(self) -> None:
        self.subscription = Subscription()
        self.lagged = asyncio.Event()
        """Set once a batch was lost for this client; it gets no more."""
        self.batches: asyncio.Queue[tuple[str, ...]] = asyncio.Queue(QUEUED_BATCHES)

    def offer(self, frames: tuple[str, ...]) -> None:
        """Queue a batch; a client without room has lagged."""
        if self.lagged.is_set():
            return
        try:
            self.batches.put_nowait(frames)
        except asyncio.QueueFull:
            self.lagged.set()


class LiveHub:
    """Hears every change of the fleet and hands it to the clients that want it."""

    def __init__(self, fleet: Fleet) -> None:
        self._clients: set[Client] = set()
        self._gathered: dict[tuple[str, ...], tuple[Task, Message]] = {}
        self._flush_at: asyncio.TimerHandle | None = None
        self._flushed_at = float("-inf")
        self._unsubscribe: Callable[[], None] = fleet.subscribe(self.gather)

    def count(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    @contextmanager
    def client(self) -> Iterator[Client | None]:
        """A client that hears from now on, until the block ends; None beyond `MAX_CLIENTS`."""
        if len(self._clients) >= MAX_CLIENTS:
            yield None
            return
        client = Client()
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)

    def close(self) -> None:
        """Hear nothing more."""
        self._unsubscribe()
        if self._flush_at:
            self._flush_at.cancel()

    def gather(self, change: TaskChange) -> None:
        """Keep what a change has to tell until the next batch goes out."""
        if not self._clients or change.after is None:
            return
        for key, message in messages(change):
            self._gathered.pop(key, None)
            self._gathered[key] = change.after, message
        if self._gathered and self._flush_at is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time(), self._flushed_at + 1 / BATCHES_PER_SECOND)
            self._flush_at = loop.call_at(due, self.flush)

    def flush(self) -> None:
        """Send one batch of all that was gathered."""
        self._flush_at = None
        self._flushed_at = asyncio.get_running_loop().time()
        encoded = [
            (task, msgspec.json.encode(message).decode())
            for task, message in self._gathered.values()
        ]
        self._gathered = {}
        batches: dict[Subscription, tuple[str, ...]] = {}
        for client in tuple(self._clients):
            wish = client.subscription
            if wish not in batches:
                batches[wish] = _frames([text for task, text in encoded if wish.wants(task)], wish)
            if batches[wish]:
                client.offer(batches[wish])


def messages(change: TaskChange) -> Iterator[tuple[tuple[str, ...], Message]]:
    """What a change has to tell, each with the key under which a newer message replaces it."""
    before, after = change.before, change.after
    if after is None:
        return
    if before is not None and before.task_id != after.task_id:
        before = None
    if after.hardware is not None and (before is None or before.hardware != after.hardware):
        yield ("hardware", after.task_id), HardwareMessage(after.task_id, after.hardware)
    if after.progress and (before is None or before.progress != after.progress):
        yield ("progress", after.task_id), _progress(after)
    if before is None or before.status is not after.status:
        key = ("status", after.task_id, after.status.value)
        yield key, StatusMessage(after.task_id, after.status)


def _progress(task: Task) -> ProgressMessage:
    newest = task.progress[-1]
    return ProgressMessage(
        task_id=task.task_id,
        percentage=newest.percent,
        stage=newest.step,
        message=newest.message,
        bytes_per_second=newest.bytes_per_second,
    )


def _frames(texts: list[str], wish: Subscription) -> tuple[str, ...]:
    if not texts:
        return ()
    return (f"[{','.join(texts)}]",) if wish.batch else tuple(texts)
