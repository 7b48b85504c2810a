"""What exactly one control plane does for all: the elected one, as long as it leads.

A duty writes with the leadership's fence in every transaction, so that one that was stopped for a
while and does not know yet that another leads changes nothing.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Protocol

import structlog

from lpmos.model.errors import LpmosError
from lpmos.store.api import Leadership, Store

log = structlog.get_logger()

ELECTION = "control-plane"
TTL_S = 10
RETRY_S = 1.0
RESIGN_TIMEOUT_S = 2.0


class Duty(Protocol):
    """One thing that the elected control plane does until it no longer leads."""

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled; what a predecessor left undone is done first."""
        ...


class Duties:
    """Stands for election for ever, and does the duties while it leads."""

    def __init__(
        self, store: Store, identity: str, duties: Sequence[Duty], *, retry_s: float = RETRY_S
    ) -> None:
        """`identity` is what the store shows as the leader's name; stand again after `retry_s`."""
        self._store = store
        self._identity = identity
        self._duties = duties
        self._retry_s = retry_s
        self.leading = False

    async def run(self) -> None:
        """Stand, lead, and stand again, until cancelled; leadership is then given up at once."""
        while True:
            try:
                await self._term()
            except LpmosError as error:
                log.warning("cannot lead now", reason=str(error), wait_s=self._retry_s)
                await asyncio.sleep(self._retry_s)
            except Exception:  # a duty's fault ends its term; the others go on in the next
                log.exception("a duty failed", wait_s=self._retry_s)
                await asyncio.sleep(self._retry_s)

    async def _term(self) -> None:
        leadership = await self._store.elect(ELECTION, self._identity, TTL_S)
        log.info("leading", identity=self._identity)
        self.leading = True
        try:
            await self._lead(leadership)
        finally:
            self.leading = False
            if not leadership.lost.is_set():
                await resign(leadership)

    async def _lead(self, leadership: Leadership) -> None:
        """Run every duty until the leadership is lost; one that fails ends the term."""
        duties = [asyncio.create_task(each.lead(leadership)) for each in self._duties]
        lost = asyncio.create_task(leadership.lost.wait())
        try:
            done, _ = await asyncio.wait([lost, *duties], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (lost, *duties):
                task.cancel()
            await asyncio.gather(lost, *duties, return_exceptions=True)
        for task in done - {lost}:
            task.result()


async def resign(leadership: Leadership) -> None:
    """Give way; where the store cannot be told, the end of the lease does it."""
    try:
        async with asyncio.timeout(RESIGN_TIMEOUT_S):
            await leadership.resign()
    except (LpmosError, TimeoutError) as error:
        log.info("could not resign", reason=str(error))


def identity_of_this_process() -> str:
    """What the store shows as the leader's name: this host's name and the process's number."""
    return f"{socket.gethostname()}:{os.getpid()}"
