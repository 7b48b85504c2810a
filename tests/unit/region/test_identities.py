"""Nonces and identities: whom they are good for, how long, and what is left after a restart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.region.identities import (
    BOUND_LIFE_S,
    IDENTITY_LIFE_S,
    NONCE_LIFE_S,
    AgentRefused,
    Identities,
)
from lpmos.region.signing import Signer, Signers
from lpmos.region.taken import ledger
from lpmos.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore

MAC, OTHER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02"
ADDRESS, OTHER_ADDRESS = "192.0.2.7", "192.0.2.8"
RUN = AgentRun(mac=MAC, agent_id="a" * 32)
OTHER_RUN = AgentRun(mac=MAC, agent_id="b" * 32)


class Site:
    """One store, and clients of a region that come and go."""

    def __init__(self, directory: Path, store: SqliteStore) -> None:
        self._directory = directory
        self.store = FaultyStore(store)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.under_way: set[str] = set()

    def clock(self) -> datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @asynccontextmanager
    async def client(self, name: str = "a") -> AsyncIterator[Identities]:
        """A client on its own disk, which knows nothing of the store but what it asks."""
        state_dir = self._directory / name
        state_dir.mkdir(exist_ok=True)
        signer = Signer.load(self._directory / "agent.key", name)
        async with ledger(
            self.store,
            lambda _: None,
            lambda: not self.store.away,
            self.clock,
            idc="dc1",
            state_dir=state_dir,
        ) as taken:
            signers = Signers(signer, lambda _: None, idc="dc1")
            yield Identities(signer, signers, taken, self.clock, self.under_way.__contains__)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = await SqliteStore.open(tmp_path / "store.db")
    try:
        yield Site(tmp_path, store)
    finally:
        await store.close()


def reason(refused: pytest.ExceptionInfo[AgentRefused]) -> str:
    assert refused.value.hint
    return refused.value.reason


async def test_nonce_gives_one_run_its_identity_and_repeated_the_same(site: Site) -> None:
    async with site.client() as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        first = await identities.exchange(nonce, RUN, ADDRESS)
        site.later(NONCE_LIFE_S + 1)
        again = await identities.exchange(nonce, RUN, ADDRESS)
        assert identities.token(first) == identities.token(again)
        assert first.run == RUN
        with pytest.raises(AgentRefused) as refused:
            await identities.exchange(nonce, OTHER_RUN, ADDRESS)
        assert reason(refused) == "nonce used"
        assert identities.nonce(MAC, ADDRESS) != identities.nonce(MAC, ADDRESS)


@pytest.mark.parametrize(
    ("run", "address", "why"),
    [
        (AgentRun(mac=OTHER_MAC, agent_id=RUN.agent_id), ADDRESS, "other MAC"),
        (RUN, OTHER_ADDRESS, "other address"),
    ],
)
async def test_nonce_of_another_place_is_refused_and_not_spent(
    site: Site, run: AgentRun, address: str, why: str
) -> None:
    async with site.client() as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        with pytest.raises(AgentRefused) as refused:
            await identities.exchange(nonce, run, address)
        assert reason(refused) == why
        assert MAC in str(refused.value) and "boot" in str(refused.value)  # for the console
        await identities.exchange(nonce, RUN, ADDRESS)


@pytest.mark.parametrize("seconds", [NONCE_LIFE_S + 1, -NONCE_LIFE_S - 1])
async def test_nonce_of_another_time_is_refused(site: Site, seconds: int) -> None:
    async with site.client() as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        site.later(seconds)
        with pytest.raises(AgentRefused) as refused:
            await identities.exchange(nonce, RUN, ADDRESS)
        assert reason(refused) == "nonce expired"


@pytest.mark.parametrize("away", [False, True])
async def test_nonce_is_used_once_over_a_restart(site: Site, away: bool) -> None:
    site.store.away = away
    async with site.client() as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        await identities.exchange(nonce, RUN, ADDRESS)
    async with site.client() as identities:
        with pytest.raises(AgentRefused) as refused:
            await identities.exchange(nonce, OTHER_RUN, ADDRESS)
        assert reason(refused) == "nonce used"
        await identities.exchange(nonce, RUN, ADDRESS)


async def test_nonce_is_used_once_over_a_failover(site: Site) -> None:
    async with site.client("a") as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        await identities.exchange(nonce, RUN, ADDRESS)
    async with site.client("b") as identities:
        with pytest.raises(AgentRefused) as refused:
            await identities.exchange(nonce, OTHER_RUN, ADDRESS)
        assert reason(refused) == "nonce used"


async def test_identity_is_good_from_its_address_until_it_ends(site: Site) -> None:
    async with site.client() as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        token = identities.token(await identities.exchange(nonce, RUN, ADDRESS))
        identity = identities.identity_of(token, ADDRESS)
        assert identity.run == RUN
        with pytest.raises(AgentRefused) as refused:
            identities.identity_of(token, OTHER_ADDRESS)
        assert reason(refused) == "other address"
        assert not identities.is_due(identity)
        site.later(IDENTITY_LIFE_S / 2 + 1)
        assert identities.is_due(identity)
        renewed = identities.token(identities.renewed(identity))
        site.later(IDENTITY_LIFE_S / 2)
        with pytest.raises(AgentRefused) as refused:
            identities.identity_of(token, ADDRESS)
        assert reason(refused) == "expired"
        assert identities.identity_of(renewed, ADDRESS).session == identity.session


@pytest.mark.parametrize("what", ["", "x", "nonce", "damaged"])
async def test_identity_that_is_none_is_refused(site: Site, what: str) -> None:
    async with site.client() as identities:
        nonce = identities.nonce(MAC, ADDRESS)
        token = identities.token(await identities.exchange(nonce, RUN, ADDRESS))
        shown = {"nonce": nonce, "damaged": token[:-1]}.get(what, what)
        with pytest.raises(AgentRefused) as refused:
            identities.identity_of(shown, ADDRESS)
        assert reason(refused) == "unknown identity"
        with pytest.raises(AgentRefused) as refused:
            await identities.exchange(token, RUN, ADDRESS)
        assert reason(refused) == "unknown nonce"


async def test_identity_is_bound_to_one_task_also_where_an_older_token_is_shown(
    site: Site,
) -> None:
    async with site.client() as identities:
        older = await identities.exchange(identities.nonce(MAC, ADDRESS), RUN, ADDRESS)
        assert identities.task_of(older) is None
        bound = await identities.bound(older, "task-1")
        assert (bound.task_id, identities.task_of(older)) == ("task-1", "task-1")
        assert bound.expires_at == int(site.now.timestamp()) + BOUND_LIFE_S
        await identities.bound(older, "task-1")
        for shown in (older, bound):
            with pytest.raises(AgentRefused) as refused:
                await identities.bound(shown, "task-2")
            assert reason(refused) == "other task"
    async with site.client() as identities:
        assert identities.task_of(older) == "task-1"


@pytest.mark.parametrize("set_s", [3 * BOUND_LIFE_S, -3 * BOUND_LIFE_S])
async def test_identity_of_a_task_under_way_ends_by_no_clock(site: Site, set_s: float) -> None:
    async with site.client() as identities:
        first = await identities.exchange(identities.nonce(MAC, ADDRESS), RUN, ADDRESS)
        bound = identities.token(await identities.bound(first, "task-1"))
        site.under_way.add("task-1")
        site.later(set_s)
        shown = identities.identity_of(bound, ADDRESS)
        assert identities.is_due(shown) is (set_s > 0)
        with pytest.raises(AgentRefused) as refused:
            identities.identity_of(bound, OTHER_ADDRESS)
        assert reason(refused) == "other address"


async def test_identity_of_a_task_that_is_over_ends_by_the_clock(site: Site) -> None:
    async with site.client() as identities:
        first = await identities.exchange(identities.nonce(MAC, ADDRESS), RUN, ADDRESS)
        bound = identities.token(await identities.bound(first, "task-1"))
        site.later(BOUND_LIFE_S - 1)
        assert identities.identity_of(bound, ADDRESS).task_id == "task-1"
        site.later(2)
        with pytest.raises(AgentRefused) as refused:
            identities.identity_of(bound, ADDRESS)
        assert reason(refused) == "expired"
