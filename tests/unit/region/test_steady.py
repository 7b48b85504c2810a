"""When a region keeps a word, when it does not, and what it says of its outbox."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.model.diskplan import GIB
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Status
from lpmos.store import keys
from lpmos.store.api import NoSpace, PermissionDenied, Unavailable
from lpmos.store.fenced import NotActive
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import MAC, actor, make_inventory
from tests.support.newer_version import is_kept, write_as_newer
from tests.support.offline_region import OfflineSite, intent_of, offline_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[OfflineSite]:
    store = await SqliteStore.open(tmp_path / "store.db")
    async with offline_site(store, tmp_path / "state") as site:
        yield site
    await store.close()


async def test_with_the_store_there_nothing_is_kept(site: OfflineSite) -> None:
    done = await site.install(await site.approved())
    assert done.status is Status.COMPLETED
    state = site.region.agents.outbox_state
    assert (state.kept, state.waiting, state.offline_since) == (0, 0, None)


@pytest.mark.parametrize("error", [Unavailable("away"), NoSpace("full")])
async def test_store_that_fails_without_being_known_to_be_away_is_kept_for(
    site: OfflineSite, error: Exception
) -> None:
    task = await site.approved()
    site.link.before_txn = [_raise(error)]
    claimed = await site.region.agents.claim(site.run, task.task_id, None)
    assert claimed.status is Status.INSTALLING
    assert site.region.agents.outbox_state.kept == 1
    await site.heal()
    assert (await site.stored(task)).status is Status.INSTALLING


async def test_client_that_stands_by_keeps_nothing(site: OfflineSite) -> None:
    task = await site.approved()
    site.link.before_txn = [_raise(NotActive("stands by"))]
    with pytest.raises(NotActive):
        await site.region.agents.claim(site.run, task.task_id, None)
    assert site.region.agents.outbox_state.kept == 0


async def test_progress_of_one_step_is_one_word_with_the_lines_of_all(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    agents = site.region.agents
    await agents.claim(site.run, task.task_id, None)
    for number in range(10):
        word = site.at("downloading", 20 + number)
        await agents.progress(site.run, task.task_id, word, [f"[INFO] {number}"])
    assert (agents.outbox_state.waiting, agents.outbox_state.kept) == (2, 11)
    await site.heal()
    lines = [line.rsplit(" ", 1)[1] for line in (await site.stored(task)).logs]
    assert lines[-10:] == [str(number) for number in range(10)]


async def test_lines_with_an_older_word_of_the_step_leave_the_newer_one_with_marks_and_results(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    agents = site.region.agents
    await agents.claim(site.run, task.task_id, None)
    older, newer = site.at("configuring", 90), site.at("configuring", 92)
    done = StepResult(step="burn_in", outcome="passed", seconds=1.0, summary="well")
    await agents.progress(site.run, task.task_id, newer, ["[INFO] one"], [done], marks={"agent": 1})
    await agents.progress(site.run, task.task_id, older, ["[INFO] two"], marks={"installer": 4})
    assert agents.outbox_state.waiting == 2
    await site.heal()
    stored = await site.stored(task)
    assert (stored.progress[-1], stored.updated_at) == (newer, newer.timestamp)
    assert [line.rsplit(" ", 1)[1] for line in stored.logs][-2:] == ["one", "two"]
    assert stored.log_marks == {"agent": 1, "installer": 4}
    assert stored.results == (done,)


async def test_words_of_an_unknown_task_offline_are_refused_for_now(site: OfflineSite) -> None:
    await site.cut()
    run = AgentRun(mac=MAC, agent_id="run-9")
    with pytest.raises(Unavailable):
        await site.region.agents.claim(run, "0b0b6f5e-0000-4000-8000-00000000dead", None)
    assert site.region.agents.outbox_state.kept == 0


async def test_state_tells_since_when_and_how_much_and_is_empty_again(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    before = site.now
    await site.install(task)
    state = site.region.agents.outbox_state
    assert state.offline_since is not None
    assert state.oldest_at is not None and state.oldest_at >= before
    assert state.size_bytes > 0
    await site.tasks.cancel(task.task_id, by=actor("boss"))
    await site.heal()
    state = site.region.agents.outbox_state
    assert (state.waiting, state.size_bytes, state.oldest_at) == (0, 0, None)
    assert (state.handed_in, state.refused) == (5, 5)


async def test_claim_of_a_task_that_ended_is_noted_beside_what_a_newer_version_wrote(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.region.agents.claim(site.run, task.task_id, intent_of(task))
    await site.tasks.cancel(task.task_id, by=actor("boss"))
    await write_as_newer(site.store, keys.task(task.idc, task.sn))
    await site.heal()
    noted = await site.stored(task)
    assert noted.intent and noted.intent.claimed_by == site.run.agent_id
    assert await is_kept(site.store, keys.task(task.idc, task.sn))


async def test_store_that_refuses_words_keeps_them_and_the_region_goes_on(
    site: OfflineSite,
) -> None:
    """The store's user may lack the right to the marks: that is mended while the region runs."""
    task = await site.approved()
    await site.cut()
    await site.install(task)
    site.link.before_txn = [_raise(PermissionDenied("may not write the marks"))]
    await site.heal()
    assert (await site.stored(task)).status is Status.COMPLETED


def _raise(error: Exception) -> Callable[[], Awaitable[object]]:
    async def fail() -> object:
        raise error

    return fail


async def test_report_that_is_handed_in_later_asks_for_the_sectors_of_the_image(
    site: OfflineSite,
) -> None:
    task = await site.create()
    await site.cut()
    await site.region.agents.report(
        site.run, "SN-1", make_inventory(), GIB, whole_image=True, sector_bytes=4096
    )
    await site.heal()
    after = await site.stored(task)
    assert after.status is Status.FAILED
    assert after.error is not None and "has sectors of 512 bytes" in after.error.reason
