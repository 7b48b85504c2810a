"""The hand-over to an installer without the store: one boot script, also over a restart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lpmos.core.handover import InstallerGiven
from lpmos.model.bootplan import BootAgent, BootInstaller
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.store.fenced import NotActive
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import MAC
from tests.support.offline_region import OfflineSite, offline_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[OfflineSite]:
    store = await SqliteStore.open(tmp_path / "store.db")
    async with offline_site(store, tmp_path / "state") as site:
        yield site
    await store.close()


async def handed_over(site: OfflineSite, task: Task) -> None:
    agents = site.region.agents
    await agents.claim(site.run, task.task_id, None)
    await agents.installer_begins(site.run, task.task_id, "restart")


async def test_script_is_given_once_without_the_store_and_told_when_it_is_back(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await handed_over(site, task)
    plan, known = await site.region.agents.boot(MAC, None)
    assert isinstance(plan, BootInstaller) and known is not None
    await site.region.agents.installer_given(MAC, known)
    with pytest.raises(InstallerGiven):
        await site.region.agents.installer_given(MAC, known)
    assert isinstance((await site.region.agents.boot(MAC, None))[0], BootAgent)
    await site.heal()
    stored = await site.stored(task)
    assert stored.status is Status.INSTALLING
    assert stored.handover is not None and stored.handover.script_at is not None
    assert site.region.agents.outbox_state.refused == 0


async def test_script_that_was_given_without_the_store_is_not_given_after_a_restart_of_the_region(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await handed_over(site, task)
    _, known = await site.region.agents.boot(MAC, None)
    assert known is not None
    await site.region.agents.installer_given(MAC, known)
    await site.restart_region()
    assert isinstance((await site.region.agents.boot(MAC, None))[0], BootAgent)


async def test_script_is_not_given_where_the_word_of_it_cannot_be_kept(site: OfflineSite) -> None:
    task = await site.approved()
    await handed_over(site, task)
    await site.synced()
    site.link.before_txn = [_stands_by]
    _, known = await site.region.agents.boot(MAC, None)
    assert known is not None
    with pytest.raises(NotActive):
        await site.region.agents.installer_given(MAC, known)
    stored = await site.stored(task)
    assert stored.handover is not None and stored.handover.script_waits


async def _stands_by() -> None:
    raise NotActive("stands by")
