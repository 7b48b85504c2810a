"""A client's candidacy in the election of its region: it stands for ever, but while it may not win.

The rule: what is won while it may not be is not kept; whoever waits for it is then elected.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from lpmos.core.duties import resign
from lpmos.store.api import Leadership, NoSpace, PermissionDenied, Store, StoreError
from lpmos.store.election import ELECTIONS

MARGIN_S = 1.0
"""A client decides so long before its leadership ends."""
RETRY_S = 1.0


class Candidate:
    """One candidate; `changed` is called when its leadership begins or ends."""

    def __init__(
        self,
        store: Store,
        election: str,
        name: str,
        ttl_s: int,
        *,
        waits_s: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """`waits_s` says how long it may not stand, 0: it may."""
        self._store = store
        self._election = election
        self._name = name
        self._ttl_s = ttl_s
        self._waits_s = waits_s
        self._changed = changed
        self._standing: asyncio.Task[Leadership] | None = None
        self._gave_way = False
        self._leadership: Leadership | None = None
        self.refused = False
        """Whether the store had no room for its last candidacy, and has none as far as is known."""
        self._log = structlog.get_logger().bind(candidate=name)

    @property
    def leadership(self) -> Leadership | None:
        """What it won, until that may have ended."""
        won = self._leadership
        return None if won is None or won.lost.is_set() else won

    @property
    def leads(self) -> bool:
        """Whether it leads, and will for a moment."""
        won = self.leadership
        return won is not None and time.monotonic() < won.deadline - MARGIN_S

    @property
    def left_s(self) -> float:
        """How long the leadership lasts if it is not kept alive; 0 without one."""
        won = self.leadership
        return max(0.0, won.deadline - time.monotonic()) if won else 0.0

    async def run(self) -> None:
        """Stand until cancelled."""
        while True:
            if (wait_s := self._waits_s()) > 0:
                if self.refused:
                    await self._ask_for_room()
                await asyncio.sleep(wait_s)
                continue
            won = await self._elected()
            if won is None:
                continue
            self._leadership = won
            self._changed()
            await won.lost.wait()
            self._leadership = None
            self._changed()
            if self._gave_way:  # to one that answers machines, and may want to be elected
                self._gave_way = False
                await asyncio.sleep(RETRY_S)

    def withdraw(self) -> None:
        """Do not wait to be elected any more; it stands anew when it may."""
        if self._standing:
            self._standing.cancel()

    async def give_way(self) -> None:
        """Let another be elected now."""
        won = self.leadership
        if won is not None:
            self._gave_way = True
            await resign(won)

    async def _ask_for_room(self) -> None:
        """Learn by a lease whether a store that refused has room again: it may not stand for it."""
        try:
            lease = await self._store.grant(self._ttl_s)
        except (StoreError, OSError) as error:
            self.refused = isinstance(error, NoSpace)
            return
        self.refused = False
        with contextlib.suppress(StoreError, OSError):
            await lease.revoke()

    async def _elected(self) -> Leadership | None:
        """The leadership, once it is won; None where it could not be, or was withdrawn."""
        standing = asyncio.create_task(self._store.elect(self._election, self._name, self._ttl_s))
        self._standing = standing
        try:
            await asyncio.wait({standing})
            if standing.cancelled():
                return None
            won = standing.result()
        except PermissionDenied as error:
            self.refused = False
            self._log.error(
                "the store's user may not stand for election",
                reason=str(error),
                hint=f"grant its role readwrite on {ELECTIONS}{self._election}/",
            )
        except (StoreError, OSError) as error:
            self.refused = isinstance(error, NoSpace)
            self._log.warning("cannot stand for election", reason=str(error))
        else:
            self.refused = False
            return won
        finally:
            self._standing = None
            standing.cancel()
            await asyncio.gather(standing, return_exceptions=True)
        await asyncio.sleep(RETRY_S)
        return None
