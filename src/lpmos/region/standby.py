"""Active or standby: stands for election, knows the others, and serves machines while it may (F1).

The rule: `active` holds only up to a time of the monotonic clock: the end of the leadership, or of
the promises that all others gave, whichever is later; for a client that is alone, one time-to-live
from the last look. Whoever answers a machine asks it before and after. So a client that was stopped
answers nothing when it wakes: its time has passed, and it begins as one that was just started. What
it has to be is decided by `model.standing`.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from lpmos.core.clock import Clock
from lpmos.core.journal import told
from lpmos.model.audit import Actor
from lpmos.model.promises import Answer, Ask, Situation
from lpmos.model.region import ClientState, LastActive, RegionClient
from lpmos.model.standing import Ground, Standing, View, ground
from lpmos.region.candidate import Candidate
from lpmos.region.pairing import Pairing
from lpmos.region.peer_calls import Calls
from lpmos.region.probes import ProbeFailed, probe_http
from lpmos.region.remembered import Kept, Remembered
from lpmos.region.settings import RegionSettings
from lpmos.store import keys, records
from lpmos.store.api import KV, Leadership, NoSpace, Store, StoreError
from lpmos.store.election import ELECTIONS
from lpmos.store.fenced import FencedStore

TTL_S = 8
"""How long the active client may be silent before the next is elected."""
MARGIN_S = 1.0
"""A client decides so long before the promises that it holds end."""
ASKS_BELOW = 0.6
"""Where so little of the time to live is left, a keep-alive was missed: the others are asked."""
LOOK_S = 1.0
LOOK_TIMEOUT_S = 1.2
"""Short enough for the others to have promised before a leadership ends."""
STORE_TIMEOUT_S = 2.0
SETTLED_S = 45.0
"""Only a store that has answered for so long is believed that a client has left: after an outage,
its key may have ended, and it has not told anew yet."""
LEFT_BEHIND_S = 45.0
"""So long after a start, the lease of a process before it may live: etcd may put its end off."""
TURN_S = 0.2
PREDECESSOR_TIMEOUT_S = 1.0
PREDECESSOR_PATH = "/boot/boot.ipxe"
"""Every machine may ask for it, and only who is active answers."""

Serve = Callable[[], Coroutine[None, None, None]]
Answers = Callable[[str, int], Awaitable[bool]]


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
        self._election = f"region-{settings.idc}"
        self._name = f"{settings.identity}:{os.getpid()}:{secrets.token_hex(4)}"
        self._changed = asyncio.Event()
        self._remembered = Remembered(settings.state_dir)
        self._pairing = Pairing(
            settings.identity,
            self._remembered,
            situation=self._situation,
            look=self._look_once,
            wanted=self._wants_promises,
            promised=self._withdraw,
        )
        self._candidate = Candidate(
            store,
            self._election,
            self._name,
            ttl_s,
            waits_s=lambda: self._pairing.promised_s,
            changed=self._changed.set,
        )
        self._log = structlog.get_logger().bind(idc=settings.idc, identity=settings.identity)
        self._store_answers = True
        self._store_since: float | None = time.monotonic()
        self._began = time.monotonic()
        self._serving: asyncio.Task[None] | None = None
        self._ground: Ground | None = None
        self._said_off: frozenset[str] = frozenset()
        self._other_leads = False
        self._until = float("-inf")
        self._port = settings.api_port
        self._recorded = False
        self._last_active: LastActive | None = None
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

    @property
    def state(self) -> ClientState:
        """What the client is, as it tells people."""
        return ClientState(
            standing=self.standing,
            by=self._ground if self.active else None,
            since=self.since,
            promised_s=round(self._pairing.promised_s, 1),
        )

    def until(self) -> float:
        """The `time.monotonic()` until which machines may be answered, as it is known now."""
        return self._until

    async def answer(self, ask: Ask) -> Answer:
        """What another client hears that asks for a promise."""
        return await self._pairing.answer(ask)

    async def run(self, serve: Serve, port: int, calls: Calls) -> None:
        """Stand, and run `serve` while active, until cancelled; another is then elected at once.

        Args:
            serve: answers machines until cancelled.
            port: where this client's HTTP answers.
            calls: the way to the other clients.
        """
        self._port = port
        self.since = self._clock()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._candidate.run())
                group.create_task(self._look())
                group.create_task(self._pairing.run(calls))
                group.create_task(self._serve_while_active(serve))
        finally:
            await self._give_way()

    async def _look(self) -> None:
        """Learn again and again whether the store answers and who else there is."""
        while True:
            await self._look_once()
            self._hear_operator()
            self._changed.set()
            await asyncio.sleep(LOOK_S)

    async def _look_once(self) -> None:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await self._ask_store()
        except (StoreError, OSError, TimeoutError) as error:
            if self._store_answers:
                self._log.warning("the store does not answer", reason=str(error))
            self._store_answers, self._store_since = False, None
            return
        self._store_answers = True
        if self._store_since is None:
            self._store_since = time.monotonic()

    async def _ask_store(self) -> None:
        page = await self.store.range(f"{ELECTIONS}{self._election}/")
        clients = await self.store.range(keys.region_client(self._settings.idc, ""))
        first = min(page.kvs, key=lambda kv: kv.create_revision, default=None)
        leader = self._name if first is None else first.value.decode()
        self._other_leads = leader != self._name
        kept, others = self._remembered.kept, self._others(page.kvs, clients.kvs)
        leads = self._candidate.leads
        if leads:
            alone = all(kv.value.decode() == self._name for kv in page.kvs)
        else:
            alone = kept.alone and (not self._other_leads or self._was_left_behind(leader))
        alone = alone and not others
        self._remembered.keep(Kept(alone, others, page.revision, self._term()))
        if leads and self.active:
            await self._tell_of_serving_alone()
            if not self._recorded:
                await self._record(ended=False)
                self._recorded = True
        stands = any(kv.value.decode() == self._name for kv in page.kvs)
        if self._candidate.refused and not stands:
            raise NoSpace("the store is full: it elects nobody")

    def _was_left_behind(self, candidate: str) -> bool:
        """Whether it is of a process of this client that died: its lease ends a little later.

        One directory has one process. What has this client's name for longer is on another host.
        """
        own = candidate.rsplit(":", 2)[0] == self._settings.identity
        return own and time.monotonic() - self._began < LEFT_BEHIND_S

    def _others(self, candidates: tuple[KV, ...], clients: tuple[KV, ...]) -> dict[str, str]:
        """The other clients that live, and where: candidates, and those that tell."""
        known = self._remembered.kept.others
        names = [kv.value.decode().rsplit(":", 2)[0] for kv in candidates]
        since = self._store_since
        settled = since is not None and time.monotonic() - since > SETTLED_S
        found = {name: known.get(name, "") for name in (*names, *(() if settled else known))}
        for kv in clients:
            found.setdefault(kv.key.rpartition("/")[2], "")
            with contextlib.suppress(records.DamagedRecord):
                client = records.decode(kv, RegionClient)
                found[client.identity] = client.api_url
        found.pop(self._settings.identity, None)
        return found

    def _term(self) -> int:
        """Grows with each client that becomes active: elections are ordered by their revisions."""
        leadership = self._candidate.leadership if self.active else None
        fence = leadership.fence if leadership else ()
        won = [each.operand for each in fence if isinstance(each.operand, int)]
        return max([self._remembered.kept.term, *won])

    def _hear_operator(self) -> None:
        word = self._remembered.serve_alone()
        said_off = frozenset(word.off) if word else frozenset()
        if said_off - self._said_off and word:
            self._log.warning(
                "an operator says that the other clients are off", by=word.by, off=list(word.off)
            )
        self._said_off = said_off

    async def _tell_of_serving_alone(self) -> None:
        """Hand in that an operator had this client serve alone: the store is back."""
        word = self._remembered.serve_alone()
        if word is None:
            return
        event = told(
            "region.serve_alone",
            f"region/{self._settings.idc}",
            Actor(name=f"region:{self._settings.idc}"),
            word.at,
            after={"identity": self._settings.identity, "off": list(word.off)},
            reason=f"said by {word.by} on the host of {self._settings.identity}",
        )
        await self._fenced.txn([], [event])
        self._remembered.forget_serve_alone()

    async def _serve_while_active(self, serve: Serve) -> None:
        try:
            while True:
                self._changed.clear()
                if self._serving and self._serving.done():
                    self._serving.result()
                if self._serving and not self.active:
                    self._log.warning("was stopped for too long; begins again as a standby")
                    await self._stop()
                found = await self._found_ground()
                if found:
                    self._extend(found)
                    if self._serving is None:
                        self._begin(serve, found)
                elif self._serving is not None:
                    await self._stop()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TURN_S):
                        await self._changed.wait()
        finally:
            await self._stop()

    def _begin(self, serve: Serve, found: Ground) -> None:
        self.since = self._clock()
        self._recorded = False
        kept = self._remembered.kept
        term = self._term() if found is Ground.LEASE else kept.term + 1
        self._remembered.keep(Kept(kept.alone, kept.others, kept.revision, term))
        with contextlib.suppress(OSError):  # it is over in any case
            self._remembered.forget_promise()
        self._log.info("active: answers machines", by=found.value)
        self._serving = asyncio.create_task(serve(), name="serving machines")

    async def _stop(self) -> None:
        """Answer nothing any more, from this moment on; then end what serves."""
        serving = self._serving
        if serving is None:
            return
        self._until = float("-inf")
        self._fenced.alone = False
        self.since = self._clock()
        self._log.warning("stands by: answers no machine")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        self._serving = None

    async def _found_ground(self) -> Ground | None:
        """On what to serve now; whoever does not serve yet asks first whether another does."""
        if self._pairing.promised_s > 0 and self._candidate.leadership:
            self._log.info("elected while another client serves by promise: gives way")
            await self._candidate.give_way()
        found = ground(self._view())
        if self._serving or found is None:
            return found
        if self._candidate.leads:
            if not await self._learn_predecessor():
                return None
            await self._look_once()  # that it is alone is known from its first moment on
        if await self._predecessor_answers():
            if self._candidate.leadership:
                self._log.warning(
                    "elected, but the client before still answers machines: stands by"
                )
                await self._candidate.give_way()
            return None
        return ground(self._view())

    def _view(self) -> View:
        kept = self._remembered.kept
        all_off = bool(self._said_off) and self._said_off.issuperset(kept.others)
        return View(
            leads=self._candidate.leads,
            serving=self._serving is not None,
            store_answers=self._store_answers,
            alone=kept.alone or all_off,
            other_leads=self._other_leads,
            holds=not all_off and time.monotonic() < self._holds_until() - MARGIN_S,
            promised=self._pairing.promised_s > 0,
        )

    def _holds_until(self) -> float:
        return self._pairing.holds_until(self._said_off)

    def _situation(self) -> Situation:
        """What it is as another client has to know it."""
        serving = self.active or self._serving is not None
        kept = self._remembered.kept
        return Situation(
            serving=serving,
            leads=self._candidate.leadership is not None,
            sees_store_since=self._store_since,
            claims=not serving and self._wants_promises(),
            term=kept.term,
            members=(self._settings.identity, *kept.others),
            revision=kept.revision,
        )

    def _wants_promises(self) -> bool:
        """Whether it would serve, or go on, with the promises of the others."""
        if not self._remembered.kept.others or self._pairing.promised_s > 0:
            return False
        if self._serving:
            return not self._store_answers or self._candidate.left_s < ASKS_BELOW * self._ttl_s
        return not self._store_answers and not self._candidate.leadership

    def _withdraw(self) -> None:
        self._candidate.withdraw()
        self._changed.set()

    def _extend(self, found: Ground) -> None:
        """Put off the end of the right to answer, and open the way to the store with it."""
        leadership = self._candidate.leadership if found is Ground.LEASE else None
        self._fenced.leadership, self._fenced.alone = leadership, leadership is None
        if found is Ground.ALONE:
            self._until = time.monotonic() + self._ttl_s
        else:
            self._until = max(_deadline(leadership), self._held_until())
        if self._ground is not found and self._serving:
            self._log.info("goes on answering machines", by=found.value)
        self._ground = found

    def _held_until(self) -> float:
        """The end of the promises; it counts where the others are all there to give one."""
        until = self._holds_until()
        return until if until < float("inf") else float("-inf")

    async def _learn_predecessor(self) -> bool:
        """Read who was active last; False: the store did not say, so nobody can be asked."""
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
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
        places = [(last.address, last.port)] if last is not None and not last.ended else []
        places += [_place(url) for url in self._remembered.kept.others.values() if url]
        if not self._store_answers and self._settings.service_address:
            places.append((self._settings.service_address, self._port))
        asked = dict.fromkeys(places)
        asked.pop((self._settings.address, self._port), None)
        return any(await asyncio.gather(*[self._answers(*place) for place in asked]))

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
        if self._candidate.leadership is None:
            return
        with contextlib.suppress(StoreError, OSError, TimeoutError):
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._record(ended=True)
        await self._candidate.give_way()


async def serves(address: str, port: int) -> bool:
    """Whether the client at `address` answers machines."""
    try:
        async with asyncio.timeout(PREDECESSOR_TIMEOUT_S):
            await probe_http(address, port, PREDECESSOR_PATH)
    except (ProbeFailed, TimeoutError):
        return False
    return True


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _deadline(leadership: Leadership | None) -> float:
    return leadership.deadline if leadership else float("-inf")
