"""The live hub: every change goes to all that listen, encoded once, and slows nobody.

The messages are one log in order of the store's revisions (`Replay`), and each client is a place in
it: the revision up to which it has heard all. So a client that comes back, one that is slow and one
that keeps up are served alike, by what comes after its place. Nothing is queued for a client: one
whose socket is full is left where it is, and later hears the newest only. One that takes nothing
for `STALL_S` is cut off; that is counted in looks at it, so a control plane that is late itself,
as the processor is others', cuts off nobody sooner.

The clients are dealt to `LANES`, which are served in turn, each `BATCHES_PER_SECOND` times in a
second: so that the loop is never held up by all of them at once, and the last of a thousand does
not wait for the others' writes. All changes of one revision come in one batch.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from prometheus_client import Histogram

from lpmos.control.live.frames import FrameSink, text_frame
from lpmos.control.live.messages import Others, of_boot, of_task
from lpmos.control.live.replay import Replay
from lpmos.control.live.subscriptions import Subscription, Wish, wish
from lpmos.core.fleet import Fleet
from lpmos.core.taskchange import TaskChange
from lpmos.model.access import Principal
from lpmos.model.errors import TooBusy
from lpmos.store.keys import KeyName

BATCHES_PER_SECOND = 40
LANES = 8
TURN_S = 1 / BATCHES_PER_SECOND / LANES
STALL_S = 10.0
"""How long a client may take nothing of what is in its full socket before it is cut off."""

STALL_LOOKS = round(STALL_S * BATCHES_PER_SECOND)
"""The same in looks at it, which come `BATCHES_PER_SECOND` times a second at most."""

UNSENT_BYTES = 16 << 10
"""A client with more than this in its socket's buffer gets no more for now."""

STATED_EVERY_S = 10.0
"""How often one that hears nothing of what happens is told how far it is."""

MAX_CLIENTS = 2000
MAX_CLIENTS_PER_USER = 100
MAX_ARRIVALS = 200
"""How many may be connected who have not said yet who they are."""

REACH_TRIES = 20
REACH_EVERY_S = 0.05
DELIVERY_S: Final = (
    *(0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06, 0.08),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
)
_NOWHERE = -1
"""The place of a client that has to read again."""


class Position(Protocol):
    """Where the fleet's mirror is; see `lpmos.store.mirror.Mirror`."""

    @property
    def revision(self) -> int: ...
    @property
    def change_revision(self) -> int: ...


class Batch(NamedTuple):
    """What brings a client up to `revision`; no frames where it wants nothing of it."""

    frames: bytes
    revision: int


class Client:
    """One connection's place in the log."""

    def __init__(self, sink: FrameSink, principal: Principal, revision: int) -> None:
        self.sink = sink
        self.principal = principal
        self.subscription = Subscription()
        self.wish = wish(self.subscription, principal)
        self.revision = revision
        self.followed: frozenset[str] = frozenset()
        """The tasks whose logs and boots it was promised; the hub keeps it."""
        self.listening = False
        """Until it is, its place in the log stays where it is."""
        self.stated_at = float("-inf")
        self.unsent_bytes = 0
        """What its full socket held at the last look."""
        self.stalled_looks = 0
        """How many looks in turn found that it had taken nothing of it."""
        self.lagged = asyncio.Event()
        """Set once it is to be cut off."""

    def subscribe(self, subscription: Subscription) -> None:
        """Hear by this subscription from its place on."""
        self.subscription = subscription
        self.wish = wish(subscription, self.principal)


