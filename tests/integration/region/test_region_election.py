"""One client's part in the election, in this process: when it serves, and what it remembers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lpmos.core.clock import utc_now
from lpmos.model.audit import AuditEvent
from lpmos.model.promises import GRACE_S, PROMISE_S, Answer, Ask
from lpmos.model.region import LastActive, RegionClient
from lpmos.model.standing import Ground, Standing
from lpmos.region.peer_calls import NoAnswer
from lpmos.region.remembered import Kept, Promised, Remembered, ServeAlone
from lpmos.region.settings import RegionSettings
from lpmos.region.standby import Standby
from lpmos.store import keys, records
from lpmos.store.api import KV, Page, Unavailable
from lpmos.store.election import ELECTIONS
from lpmos.store.fenced import FencedStore, NotActive
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import NOW
from tests.support.faulty_store import FaultyStore
from tests.support.region import until

TTL_S = 3
PORT = 8081
ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2"}


class HalfStore(FaultyStore):
    """A store of which some reads can fail while it elects."""

    range_away = False
    get_away = False

    async def range(
        self, prefix: str, *, limit: int = 0, revision: int = 0, keys_only: bool = False
    ) -> Page:
        if self.range_away:
            raise Unavailable("no range")
        return await super().range(prefix, limit=limit, revision=revision, keys_only=keys_only)

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        if self.get_away:
            raise Unavailable("no get")
        return await super().get(key, revision=revision)


class Member:
    """A client over a store that a test can take away, with what it serves."""

    def __init__(self, name: str, store: SqliteStore, directory: Path) -> None:
        self.name = name
        self.store = HalfStore(store)
        self.fenced = FencedStore(self.store)
        self.others_answer = False
        self.asked: list[str] = []
        self.asks: list[Ask] = []
        self.promised = False
        self.neighbours: dict[str, Member] = {}
        self.serving = False
        self.served = 0
        self.ahead = timedelta()
        """By how much its clock is wrong."""
        state_dir = directory / name
        state_dir.mkdir(exist_ok=True)
        self.file = state_dir / "standing.json"
        settings = RegionSettings(
            idc="dc1",
            address=ADDRESSES[name],
            state_dir=state_dir,
            identity=name,
            version="0.1.0",
            service_address="192.0.2.10",
            service_interface="e0",
        )
        self.standby = Standby(
            settings, self.store, self.fenced, self._clock, ttl_s=TTL_S, answers=self._answers
        )

    @property
    def remembers_itself_alone(self) -> bool:
        return self.file.exists() and b'"alone":true' in self.file.read_bytes()

    def _clock(self) -> datetime:
        return utc_now() + self.ahead

    async def _answers(self, address: str, port: int) -> bool:
        self.asked.append(address)
        return self.others_answer

    async def ask(self, url: str, ask: Ask) -> Answer:
        """The way to another client, which a test can join by `neighbours`."""
        self.asks.append(ask)
        neighbour = self.neighbours.get(ask.to)
        if neighbour is None:
            raise NoAnswer("no way there")
        answer = await neighbour.standby.answer(ask)
        self.promised = answer.refusal is None
        return answer

    async def serve(self) -> None:
        self.serving = True
        self.served += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.serving = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.standby.run(self.serve, PORT, self))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def loses_its_lease(self) -> None:
        assert self.fenced.leadership
        await self.fenced.leadership.resign()

    async def recorded(self) -> None:
        """Wait until the store names it as the active client."""

        async def named() -> bool:
            kv = await self.store.get(keys.region_active("dc1"))
            return kv is not None and records.decode(kv, LastActive).identity == self.name

        await until(named, f"{self.name} to be recorded")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    yield opened
    await opened.close()


async def test_second_stands_by_and_follows_at_once_when_the_first_ends(
    store: SqliteStore, tmp_path: Path
) -> None:
    a, b = Member("a", store, tmp_path), Member("b", store, tmp_path)
    async with b.running():
        await until(lambda: b.serving, "b to serve")
        async with a.running():
            await b.recorded()
            assert not a.standby.active
            with pytest.raises(NotActive):
                await a.fenced.put("/x", b"")
            await b.fenced.put("/x", b"")
        assert not a.served
    assert not b.serving
    async with a.running():
        await until(lambda: a.serving, "a to serve")


async def test_first_that_ended_in_order_is_not_asked(store: SqliteStore, tmp_path: Path) -> None:
    a, b = Member("a", store, tmp_path), Member("b", store, tmp_path)
    b.others_answer = True
    async with a.running():
        await until(lambda: a.serving, "a to serve")
        await a.recorded()
    async with b.running():
        await until(lambda: b.serving, "b to serve")
    assert not b.asked


async def test_elected_while_the_one_before_answers_stands_by_until_it_does_not(
    store: SqliteStore, tmp_path: Path
) -> None:
    before = LastActive(identity="a", address=ADDRESSES["a"], port=PORT, since=NOW)
    await store.put(keys.region_active("dc1"), records.encode(before))
    b = Member("b", store, tmp_path)
    b.others_answer = True
    async with b.running():
        await until(lambda: bool(b.asked), "a to be asked")
        assert set(b.asked) == {ADDRESSES["a"]}
        assert not b.serving
        with pytest.raises(NotActive):
            await b.fenced.put("/x", b"")
        b.others_answer = False
        await until(lambda: b.serving, "b to serve")


async def test_elected_before_its_first_look_asks_the_one_before_all_the_same(
    store: SqliteStore, tmp_path: Path
) -> None:
    before = LastActive(identity="a", address=ADDRESSES["a"], port=PORT, since=NOW)
    await store.put(keys.region_active("dc1"), records.encode(before))
    b = Member("b", store, tmp_path)
    b.others_answer = True
    b.store.range_away = True
    async with b.running():
        await until(lambda: bool(b.asked), "the one before to be asked")
        assert b.asked[0] == ADDRESSES["a"]
        assert not b.served


async def test_elected_by_a_store_that_does_not_say_who_was_before_stands_by(
    store: SqliteStore, tmp_path: Path
) -> None:
    b = Member("b", store, tmp_path)
    b.store.get_away = True
    async with b.running():
        await asyncio.sleep(2)  # it is elected at once
        assert not b.served
        b.store.get_away = False
        await until(lambda: b.serving, "b to serve")


async def test_alone_without_the_store_goes_on_and_after_a_restart_too(
    store: SqliteStore, tmp_path: Path
) -> None:
    a = Member("a", store, tmp_path)
    async with a.running():
        await until(lambda: a.serving, "a to serve")
        await until(lambda: a.remembers_itself_alone, "it to be remembered")
        a.store.away = True
        await a.loses_its_lease()
        await asyncio.sleep(1.5 * TTL_S)  # nothing shall happen for so long
        assert a.serving
        assert a.served == 1
    again = Member("a", store, tmp_path)
    again.store.away = True
    again.others_answer = True
    async with again.running():
        await until(lambda: bool(again.asked), "the service address to be asked")
        assert not again.serving
        again.others_answer = False
        await until(lambda: again.serving, "it to serve")


async def test_alone_restarted_while_the_store_is_full_serves_and_is_elected_when_it_is_not(
    store: SqliteStore, tmp_path: Path
) -> None:
    """A full store answers what is asked, and elects nobody."""
    a = Member("a", store, tmp_path)
    async with a.running():
        await until(lambda: a.remembers_itself_alone, "it to be remembered")
    again = Member("a", store, tmp_path)
    again.store.full = True
    async with again.running():
        await until(lambda: again.standby.state.by is Ground.ALONE, "it to serve alone")
        again.store.full = False
        await until(lambda: again.standby.state.by is Ground.LEASE, "it to be elected")
        assert again.served == 1


async def test_alone_that_died_while_the_store_is_full_serves_before_its_lease_has_ended(
    store: SqliteStore, tmp_path: Path
) -> None:
    a = Member("a", store, tmp_path)
    async with a.running():
        await until(lambda: a.remembers_itself_alone, "it to be remembered")
    lease = await store.grant(TTL_S)
    await store.put(f"{ELECTIONS}region-dc1/{lease.id:016x}", b"a:1:dead", lease=lease.id)
    again = Member("a", store, tmp_path)
    again.store.full = True
    async with again.running():
        await until(lambda: again.standby.state.by is Ground.ALONE, "it to serve alone")
        assert again.remembers_itself_alone
    await lease.revoke()


async def test_alone_that_loses_the_store_as_it_begins_goes_on(
    store: SqliteStore, tmp_path: Path
) -> None:
    a = Member("a", store, tmp_path)
    known: list[bool] = []

    async def serve() -> None:
        known.append(a.remembers_itself_alone)
        a.store.away = True
        await a.loses_its_lease()
        await a.serve()

    task = asyncio.create_task(a.standby.run(serve, PORT, a))
    try:
        await until(lambda: a.served == 1, "a to serve")
        await until(lambda: a.standby.state.by is Ground.ALONE, "a to go on alone")
        assert known == [True] and a.served == 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_with_a_standby_and_without_the_store_stands_down(
    store: SqliteStore, tmp_path: Path
) -> None:
    a, b = Member("a", store, tmp_path), Member("b", store, tmp_path)
    async with a.running():
        await until(lambda: a.serving, "a to serve")
        await until(lambda: a.remembers_itself_alone, "it to be remembered")
        async with b.running():
            await until(lambda: not a.remembers_itself_alone, "a to know of b")
            a.store.away = True
            await a.loses_its_lease()
            await until(lambda: b.serving, "b to serve")
            assert not a.serving
            assert not a.standby.active


async def pair_of(store: SqliteStore, directory: Path) -> tuple[Member, Member]:
    """Two that know of each other from the store, and reach each other."""
    a, b = Member("a", store, directory), Member("b", store, directory)
    for one, other in ((a, b), (b, a)):
        one.neighbours[other.name] = other
        client = RegionClient(
            idc="dc1",
            identity=one.name,
            standing=Standing.STANDBY,
            since=NOW,
            at=NOW,
            address=ADDRESSES[one.name],
            api_url=f"http://{ADDRESSES[one.name]}:{PORT}",
            version="0.1.0",
        )
        await store.put(keys.region_client("dc1", one.name), records.encode(client))
    return a, b


async def both_know_of_each_other(a: Member, b: Member) -> None:
    def known() -> bool:
        files = [each.file for each in (a, b) if each.file.exists()]
        return len(files) == 2 and all(b"http://" in file.read_bytes() for file in files)

    await until(known, "both to know of each other")


async def test_store_away_and_clocks_that_jump_the_active_goes_on_by_promise_and_is_elected_again(
    store: SqliteStore, tmp_path: Path
) -> None:
    a, b = await pair_of(store, tmp_path)
    async with a.running():
        await until(lambda: a.serving, "a to serve")
        async with b.running():
            await both_know_of_each_other(a, b)
            a.ahead, b.ahead = timedelta(hours=-2), timedelta(hours=2)
            a.store.away = b.store.away = True
            await until(lambda: a.promised, "b to promise")
            assert b.standby.state.promised_s > PROMISE_S
            await a.loses_its_lease()
            a.ahead, b.ahead = timedelta(hours=2), timedelta(hours=-2)
            await until(lambda: a.standby.state.by is Ground.PROMISE, "a to go on by promise")
            with pytest.raises(Unavailable):
                await a.fenced.put("/x", b"")
            a.store.away = b.store.away = False
            await until(lambda: a.standby.state.by is Ground.LEASE, "a to be elected again")
            await a.fenced.put("/x", b"")
    assert (a.served, b.served) == (1, 0)


async def test_elected_while_it_has_promised_gives_way(store: SqliteStore, tmp_path: Path) -> None:
    a, b = await pair_of(store, tmp_path)
    Remembered(b.file.parent).promise("a", time.monotonic() + 30)
    b = Member("b", store, tmp_path)
    a.neighbours["b"] = b
    async with b.running():
        assert b.standby.state.promised_s > 3
        await asyncio.sleep(2)  # it would be elected at once
        assert not b.served
        async with a.running():
            await until(lambda: a.serving, "a to serve")
    assert not b.served


async def test_promise_of_before_a_restart_of_the_machine_binds_anew(
    store: SqliteStore, tmp_path: Path
) -> None:
    b = Member("b", store, tmp_path)
    marker = Promised(to="a", boot_id="another boot", until=1e9)
    (b.file.parent / "promised.json").write_bytes(msgspec.json.encode(marker))
    again = Member("b", store, tmp_path)
    assert PROMISE_S < again.standby.state.promised_s <= PROMISE_S + GRACE_S


async def test_one_whose_address_is_not_known_is_not_asked_and_nobody_serves(
    store: SqliteStore, tmp_path: Path
) -> None:
    a, b = await pair_of(store, tmp_path)
    a.neighbours.clear()
    async with a.running():
        await until(lambda: a.serving, "a to serve")
        async with b.running():
            await both_know_of_each_other(a, b)
            a.store.away = b.store.away = True
            await until(lambda: bool(a.asks), "a to ask")
            await a.loses_its_lease()
            await until(lambda: not a.serving, "a to stop")
            assert not a.standby.active


async def test_operator_says_that_the_other_is_off_and_it_serves_until_the_store_is_back(
    store: SqliteStore, tmp_path: Path
) -> None:
    kept = Kept(others={"a": "http://192.0.2.1:8081"}, revision=1)
    b = Member("b", store, tmp_path)
    Remembered(b.file.parent).keep(kept)
    b = Member("b", store, tmp_path)
    b.store.away = True
    async with b.running():
        await until(lambda: bool(b.asks), "a to be asked")
        assert not b.serving
        Remembered(b.file.parent).say_serve_alone(ServeAlone("root", NOW, ("a",)))
        await until(lambda: b.serving, "b to serve")
        assert b.standby.state.by is Ground.ALONE
        b.store.away = False
        await until(lambda: b.standby.state.by is Ground.LEASE, "b to be elected")

        async def audited() -> bool:
            page = await store.range(keys.EVENTS)
            actions = [records.decode(kv, AuditEvent).action for kv in page.kvs]
            return actions == ["region.serve_alone"]

        await until(audited, "it to be handed in")
        assert b.served == 1
    assert not (b.file.parent / "serve-alone.json").exists()
