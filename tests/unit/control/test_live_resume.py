"""Whatever happens in whatever order, a client that follows the protocol ends up knowing all (W3).

Two hubs follow one store, each at its own pace; listeners are cut at arbitrary points, lose what
was on its way to them, and go on at either hub from the revision that they heard last.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.control.live.hub import Client
from lpmos.control.live.replay import Replay
from lpmos.control.live.subscriptions import Subscription
from lpmos.core.taskstore import moved
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, StatusChange, Task
from lpmos.store import keys, records
from tests.support.builders import NOW, make_task
from tests.support.followed_store import FollowedStore
from tests.support.live_listener import FULL, HeldSink, Listener, LivePlane, live_plane, viewer

REGIONS = ("dc1", "dc2")
PLACES = tuple((idc, f"SN-{number}") for idc in REGIONS for number in range(2))
SUBSCRIPTIONS = (
    Subscription(batch=True),
    Subscription(batch=False),
    Subscription(idc="dc2", batch=True),
)
PRINCIPAL = viewer()
FORWARD = {
    Status.PENDING: Event.PREPARED,
    Status.READY: Event.BOOT_REQUESTED,
    Status.BOOTING: Event.HARDWARE_REPORTED,
    Status.PENDING_APPROVAL: Event.APPROVE,
    Status.APPROVED: Event.INSTALL_STARTED,
    Status.INSTALLING: Event.INSTALL_FINISHED,
}


class Rack:
    """The machines' present tasks, as they are in the store."""

    def __init__(self, store: FollowedStore) -> None:
        self._store = store
        self._made = 0
        self.tasks: dict[tuple[str, str], Task] = {}
        self.gone: set[str] = set()

    def step(self, place: tuple[str, str]) -> None:
        """The next thing that happens to a machine's task; a new one where it is over."""
        task = self.tasks.get(place)
        if task is None or task.finished:
            self._create(place)
        elif task.status is Status.INSTALLING and task.percent < 90:
            percent = task.percent + 30
            progress = (Progress(step="downloading", percent=percent, timestamp=NOW),)
            self._put(place, msgspec.structs.replace(task, progress=progress))
        else:
            task = moved(task, FORWARD[task.status], NOW)
            begun = (Progress(step="partitioning", percent=1, timestamp=NOW),)
            is_begun = task.status is Status.INSTALLING
            self._put(place, msgspec.structs.replace(task, progress=begun) if is_begun else task)

    def remove(self, place: tuple[str, str]) -> None:
        """Forget a machine's task."""
        if (task := self.tasks.pop(place, None)) is not None:
            self.gone.add(task.task_id)
            self._store.delete(keys.task(*place))

    def _create(self, place: tuple[str, str]) -> None:
        self._made += 1
        idc, sn = place
        created = StatusChange(status=Status.PENDING, timestamp=NOW)
        self._put(
            place, make_task(task_id=f"t{self._made}", idc=idc, sn=sn, status_history=(created,))
        )

    def _put(self, place: tuple[str, str], task: Task) -> None:
        self.tasks[place] = task
        self._store.put(keys.task(*place), value=records.encode(task))


class Page:
    """A listener with its connection to one plane or the other."""

    def __init__(self, subscription: Subscription, plane: LivePlane) -> None:
        self.listener = Listener(subscription)
        self._stack = ExitStack()
        self.connect(plane)

    def connect(self, plane: LivePlane) -> None:
        """Go over to a plane; what was written and not read is lost."""
        self._stack.close()
        self.plane = plane
        self.sink = HeldSink()
        self._client: Client = self._stack.enter_context(plane.hub.client(self.sink, PRINCIPAL))
        self.listener.connect(plane.hub, self._client)

    def read(self, frames: int) -> None:
        """Take in so many frames of what was written; what came before the answer is no news."""
        taken, self.sink.frames = self.sink.frames[:frames], self.sink.frames[frames:]
        part = HeldSink()
        part.frames = taken
        for message in part.read():
            self.listener.take(message, self.plane.fleet)

    def close(self) -> None:
        """Go away."""
        self._stack.close()


STEPS = st.one_of(
    st.tuples(st.just("step"), st.sampled_from(PLACES)),
    st.tuples(st.just("step"), st.sampled_from(PLACES)),
    st.tuples(st.just("remove"), st.sampled_from(PLACES)),
    st.tuples(st.just("catch up"), st.integers(0, 1), st.integers(1, 20)),
    st.tuples(st.just("flush"), st.integers(0, 1)),
    st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 4)),
    st.tuples(st.just("stall"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("reconnect"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("lose history"), st.integers(0, 1)),
)


class World:
    """The store, two planes over it, and the pages."""

    def __init__(self, store: FollowedStore, planes: list[LivePlane]) -> None:
        self.store = store
        self.planes = planes
        self.rack = Rack(store)
        self.pages = [Page(wanted, planes[0]) for wanted in SUBSCRIPTIONS]

    async def do(self, name: str, *values: Any) -> None:
        """One thing that happens."""
        match name:
            case "step":
                self.rack.step(values[0])
            case "remove":
                self.rack.remove(values[0])
            case "catch up":
                plane = self.planes[values[0]]
                until = min(self.store.revision, plane.mirror.revision + values[1])
                await plane.catch_up(until)
            case "flush":
                self.planes[values[0]].hub.flush()
            case "read":
                self.pages[values[0]].read(values[1])
            case "stall":
                self.pages[values[0]].sink.unsent = FULL if values[1] else 0
            case "reconnect":
                page, plane = self.pages[values[0]], self.planes[values[1]]
                await plane.catch_up(max(plane.mirror.revision, page.listener.since or 0))
                page.connect(plane)
            case "lose history":
                self.store.forget_history()
                await self.planes[values[0]].catch_up()

    async def settle(self) -> None:
        """Let everything through to everybody."""
        for plane in self.planes:
            await plane.catch_up()
        for page in self.pages:
            page.sink.unsent = 0
        for _ in range(100):  # more than the chunks that anybody may be behind
            for plane in self.planes:
                plane.hub.flush()
        for page in self.pages:
            page.read(len(page.sink.frames))


def _in_world(check: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        store = FollowedStore()
        async with AsyncExitStack() as stack:
            planes = [
                await stack.enter_async_context(live_plane(store, replay=Replay(**bounds)))
                for bounds in ({"chunk_messages": 1}, {"max_messages": 8, "chunk_messages": 3})
            ]
            world = World(store, planes)
            await check(world)
            for page in world.pages:
                page.close()

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_listener_ends_with_the_stores_state_and_saw_every_status(
    steps: list[tuple[Any, ...]],
) -> None:
    async def check(world: World) -> None:
        for step in steps:
            await world.do(*step)
        await world.settle()
        for page in world.pages:
            _check_knows_all(page.listener, world.rack)

    _in_world(check)


def _check_knows_all(listener: Listener, rack: Rack) -> None:
    wanted = listener.subscription.idc
    for task in rack.tasks.values():
        if wanted not in (None, task.idc):
            assert task.task_id not in listener.statuses
            continue
        assert listener.statuses[task.task_id] == task.status.value
        assert listener.percent.get(task.task_id, 0) == task.percent
        whole = [change.status.value for change in task.status_history]
        saw = listener.saw[task.task_id]
        assert list(dict.fromkeys(saw)) == whole, "each status, in order"
    assert not rack.gone & listener.statuses.keys()
    if listener.subscription.batch:
        assert listener.repeated == []
