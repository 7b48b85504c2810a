"""A region goes on without its store, and the store hears all of it afterwards, each word once."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.model.bootplan import BootAgent, BootLocalDisk
from lpmos.model.diskplan import GIB
from lpmos.model.errors import ForeignClaim, ForeignMachine
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.retry import is_transient
from lpmos.model.task import Task, TaskError
from lpmos.model.waiting import MACHINE_RESTARTED
from lpmos.store import keys
from lpmos.store.api import Unavailable
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.offline_region import OfflineSite, intent_of, poll, until

OTHER_RUN = AgentRun(mac=MAC, agent_id="run-2")
STRANGER = AgentRun(mac="52:54:00:00:00:99", agent_id="run-3")
WHOLE_WAY = [
    Status.PENDING,
    Status.READY,
    Status.PENDING_APPROVAL,
    Status.APPROVED,
    Status.INSTALLING,
    Status.COMPLETED,
]


def words(task: Task) -> list[str]:
    return [line.split(" ", 1)[1] for line in task.logs]


async def test_approved_install_completes_offline_and_is_handed_in_as_it_was(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    done = await site.install(task, "[INFO] a line")
    assert done.status is Status.COMPLETED
    state = site.region.agents.outbox_state
    assert (state.waiting, state.offline_since is not None) == (5, True)
    assert (await site.stored(task)).status is Status.APPROVED
    said = [change.timestamp for change in done.status_history]
    await site.heal()
    stored = await site.stored(task)
    assert [change.status for change in stored.status_history] == WHOLE_WAY
    assert [change.timestamp for change in stored.status_history] == said
    assert words(stored).count("[INFO] a line") == 3
    kv = await site.store.get(keys.meta(site.idc, "SN-1"))
    assert kv is not None and b'"generation":1' in kv.value
    assert site.region.agents.outbox_state.offline_since is None
    assert await site.told("outbox.refused") == []


async def test_install_completes_while_the_store_is_full_and_is_handed_in_when_it_is_not(
    site: OfflineSite,
) -> None:
    """It answers whatever is asked, so the region counts as connected."""
    task = await site.approved()
    site.link.full = True
    done = await site.install(task)
    assert done.status is Status.COMPLETED
    assert site.region.agents.outbox_state.waiting == 5
    await site.synced()
    assert (await site.stored(task)).status is Status.APPROVED
    site.link.full = False
    await site.heal()
    assert [change.status for change in (await site.stored(task)).status_history] == WHOLE_WAY


async def test_install_over_a_restart_of_the_region_at_every_step(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    intent = intent_of(task)
    await site.region.agents.claim(site.run, task.task_id, intent)
    for step, percent in (("downloading", 40), ("installing", 80), ("configuring", 100)):
        await site.restart_region()
        with pytest.raises(ForeignClaim):
            await site.region.agents.claim(OTHER_RUN, task.task_id, intent)
        word = site.at(step, percent)
        after = await site.region.agents.progress(site.run, task.task_id, word, ["[INFO] x"])
    assert after.status is Status.COMPLETED
    await site.restart_region()
    plan, _ = await site.region.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk)
    await site.heal()
    stored = await site.stored(task)
    assert [change.status for change in stored.status_history] == WHOLE_WAY
    assert words(stored).count("[INFO] x") == 3


async def test_hand_in_killed_after_each_of_its_writes_applies_nothing_twice(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.install(task, "[INFO] once")

    async def cut_again() -> None:
        site.link.away = True

    for _ in range(20):
        site.link.after_lost_answer = [cut_again]
        site.link.lose_answers = 1  # the word is stored, and the region never hears of it
        site.link.away = False
        await until(lambda: site.link.away or not site.region.agents.outbox_state.waiting)
        await site.stop_region()
        site.link.lose_answers, site.link.after_lost_answer = 0, []
        await site.start_region()
        if not site.region.agents.outbox_state.waiting:
            break
    await site.heal()
    stored = await site.stored(task)
    assert [change.status for change in stored.status_history] == WHOLE_WAY
    assert words(stored).count("[INFO] once") == 3


async def test_report_of_before_an_install_that_another_client_let_begin_does_not_end_it(
    site: OfflineSite,
) -> None:
    """What a client kept before it stood down is handed in late, beside who took over."""
    task = await site.approved()
    await site.cut()
    await site.report()
    await site.next_client.report(OTHER_RUN, "SN-1", make_inventory(), GIB)
    claimed = await site.next_client.claim(OTHER_RUN, task.task_id, None)
    await site.heal()
    assert site.region.agents.outbox_state.handed_in == 1
    assert await site.stored(task) == claimed


async def test_words_of_a_client_that_stands_by_since_are_handed_in_all_the_same(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.install(task)
    site.stands_by = True
    await site.restart_region()
    await site.heal()
    stored = await site.stored(task)
    assert [change.status for change in stored.status_history] == WHOLE_WAY
    assert site.region.agents.outbox_state.refused == 0


async def test_hundred_same_reports_offline_are_one_word(site: OfflineSite) -> None:
    task = await site.create()
    await site.cut()
    for _ in range(100):
        assert (await site.report()).status is Status.PENDING_APPROVAL
    assert site.region.agents.outbox_state.waiting == 1
    await site.heal()
    assert (await site.stored(task)).status is Status.PENDING_APPROVAL


async def test_progress_out_of_order_keeps_the_newest_of_each_step(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    agents = site.region.agents
    await agents.claim(site.run, task.task_id, None)
    early, late = site.at("downloading", 30), site.at("downloading", 50)
    for word in (late, early, late):
        await agents.progress(site.run, task.task_id, word)
    assert agents.outbox_state.waiting == 2
    await site.heal()
    assert [word.percent for word in (await site.stored(task)).progress] == [50]


async def test_failed_install_offline_is_set_aside_afterwards(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    await site.region.agents.claim(site.run, task.task_id, None)
    error = TaskError(reason="mkfs failed")
    for _ in range(3):
        await site.region.agents.failed(site.run, task.task_id, error)
    await site.heal()
    stored = await site.stored(task)
    assert (stored.status, stored.error) == (Status.FAILED, error)
    assert await site.store.get(keys.dead_letter(site.idc, task.task_id)) is not None


async def test_unknown_machine_offline_is_kept_asked_again_and_unmatched_afterwards(
    site: OfflineSite,
) -> None:
    await site.cut()
    for _ in range(3):
        with pytest.raises(Unavailable, match="its report is kept"):
            await site.report(STRANGER, None)
    assert site.region.agents.outbox_state.waiting == 1
    await site.restart_region()
    await site.heal()
    assert [report.mac_address for report in await site.unmatched()] == [STRANGER.mac]


async def test_report_before_its_task_meets_it_at_hand_in(site: OfflineSite) -> None:
    await site.cut()
    with pytest.raises(Unavailable):
        await site.report(STRANGER, None)
    spec = make_spec(idc=site.idc, sn="SN-9", mac=STRANGER.mac)
    task = await site.tasks.create(spec, by=actor("admin"))
    await site.heal()
    assert (await site.stored(task)).status is Status.PENDING_APPROVAL
    assert await site.unmatched() == []


async def test_boot_offline_is_decided_from_memory_also_after_a_restart(
    site: OfflineSite,
) -> None:
    await site.create()
    await site.cut()
    await site.restart_region()
    plan, task = await site.region.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootAgent)
    assert task is not None and task.status is Status.BOOTING
    with pytest.raises(Unavailable):
        await site.region.agents.boot(STRANGER.mac, None)
    await site.heal()
    assert (await site.stored(task)).status is Status.BOOTING


async def test_installed_machine_without_a_task_boots_its_disk_offline(site: OfflineSite) -> None:
    task = await site.approved()
    await site.install(task)
    await site.synced()
    await site.store.delete(keys.task(site.idc, "SN-1"))
    await site.synced()
    await site.cut()
    await site.restart_region()
    plan, _ = await site.region.agents.boot(MAC, None)
    assert isinstance(plan, BootLocalDisk)


async def test_marks_are_gone_when_all_is_handed_in(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    await site.install(task)
    await site.heal()

    async def no_marks() -> bool:
        page = await site.store.range(f"/os/{site.idc}/outbox/")
        return not page.kvs

    await poll(no_marks)


async def test_calls_while_words_wait_follow_them_and_overtake_nothing(site: OfflineSite) -> None:
    task = await site.approved()
    await site.cut()
    agents = site.region.agents
    await agents.claim(site.run, task.task_id, None)
    site.link.away = False
    await until(lambda: site.region.fleet.connected)
    after = await agents.progress(site.run, task.task_id, site.at("downloading", 30))
    assert after.status is Status.INSTALLING
    await site.heal()
    assert (await site.stored(task)).percent == 30


async def test_another_machine_offline_is_refused_at_once_and_shown_afterwards(
    site: OfflineSite,
) -> None:
    task = await site.create()
    first = make_inventory(product=Product(serial="AAA-1"))
    await site.region.agents.report(site.run, None, first, GIB)
    await site.synced()
    task = await site.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    await site.synced()
    await site.cut()
    foreign = msgspec.structs.replace(first, product=Product(serial="BBB-2"))
    for _ in range(5):
        with pytest.raises(ForeignMachine):
            await site.region.agents.report(OTHER_RUN, None, foreign, GIB)
    assert site.region.agents.outbox_state.waiting == 1
    await site.restart_region()
    with pytest.raises(ForeignMachine):
        await site.region.agents.report(OTHER_RUN, None, foreign, GIB)
    done = await site.install(task)
    assert done.status is Status.COMPLETED
    await site.heal()
    after = await site.stored(task)
    assert after.status is Status.COMPLETED
    assert after.hardware and after.hardware.product.serial == "AAA-1"
    assert any("another machine reported" in line for line in after.logs)
    (kept,) = await site.unmatched()
    assert (kept.same_mac_as, kept.hardware.product.serial) == (task.sn, "BBB-2")


async def test_report_kept_by_a_client_that_stood_down_takes_no_claim_from_a_later_run(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.report()
    await site.next_client.report(OTHER_RUN, "SN-1", make_inventory(), GIB)
    await site.heal()
    claimed = await site.next_client.claim(OTHER_RUN, task.task_id, None)
    assert claimed.status is Status.INSTALLING


async def test_machine_restarted_offline_after_the_clock_was_set_back_installs_once(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    site.now -= timedelta(hours=3)
    await site.cut()
    await site.region.agents.report(OTHER_RUN, "SN-1", make_inventory(), GIB)
    await site.region.agents.claim(OTHER_RUN, task.task_id, intent_of(task))
    await site.heal()
    stored = await site.stored(task)
    assert (stored.status, stored.reported_by) == (Status.INSTALLING, OTHER_RUN.agent_id)
    assert stored.intent and stored.intent.claimed_by == OTHER_RUN.agent_id
    assert site.region.agents.outbox_state.refused == 0


async def test_claim_of_before_a_restart_uses_the_approval_whoever_reported_since(
    site: OfflineSite,
) -> None:
    """The disk may be written: the run after the restart needs a new approval."""
    task = await site.approved()
    await site.cut()
    await site.region.agents.claim(site.run, task.task_id, intent_of(task))
    await site.next_client.report(OTHER_RUN, "SN-1", make_inventory(), GIB)
    await site.heal()
    stored = await site.stored(task)
    assert stored.error and stored.error.code == MACHINE_RESTARTED
    assert stored.intent and stored.intent.claimed_by == site.run.agent_id
    assert not is_transient(stored)
    with pytest.raises(ForeignClaim):
        await site.next_client.claim(OTHER_RUN, task.task_id, intent_of(task))