class LiveHub:
    """Hears every change of the fleet and hands it to the clients that want it."""

    def __init__(
        self,
        fleet: Fleet,
        position: Position,
        *,
        replay: Replay | None = None,
        stall_looks: int = STALL_LOOKS,
    ) -> None:
        self._position = position
        self._stall_looks = stall_looks
        self._fleet = fleet
        self._others = Others(fleet)
        self._replay = replay or Replay()
        self._lanes: tuple[set[Client], ...] = tuple(set() for _ in range(LANES))
        self._users: Counter[str] = Counter()
        self._followed: Counter[str] = Counter()
        self._arrivals = 0
        self._next_lane = self._idle_lanes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.delivery = Histogram(
            "lpmos_live_delivery_seconds",
            "Time from a change that was heard to its last write to a client that keeps up",
            registry=None,
            buckets=DELIVERY_S,
        )
        self._sampled_at: float | None = None
        """When the change was heard whose way is being measured: one at a time."""
        self._sample_turns = 0
        self._reached = 0
        self._history_lost = False
        self._ambiguous_until = _NOWHERE
        self._unsubscribe: tuple[Callable[[], None], ...] = (
            fleet.subscribe(self._gather_task),
            fleet.subscribe_others(self._gather_other),
        )

    def revision(self) -> int:
        """The store's revision up to which this control plane knows all."""
        return self._position.revision

    def count(self) -> int:
        """How many clients there are."""
        return sum(map(len, self._lanes))

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """A connection that has not said yet who it is, until the block ends.

        Raises:
            TooBusy: there are `MAX_ARRIVALS` of them.
        """
        if self._arrivals >= MAX_ARRIVALS:
            raise TooBusy("too many are connecting; try again later")
        self._arrivals += 1
        try:
            yield
        finally:
            self._arrivals -= 1

    @contextmanager
    def client(self, sink: FrameSink, principal: Principal) -> Iterator[Client]:
        """A client that can hear what happens from now on, until the block ends.

        Raises:
            TooBusy: there are too many, of this user or in all.
        """
        if self.count() >= MAX_CLIENTS:
            raise TooBusy("too many are connected; try again later")
        if self._users[principal.subject] >= MAX_CLIENTS_PER_USER:
            raise TooBusy(f"{principal.subject} has too many connections; close some")
        self._notice_lost_history()
        client = Client(sink, principal, self._position.revision)
        lane = min(self._lanes, key=len)
        lane.add(client)
        self._users[principal.subject] += 1
        try:
            yield client
        finally:
            lane.discard(client)
            self._follow(client, frozenset())
            self._users[principal.subject] -= 1
            if not self._users[principal.subject]:
                del self._users[principal.subject]

    def close(self) -> None:
        """Hear nothing more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._timer:
            self._timer.cancel()

    def listen(self, client: Client) -> None:
        """Tell a client that asked for nothing everything from its place on."""
        client.listening = True
        self._wake()

    async def reach(self, revision: int) -> None:
        """Wait a moment for a revision that another control plane had already."""
        for _ in range(REACH_TRIES):
            if self._position.revision >= revision:
                return
            await asyncio.sleep(REACH_EVERY_S)

    def subscribe(self, client: Client, subscription: Subscription) -> None:
        """Change what a client hears, and answer it: from where it goes on, or to read again."""
        self._notice_lost_history()
        client.subscribe(subscription)
        self._follow(client, client.wish.followed)
        client.listening = True
        present = self._position.revision
        asked = subscription.from_revision
        start = client.revision if asked is None else asked
        known = asked is None or self._ambiguous_until < asked <= present
        if known and self._replay.covers(start):
            self._state(client, "subscribed", start)
        else:
            self._state(client, "resync", present)
        self._wake()

    def identify(self, client: Client, principal: Principal) -> None:
        """Who the client is now; one who sees something else than before has to read again."""
        before = client.wish
        client.principal = principal
        client.subscribe(client.subscription)
        self._follow(client, client.wish.followed)
        if client.wish != before:
            client.revision = _NOWHERE
            self._wake()

    def flush(self) -> None:
        """Bring every client as far as it can be brought now."""
        self._notice_lost_history()
        for lane in self._lanes:
            self._serve(lane)

    def _gather_task(self, change: TaskChange) -> None:
        if revision := self._gathered_revision():
            followed = not self._followed.keys().isdisjoint(change.task_ids)
            for told in of_task(change, revision, with_log=followed):
                self._replay.keep(told)

    def _follow(self, client: Client, task_ids: frozenset[str]) -> None:
        """Tell the logs and boots of these tasks from now on, for this client."""
        if task_ids == client.followed:
            return
        self._followed.subtract(client.followed)
        self._followed.update(task_ids)
        self._followed = +self._followed
        client.followed = task_ids

    def _gather_other(self, name: KeyName, changed_at: int) -> None:
        if name.kind == "evidence":
            self._gather_boot(name)
            return
        revision = self._gathered_revision()
        for told in self._others.take(name, exists=changed_at > 0, revision=revision):
            self._replay.keep(told)

    def _gather_boot(self, name: KeyName) -> None:
        task = self._fleet.current_row((name.idc, name.sn))
        if task is None or task.task_id not in self._followed:
            return
        if revision := self._gathered_revision():
            self._replay.keep(of_boot(task, revision))

    def _gathered_revision(self) -> int:
        """The revision of the present change; 0 where it is a listing's, which is no history."""
        revision = self._position.change_revision
        if not revision and not self._history_lost:
            self.flush()
            self._reached = self._position.revision
            self._history_lost = True
        self._wake()
        if revision:
            self._begin_sample()
        return revision

    def _notice_lost_history(self) -> None:
        """Begin anew where the mirror listed again, or the store is an older one than it was."""
        present = self._position.revision
        if self._history_lost or present < self._reached:
            self._history_lost = False
            if present < self._reached:
                self._ambiguous_until = self._reached
            self._replay.begin(present)
            for lane in self._lanes:
                for client in lane:
                    client.revision = _NOWHERE
        self._reached = present

    def _wake(self) -> None:
        """Begin to serve the lanes, where that is not being done."""
        self._idle_lanes = 0
        if self._timer is None and self._users:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._due, loop.time()), self._turn)

    def _turn(self) -> None:
        """Serve the next lane; go on until none has anything to be told.

        A turn that comes late moves no other, but for a rest of half of what it took: no matter how
        many listen, a third of the loop is others'.
        """
        self._timer = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        lane = self._lanes[self._next_lane]
        self._next_lane = (self._next_lane + 1) % LANES
        self._notice_lost_history()
        self._idle_lanes = self._idle_lanes + 1 if self._serve(lane) else 0
        ended = loop.time()
        self._sample(ended)
        self._due = max(self._due + TURN_S, ended - LANES * TURN_S)
        if self._idle_lanes < LANES:
            self._timer = loop.call_at(max(self._due, ended + (ended - began) / 2), self._turn)

    def _begin_sample(self) -> None:
        """Measure the way of the change that was just heard, where none is being measured."""
        if self._sampled_at is None and self._users:
            self._sampled_at = asyncio.get_running_loop().time()
            self._sample_turns = LANES

    def _sample(self, now: float) -> None:
        """After a turn: a change that was heard before as many turns as lanes is written to all."""
        if self._sampled_at is None:
            return
        self._sample_turns -= 1
        if not self._sample_turns:
            self.delivery.observe(now - self._sampled_at)
            self._sampled_at = None

    def _serve(self, lane: set[Client]) -> bool:
        """Bring the clients of a lane up to date; whether all of them are."""
        revision = self._position.revision
        now = asyncio.get_running_loop().time()
        batches: dict[tuple[Wish, int], Batch] = {}
        done = True
        for client in lane:
            if client.revision != revision and client.listening:
                done &= self._bring(client, revision, now, batches)
        return done

    def _bring(
        self, client: Client, revision: int, now: float, batches: dict[tuple[Wish, int], Batch]
    ) -> bool:
        unsent_bytes = client.sink.unsent_bytes()
        if unsent_bytes > UNSENT_BYTES:
            self._look_at_full(client, unsent_bytes)
            return False
        client.stalled_looks = 0
        if not self._replay.covers(client.revision):
            self._state(client, "resync", revision)
            return True
        place = client.wish, client.revision
        if (batch := batches.get(place)) is None:
            batch = batches[place] = self._batch(*place, revision)
        client.revision = batch.revision
        if batch.frames:
            client.sink.write_frames(batch.frames)
            client.stated_at = now
        elif now - client.stated_at > STATED_EVERY_S:
            self._state(client, "revision", batch.revision)
        return batch.revision == revision

    def _batch(self, wanted: Wish, since: int, present: int) -> Batch:
        chunk = self._replay.after(since, present, wanted.wants)
        if not chunk.texts:
            return Batch(b"", chunk.revision)
        texts = [*chunk.texts, _stating("revision", chunk.revision)]
        if wanted.batch:
            return Batch(text_frame(b"[%b]" % b",".join(texts)), chunk.revision)
        return Batch(b"".join(map(text_frame, texts)), chunk.revision)

    def _state(self, client: Client, kind: str, revision: int) -> None:
        """Tell a client how far it is; it goes on from there."""
        client.revision = revision
        client.stated_at = asyncio.get_running_loop().time()
        client.sink.write_frames(text_frame(_stating(kind, revision)))

    def _look_at_full(self, client: Client, unsent_bytes: int) -> None:
        """Cut off a client that took nothing for too long; nothing is written to it meanwhile."""
        took = unsent_bytes < client.unsent_bytes
        client.unsent_bytes = unsent_bytes
        client.stalled_looks = 0 if took else client.stalled_looks + 1
        if client.stalled_looks > self._stall_looks:
            client.lagged.set()


def _stating(kind: str, revision: int) -> bytes:
    return b'{"type":"%b","revision":%d}' % (kind.encode(), revision)
