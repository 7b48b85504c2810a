"""Watches how full the store is: every control plane looks, the elected one tells.

What is told goes to the log at once, and as an event (`store.filling`, `store.full`,
`store.recovered`) as soon as the store takes it. A control plane that is elected while it lasts
tells of it again.
"""

import asyncio

import structlog

from lpmos.core.clock import Clock
from lpmos.core.journal import told
from lpmos.model.audit import SYSTEM
from lpmos.model.storeroom import Judgement, Room, judge_room
from lpmos.store.api import CasConflict, Get, Leadership, Store, StoreError, StoreStatus

log = structlog.get_logger()

LOOK_S = 30.0
STATUS_TIMEOUT_S = 5.0
WORTH_TELLING = frozenset({Room.FILLING, Room.FULL})


class StoreCare:
    """How the store was when it was last asked, and the duty that tells of what is wrong."""

    def __init__(self, store: Store, clock: Clock, *, look_s: float = LOOK_S) -> None:
        """Ask every `look_s`."""
        self._store = store
        self._clock = clock
        self._look_s = look_s
        self.status: StoreStatus | None = None
        """As it answered last; None before its first answer."""

    async def run(self) -> None:
        """Ask and log until cancelled."""
        before = Room.ENOUGH
        while True:
            judgement = await self._look()
            if judgement is not None and judgement.room is not before:
                if judgement.room in WORTH_TELLING:
                    log.warning("the store needs care", hint=judgement.hint)
                elif before in WORTH_TELLING:
                    log.info("the store has room again")
                before = judgement.room
            await asyncio.sleep(self._look_s)

    async def lead(self, leadership: Leadership) -> None:
        """Tell of what becomes worse or better, until cancelled.

        Raises:
            CasConflict: another control plane leads.
        """
        said = Room.ENOUGH
        while True:
            judgement = judged(self.status) if self.status else None
            if judgement is not None and _told_as(judgement.room) is not said:
                said = await self._tell(leadership, judgement, said)
            await asyncio.sleep(self._look_s)

    async def _look(self) -> Judgement | None:
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                self.status = await self._store.status()
        except (StoreError, TimeoutError):  # that it is away is seen elsewhere
            return None
        return judged(self.status)

    async def _tell(self, leadership: Leadership, judgement: Judgement, said: Room) -> Room:
        """Write the event; what is said from now on."""
        room = _told_as(judgement.room)
        action = "store.recovered" if room is Room.ENOUGH else f"store.{room.value}"
        event = told(
            action,
            "store/room",
            SYSTEM,
            self._clock(),
            before={"room": said.value},
            after={"room": room.value},
            reason=judgement.hint,
        )
        try:
            done = await self._store.txn(leadership.fence, [event], [Get(event.key)])
        except StoreError as error:
            log.info("this could not be told yet", action=action, reason=str(error))
            return said
        if not done.succeeded:
            raise CasConflict("another control plane leads; it tells of the store")
        return room


def judged(status: StoreStatus) -> Judgement:
    """How much room the store has."""
    return judge_room(
        status.backend,
        size_bytes=status.size_bytes,
        in_use_bytes=status.in_use_bytes,
        quota_bytes=status.quota_bytes,
        alarms=status.alarms,
    )


def _told_as(room: Room) -> Room:
    """What is only a hint is not told of."""
    return room if room in WORTH_TELLING else Room.ENOUGH
