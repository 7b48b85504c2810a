"""The parts with which a region goes on without the store, put together in one state directory.

    state-dir/outbox.db   what machines were answered and the store does not have yet
    state-dir/memory.db   what the region knows of the store

Both are the region's own: a second process on the same directory is refused.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.errors import SettingsError
from lpmos.region.evidence import EvidenceBook
from lpmos.region.keeping import gives_way
from lpmos.region.memory import Memory
from lpmos.region.outbox import Outbox
from lpmos.region.steady import SteadyAgents
from lpmos.store.api import Store
from lpmos.store.grouped import GroupedStore
from lpmos.store.mirror import Mirror
from lpmos.store.overlay import Overlay


class Offline:
    """A region's view and use cases; `run` keeps the one and hands in what the other kept."""

    def __init__(
        self,
        fleet: Fleet,
        agents: SteadyAgents,
        evidence: EvidenceBook,
        memory: Memory,
        grouped: GroupedStore,
    ) -> None:
        self._grouped = grouped
        self.evidence = evidence
        self.fleet = fleet
        self.agents = agents
        self.memory = memory

    async def run(self) -> None:
        """Write down what is known and hand in what is kept, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.memory.run(), name="region memory")
            group.create_task(self.agents.run(), name="outbox")
            group.create_task(self._grouped.run(), name="writing")


@asynccontextmanager
async def offline(
    store: Store,
    mirror: Mirror,
    clock: Clock,
    *,
    idc: str,
    unknown: UnknownMachines,
    state_dir: Path,
    unfenced: Store,
    others: Sequence[Mirror] = (),
) -> AsyncIterator[Offline]:
    """All of it, with what was known and kept before; enter it before `mirror` runs.

    Args:
        store: the store, which may be away; with the fence where there is a standby.
        mirror: of the region's own prefix.
        clock: the time.
        idc: the data center.
        unknown: what happens to machines without a task.
        state_dir: where the files are.
        unfenced: the store as a standby may use it too.
        others: mirrors that the fleet reads beside.

    Raises:
        SettingsError: the directory or the outbox in it cannot be used.
    """
    outbox = await _outbox(state_dir)
    try:
        memory = Memory(state_dir / "memory.db", mirror)
        overlay = Overlay(mirror, gives_way)
        fleet = Fleet(overlay, *others)
        await memory.restore()
        grouped = GroupedStore(store)
        evidence = EvidenceBook(store, fleet, clock, idc=idc)
        agents = SteadyAgents(
            grouped,
            fleet,
            clock,
            idc=idc,
            unknown=unknown,
            overlay=overlay,
            outbox=outbox,
            unfenced=unfenced,
            memory=memory,
            seen=evidence.of,
        )
        await agents.restore()
        yield Offline(fleet, agents, evidence, memory, grouped)
    finally:
        await outbox.close()


async def _outbox(state_dir: Path) -> Outbox:
    try:
        await asyncio.to_thread(state_dir.mkdir, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"cannot make the directory {state_dir}: {error.strerror};"
            " choose another with --state-dir"
        ) from error
    try:
        return await Outbox.open(state_dir / "outbox.db")
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(
            f"cannot use {state_dir / 'outbox.db'}: {error}; end the other region that uses this"
            " directory, make space there, or choose another with --state-dir"
        ) from error
