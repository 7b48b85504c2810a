"""A call that changes something answers when memory shows the change.

So whoever reads next, over any connection to this control plane, reads what was written. It is
stored in any case; where memory lags the answer comes after `VISIBLE_TIMEOUT_S`.
"""

import asyncio

import structlog

from lpmos.core.fleet import Fleet
from lpmos.core.tracing import named
from lpmos.model.task import Task

log = structlog.get_logger()

VISIBLE_TIMEOUT_S = 2.0


async def until_shown(fleet: Fleet, revision: int) -> None:
    """Wait until the fleet has what was written at a revision of the store; 0 is nothing."""
    if revision == 0:
        return
    try:
        async with asyncio.timeout(VISIBLE_TIMEOUT_S):
            await fleet.wait_for_revision(revision)
    except TimeoutError:
        log.warning("a stored change is not visible yet", revision=revision)


async def until_visible(fleet: Fleet, written: Task) -> None:
    """Wait until the fleet shows a task at least as far as it was just written."""
    changed = asyncio.Event()
    unsubscribe = fleet.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(VISIBLE_TIMEOUT_S):
            while not _shows(fleet, written):
                await changed.wait()
                changed.clear()
    except TimeoutError:
        log.warning("a written task is not visible yet", **named(written))
    finally:
        unsubscribe()


def _shows(fleet: Fleet, written: Task) -> bool:
    known = fleet.row(written.task_id)
    return known is not None and known.steps >= len(written.status_history)
