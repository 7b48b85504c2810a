"""A hand-over and the installed system's word while the store is away, and what becomes of them."""

import hashlib

import pytest

from lpmos.core.firstboot import NotHandedOver, WrongToken
from lpmos.model.bootplan import BootLocalDisk
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.task import Task, TaskError
from lpmos.store import keys, records
from tests.support.builders import MAC, actor
from tests.support.offline_region import OfflineSite, intent_of

TOKEN = hashlib.sha256(b"the token of the disk").hexdigest()


async def hand_over(site: OfflineSite, task: Task) -> Task:
    agents = site.region.agents
    await agents.claim(site.run, task.task_id, intent_of(task))
    await agents.progress(site.run, task.task_id, site.at("configuring", 95))
    return await agents.handed_over(site.run, task.task_id, TOKEN)


async def installed_by(site: OfflineSite, task: Task) -> str | None:
    kv = await site.store.get(keys.meta(task.idc, task.sn))
    assert kv is not None
    installed = records.decode(kv, Machine).installed
    return installed.task_id if installed else None


@pytest.mark.parametrize("restarts", [False, True])
async def test_first_boot_offline_completes_and_is_handed_in_as_it_was(
    site: OfflineSite, restarts: bool
) -> None:
    task = await site.approved()
    await site.cut()

    written = await hand_over(site, task)
    if restarts:
        await site.restart_region()
    plan, _ = await site.region.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk)
    with pytest.raises(WrongToken):
        await site.region.agents.came_up(MAC, task.task_id, "f" * 64)
    done = await site.region.agents.came_up(MAC, task.task_id, TOKEN)
    assert done.status is Status.COMPLETED
    assert (await site.region.agents.came_up(MAC, task.task_id, TOKEN)) == done

    await site.heal()
    stored = await site.stored(task)
    assert stored.status is Status.COMPLETED
    assert stored.handed_over_at == written.handed_over_at
    assert stored.progress == done.progress
    assert await installed_by(site, task) == task.task_id
    assert site.region.agents.outbox_state.refused == 0


async def test_words_handed_in_before_the_region_hears_of_them_are_none_of_them_refused(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await hand_over(site, task)
    await site.region.agents.came_up(MAC, task.task_id, TOKEN)

    site.link.late_s = 0.5
    await site.heal()
    assert (await site.stored(task)).status is Status.COMPLETED
    assert site.region.agents.outbox_state.refused == 0


async def test_word_offline_after_a_hand_over_that_the_store_has_is_kept(site: OfflineSite) -> None:
    task = await site.approved()
    await hand_over(site, task)
    await site.synced()
    await site.cut()

    await site.region.agents.came_up(MAC, task.task_id, TOKEN)
    await site.heal()

    assert (await site.stored(task)).status is Status.COMPLETED


async def test_word_offline_before_the_hand_over_is_to_be_repeated(site: OfflineSite) -> None:
    task = await site.approved()
    await site.region.agents.claim(site.run, task.task_id, intent_of(task))
    await site.synced()
    await site.cut()
    with pytest.raises(NotHandedOver):
        await site.region.agents.came_up(MAC, task.task_id, TOKEN)


async def test_what_was_cancelled_meanwhile_stays_so_and_the_words_are_told(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.region.agents.claim(site.run, task.task_id, intent_of(task))
    await site.synced()
    await site.cut()

    await site.region.agents.handed_over(site.run, task.task_id, TOKEN)
    await site.region.agents.came_up(MAC, task.task_id, TOKEN)
    await site.tasks.cancel(task.task_id, by=actor("boss"))
    await site.heal()

    assert (await site.stored(task)).status is Status.CANCELLED
    assert await installed_by(site, task) is None
    refused = await site.told("outbox.refused")
    assert {event.after["word"] for event in refused if event.after} == {"handed-over", "came-up"}
    assert TOKEN not in repr(refused)


async def test_word_offline_of_a_task_that_failed_meanwhile_is_noted(site: OfflineSite) -> None:
    task = await site.approved()
    await hand_over(site, task)
    await site.synced()
    await site.cut()

    await site.region.agents.came_up(MAC, task.task_id, TOKEN)
    too_late = TaskError(reason="the installed system did not come up")
    await site.next_client.failed(site.run, task.task_id, too_late)
    await site.heal()

    stored = await site.stored(task)
    assert (stored.status, stored.error) == (Status.FAILED, too_late)
    assert await installed_by(site, task) == task.task_id
    assert site.region.agents.outbox_state.refused == 0
