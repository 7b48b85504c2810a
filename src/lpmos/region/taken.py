"""What may be taken once, and who took it: kept over a restart, a failover and an outage.

The rule: who takes something first has it, and everybody else is told so. It is in the store, where
the next client finds it, and on this client's disk, where it is found without the store; while the
store is away the disk alone decides, and the store is told as soon as it is back. What is kept is
who took what, never what it is good for.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.model.errors import SettingsError
from lpmos.region.outbox import Outbox, Waiting
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Ambiguous,
    Compare,
    Delete,
    NoSpace,
    Put,
    Store,
    StoreError,
    Unavailable,
)
from lpmos.store.fenced import NotActive

FILE_NAME = "taken.db"
LIMIT_BYTES = 64 << 20
LOOK_S = 1.0
"""How often is looked whether the store lacks something that it can be told now."""
SWEEP_S = 60.0
AT_ONCE = 100
_AWAY = (Unavailable, Ambiguous, NoSpace)


class Taken(msgspec.Struct, frozen=True):
    """Who took something, when, and until when that matters."""

    name: str
    holder: str
    at: datetime
    until: datetime


class Ledger:
    """What was taken at one region; make it with `ledger`."""

    def __init__(
        self,
        store: Store,
        stored: Callable[[str], KV | None],
        connected: Callable[[], bool],
        clock: Clock,
        journal: Outbox,
        *,
        idc: str,
    ) -> None:
        """`stored` gives a key of the store as it is known here, `connected` whether it answers."""
        self._store = store
        self._stored = stored
        self._connected = connected
        self._clock = clock
        self._journal = journal
        self._idc = idc
        self._swept_at = clock()
        self._here: dict[str, Taken] = {}
        self._untold: dict[str, Taken] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._log = structlog.get_logger().bind(idc=idc)

    async def restore(self) -> None:
        """Know again what was taken before a restart."""
        for word in self._journal.words():
            taken = msgspec.json.decode(await self._journal.read(word), type=Taken)
            self._here[taken.name] = taken
            self._untold[taken.name] = taken

    def holder(self, name: str) -> Taken | None:
        """Who is known here to have it."""
        kv = self._stored(keys.taken(self._idc, name))
        if kv is not None:
            try:
                return records.decode(kv, Taken)
            except records.DamagedRecord as error:
                self._log.warning("who took something cannot be read", error=str(error))
        return self._here.get(name)

    async def take(self, name: str, holder: str, until: datetime) -> Taken:
        """Take it for `holder`, who may do so again; whose it is now.

        Args:
            name: what is taken; a part of a key.
            holder: who takes it.
            until: when nobody could take it any more, so that it may be forgotten.

        Raises:
            Unavailable, NoSpace: it could not be kept; nobody has it.
            NotActive: this client stands by.
        """
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            known = self.holder(name)
            if known is not None:
                return known
            taken = Taken(name, holder, self._clock(), until)
            told = False
            if self._connected():
                try:
                    taken = await self._tell(taken)
                    told = True
                except NotActive:
                    raise
                except _AWAY as error:
                    self._log.debug("taken without the store", why=str(error))
            await self._keep(taken, told=told)
            return taken

    async def run(self) -> None:
        """Tell the store what it does not know and forget what is over, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except (StoreError, OSError) as error:
                self._log.debug("the store is not told yet what was taken", why=str(error))

    async def look(self) -> None:
        """Tell the store what it lacks and, every `SWEEP_S`, forget; raises as the store."""
        if not self._connected():
            return
        await self._tell_all()
        if abs((self._clock() - self._swept_at).total_seconds()) >= SWEEP_S:
            await self._sweep()
            self._swept_at = self._clock()

    async def _keep(self, taken: Taken, *, told: bool) -> None:
        def then(_: int) -> None:
            self._here[taken.name] = taken
            if not told:
                self._untold[taken.name] = taken

        await self._journal.append(taken.name, taken.at, msgspec.json.encode(taken), then=then)

    async def _tell(self, taken: Taken) -> Taken:
        """Have it in the store where nobody has it there; who has it there."""
        key = keys.taken(self._idc, taken.name)
        result = await self._store.txn(
            [Compare(key, "create", "=", 0)], [Put(key, records.encode(taken))]
        )
        if result.succeeded:
            return taken
        kv = await self._store.get(key)
        return records.decode(kv, Taken) if kv else taken

    async def _tell_all(self) -> None:
        for name, taken in list(self._untold.items()):
            if taken.until > self._clock():
                found = await self._tell(taken)
                if found.holder != taken.holder:
                    self._log.error(
                        "something was taken twice while clients of the region were apart",
                        name=name,
                        hint="look at the machines that booted then; start in doubt those again",
                    )
            self._untold.pop(name, None)

    async def _sweep(self) -> None:
        """Forget what nobody can take any more, here and in the store."""
        now = self._clock()
        for word in self._journal.words():
            await self._forget(word, now)
        over: list[str] = []
        async for page in self._store.list(keys.taken(self._idc, "")):
            over += [kv.key for kv in page.kvs if _is_over(kv, now)]
        for at in range(0, len(over), AT_ONCE):
            await self._store.txn([], [Delete(key) for key in over[at : at + AT_ONCE]])

    async def _forget(self, word: Waiting, now: datetime) -> None:
        taken = self._here.get(word.lane)
        if taken is None or taken.until <= now:
            await self._journal.remove(word)
            self._here.pop(word.lane, None)
            self._untold.pop(word.lane, None)


@asynccontextmanager
async def ledger(
    store: Store,
    stored: Callable[[str], KV | None],
    connected: Callable[[], bool],
    clock: Clock,
    *,
    idc: str,
    state_dir: Path,
) -> AsyncIterator[Ledger]:
    """The ledger of a region with what its disk has; see `Ledger`.

    Raises:
        SettingsError: the file cannot be used.
    """
    path = state_dir / FILE_NAME
    try:
        journal = await Outbox.open(path, limit_bytes=LIMIT_BYTES)
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(
            f"cannot use {path}: {error}; end the other region that uses this directory, or choose"
            " another with --state-dir"
        ) from error
    try:
        made = Ledger(store, stored, connected, clock, journal, idc=idc)
        await made.restore()
        yield made
    finally:
        await journal.close()


def _is_over(kv: KV, now: datetime) -> bool:
    try:
        return records.decode(kv, Taken).until <= now
    except records.DamagedRecord:
        return True
