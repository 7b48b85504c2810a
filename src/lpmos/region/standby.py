"""Active or standby: stands for election, knows the others, and serves machines while it may (F1).

The rule: `active` holds only up to a time of the monotonic clock, which is the leadership's own or,
for a client that is alone, one time-to-live from the last look. Whoever answers a machine asks it
before and after. So a client that was stopped answers nothing when it wakes: its time has passed,
and it begins as one that was just started. What it has to be is decided by `model.standing`.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.duties import resign
from lpmos.model.region import LastActive
from lpmos.model.standing import Standing, View, standing
from lpmos.region.probes import ProbeFailed, probe_http
from lpmos.region.settings import RegionSettings
from lpmos.store import keys, records
from lpmos.store.api import Leadership, PermissionDenied, Store, StoreError
from lpmos.store.election import ELECTIONS
from lpmos.store.fenced import FencedStore

TTL_S = 8
"""How long the active client may be silent before the next is elected."""
MARGIN_S = 1.0
"""A client decides so long before its leadership ends."""
LOOK_S = 1.0
LOOK_TIMEOUT_S = 2.0
TURN_S = 0.2
RETRY_S = 1.0
PREDECESSOR_TIMEOUT_S = 1.0
PREDECESSOR_PATH = "/boot/boot.ipxe"
"""Every machine may ask for it, and only who is active answers."""

Serve = Callable[[], Coroutine[None, None, None]]
Answers = Callable[[str, int], Awaitable[bool]]


class Kept(msgspec.Struct, frozen=True):
    """What a client remembers on its own disk, for a start while the store is away."""

    alone: bool = False


class Standby:
    """One client's part in the election of its data center."""

    def __init__(
        self,
        settings: RegionSettings,
        store: Store,
        fenced: FencedStore,
        clock: Clock,
        *,
        ttl_s: int = TTL_S,
        answers: Answers | None = None,
    ) -> None:
        """`fenced` is opened and closed here; `answers` asks another client whether it serves."""
        self._settings = settings
        self.store = store
        """Without the fence: for what a standby writes of itself."""
        self._fenced = fenced
        self._clock = clock
        self._ttl_s = ttl_s
        self._answers = answers or serves
        self._name = f"region-{settings.idc}"
        self._candidate = f"{settings.identity}:{os.getpid()}:{secrets.token_hex(4)}"
        self._file = settings.state_dir / "standing.json"
        self._kept = _read(self._file)
        self._log = structlog.get_logger().bind(idc=settings.idc, identity=settings.identity)
        self._leadership: Leadership | None = None
        self._store_answers = True
        self._other_leads = False
        self._until = float("-inf")
        self._port = settings.api_port
        self._recorded = False
        self._gave_way = False
        self._last_active: LastActive | None = None
        self._changed = asyncio.Event()
        self.since: datetime | None = None
        """Since when the client is what it is."""

    @property
    def active(self) -> bool:
        """Whether machines may be answered at this moment."""
        return time.monotonic() < self._until

    @property
    def standing(self) -> Standing:
        """What the client is at this moment."""
        return Standing.ACTIVE if self.active else Standing.STANDBY

    def until(self) -> float:
        """The `time.monotonic()` until which machines may be answered, as it is known now."""
        return self._until

    async def run(self, serve: Serve, port: int) -> None:
        """Stand, and run `serve` while active, until cancelled; another is then elected at once.

        Args:
            serve: answers machines until cancelled.
            port: where this client's HTTP answers.
        """
        self._port = port
        self.since = self._clock()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stand())
                group.create_task(self._look())
                group.create_task(self._serve_while_active(serve))
        finally:
            await self._give_way()

    async def _stand(self) -> None:
        while True:
            try:
                leadership = await self.store.elect(self._name, self._candidate, self._ttl_s)
            except PermissionDenied as error:
                self._log.error(
                    "the store's user may not stand for election",
                    reason=str(error),
                    hint=f"grant its role readwrite on {ELECTIONS}{self._name}/",
                )
                await asyncio.sleep(RETRY_S)
                continue
            except (StoreError, OSError) as error:
                self._log.warning("cannot stand for election", reason=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            self._leadership, self._recorded = leadership, False
            self._changed.set()
            await leadership.lost.wait()
            self._leadership = None
            self._changed.set()
            if self._gave_way:  # to one that answers machines, and may want to be elected
                self._gave_way = False
                await asyncio.sleep(RETRY_S)

    async def _look(self) -> None:
        """Learn again and again whether the store answers and who else stands."""
        while True:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    await self._ask_store()
                self._store_answers = True
            except (StoreError, OSError, TimeoutError) as error:
                if self._store_answers:
                    self._log.warning("the store does not answer", reason=str(error))
                self._store_answers = False
            self._changed.set()
            await asyncio.sleep(LOOK_S)

    async def _ask_store(self) -> None:
        page = await self.store.range(f"{ELECTIONS}{self._name}/")
        first = min(page.kvs, key=lambda kv: kv.create_revision, default=None)
        self._other_leads = first is not None and first.value.decode() != self._candidate
        if not self._leads():
            if self._other_leads:
                self._keep(Kept(alone=False))
            return
        self._keep(Kept(all(kv.value.decode() == self._candidate for kv in page.kvs)))
        if self.active and not self._recorded:
            await self._record(ended=False)
            self._recorded = True

    async def _serve_while_active(self, serve: Serve) -> None:
        serving: asyncio.Task[None] | None = None
        try:
            while True:
                self._changed.clear()
                if serving and serving.done():
                    serving.result()
                if serving and not self.active:
                    self._log.warning("was stopped for too long; begins again as a standby")
                    await self._stop(serving)
                    serving = None
                wanted = await self._wanted(serving is not None)
                if wanted is Standing.ACTIVE:
                    self._extend()
                    if serving is None:
                        serving = self._begin(serve)
                elif serving is not None:
                    await self._stop(serving)
                    serving = None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TURN_S):
                        await self._changed.wait()
        finally:
            if serving:
                await self._stop(serving)

    def _begin(self, serve: Serve) -> asyncio.Task[None]:
        self.since = self._clock()
        self._log.info("active: answers machines", leads=self._leads(), alone=self._kept.alone)
        return asyncio.create_task(serve(), name="serving machines")

    async def _stop(self, serving: asyncio.Task[None]) -> None:
        """Answer nothing any more, from this moment on; then end what serves."""
        self._until = float("-inf")
        self._fenced.alone = False
        self.since = self._clock()
        self._log.warning("stands by: answers no machine")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def _wanted(self, serving: bool) -> Standing:
        """What to be now; whoever does not serve yet asks first whether another does."""
        wanted = standing(self._view(serving, predecessor_answers=False))
        if serving or wanted is Standing.STANDBY:
            return wanted
        if self._leads() and not await self._learn_predecessor():
            return Standing.STANDBY
        answers = await self._predecessor_answers()
        wanted = standing(self._view(serving, predecessor_answers=answers))
        if answers and self._leadership is not None:
            self._log.warning("elected, but the client before still answers machines: stands by")
            self._gave_way = True
            await resign(self._leadership)
        return wanted

    def _view(self, serving: bool, *, predecessor_answers: bool) -> View:
        return View(
            leads=self._leads(),
            serving=serving,
            store_answers=self._store_answers,
            alone=self._kept.alone,
            other_leads=self._other_leads,
            predecessor_answers=predecessor_answers,
        )

    def _leads(self) -> bool:
        leadership = self._leadership
        if leadership is None or leadership.lost.is_set():
            return False
        return time.monotonic() < leadership.deadline - MARGIN_S

    def _extend(self) -> None:
        """Put off the end of the right to answer, and open the way to the store with it."""
        leads = self._leads()
        self._fenced.leadership = self._leadership if leads else None
        self._fenced.alone = not leads
        if leads and self._leadership:
            self._until = self._leadership.deadline
        else:
            self._until = time.monotonic() + self._ttl_s

    async def _learn_predecessor(self) -> bool:
        """Read who was active last; False: the store did not say, so nobody can be asked."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                kv = await self.store.get(keys.region_active(self._settings.idc))
            self._last_active = records.decode(kv, LastActive) if kv else None
        except records.DamagedRecord as error:
            self._log.error("who was active last cannot be read", error=str(error))
            self._last_active = None
        except (StoreError, OSError, TimeoutError) as error:
            self._log.warning(
                "elected, but the store does not say who was active before: stands by",
                reason=str(error),
            )
            return False
        return True

    async def _predecessor_answers(self) -> bool:
        """Whether another client answers machines: the one that was active last, or any."""
        last = self._last_active
        own = self._settings.address, self._port
        asked = []
        if last is not None and not last.ended and (last.address, last.port) != own:
            asked.append((last.address, last.port))
        if not self._store_answers and self._settings.service_address:
            asked.append((self._settings.service_address, self._port))
        return any([await self._answers(*place) for place in asked])

    async def _record(self, *, ended: bool) -> None:
        """Write who is active, for the next one."""
        document = LastActive(
            identity=self._settings.identity,
            address=self._settings.address,
            port=self._port,
            since=self.since or self._clock(),
            ended=ended,
        )
        key = keys.region_active(self._settings.idc)
        await self._fenced.put(key, records.encode(document))

    async def _give_way(self) -> None:
        leadership = self._leadership
        if leadership is None or leadership.lost.is_set():
            return
        with contextlib.suppress(StoreError, OSError, TimeoutError):
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await self._record(ended=True)
        await resign(leadership)

    def _keep(self, kept: Kept) -> None:
        if kept == self._kept:
            return
        self._kept = kept
        try:
            new = self._file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(kept))
            new.replace(self._file)
        except OSError as error:
            self._log.error("cannot remember who else there is", error=str(error))


async def serves(address: str, port: int) -> bool:
    """Whether the client at `address` answers machines."""
    try:
        async with asyncio.timeout(PREDECESSOR_TIMEOUT_S):
            await probe_http(address, port, PREDECESSOR_PATH)
    except (ProbeFailed, TimeoutError):
        return False
    return True


def _read(file: Path) -> Kept:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()
