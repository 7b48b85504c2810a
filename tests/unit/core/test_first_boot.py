"""From the agent's last word to the first word of the system that it installed."""

import hashlib
from datetime import timedelta

import msgspec
import pytest

from lpmos.core.agentrun import AgentRun, NoTask
from lpmos.core.firstboot import NotHandedOver, WrongToken, came_up_at
from lpmos.core.rollback import Rollbacks
from lpmos.model.boot import AGENT, RESTART_SCRIPT, RESTART_SEEN, SCRIPT, Boot
from lpmos.model.bootplan import BootLocalDisk
from lpmos.model.errors import Conflict, ForeignClaim, ImpossibleTransition
from lpmos.model.evidence import Evidence
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.machine import Machine
from lpmos.model.task import Task, TaskError
from lpmos.model.waiting import FIRST_BOOT
from lpmos.store import keys, records
from tests.support.builders import MAC, actor, make_inventory
from tests.unit.core.conftest import World

TOKEN = hashlib.sha256(b"the token of the disk").hexdigest()
OTHER_TOKEN = hashlib.sha256(b"another").hexdigest()
OTHER_RUN = AgentRun(mac=MAC, agent_id="run-2")


async def handed_over(world: World) -> Task:
    task = await world.task_that_is(Status.INSTALLING)
    await world.agents.progress(world.run, task.task_id, world.at("configuring", 95))
    await world.synced()
    task = await world.agents.handed_over(world.run, task.task_id, TOKEN)
    await world.synced()
    return task


async def machine_of(world: World) -> Machine:
    kv = await world.store.get(keys.meta("dc1", "SN-1"))
    assert kv is not None
    return records.decode(kv, Machine)


async def test_last_word_of_the_agent_leaves_the_task_installing(world: World) -> None:
    task = await handed_over(world)
    assert task.status is Status.INSTALLING and task.starts_its_system
    assert [(each.step, each.percent) for each in task.progress] == [
        ("configuring", 99),
        ("restarting", 99),
    ]
    assert (await machine_of(world)).installed is None


async def test_machine_that_netboots_after_the_last_word_boots_its_disk(world: World) -> None:
    await handed_over(world)
    for _ in range(2):
        plan, _ = await world.agents.boot(MAC, "SN-1")
        assert isinstance(plan, BootLocalDisk) and "starts its own system" in plan.reason


async def test_boot_and_restart_that_were_seen_are_written_with_the_words_of_the_machine(
    world: World,
) -> None:
    world.seen = Evidence(mac=MAC, boot=Boot().after(SCRIPT, world.now))
    task = await handed_over(world)
    assert [*task.boot] == [SCRIPT, AGENT] and task.boot[AGENT] == task.reported_at
    boot = world.seen.boot.after(AGENT, world.now).after(SCRIPT, world.now + timedelta(seconds=1))
    world.seen = Evidence(mac=MAC, boot=boot)
    world.now += timedelta(seconds=30)
    before = await world.store.get(keys.task("dc1", "SN-1"))
    after = await world.agents.came_up(MAC, task.task_id, TOKEN)
    assert [*after.boot] == [SCRIPT, AGENT, RESTART_SEEN, RESTART_SCRIPT]
    kv = await world.store.get(keys.task("dc1", "SN-1"))
    assert kv and before and kv.version == before.version + 1, "it takes no write of its own"
    assert records.decode(kv, Task).boot == after.boot


async def test_report_that_is_repeated_keeps_the_boot_that_its_task_has(world: World) -> None:
    world.seen = Evidence(mac=MAC, boot=Boot().after(SCRIPT, world.now))
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    world.seen = Evidence(mac=MAC)
    assert (await world.report()).boot == task.boot != {}


async def test_installed_system_that_came_up_completes_the_task(world: World) -> None:
    task = await handed_over(world)
    after = await world.agents.came_up(MAC, task.task_id, TOKEN)
    assert after.status is Status.COMPLETED
    assert [each.percent for each in after.progress] == [100, 100]
    assert after.handed_over_at is not None
    assert after.progress[0].timestamp == after.handed_over_at < after.progress[1].timestamp
    installed = (await machine_of(world)).installed
    assert installed is not None and installed.task_id == task.task_id
    assert installed.generation == 1


async def test_word_of_the_installed_system_repeated_changes_nothing(world: World) -> None:
    task = await handed_over(world)
    after = await world.agents.came_up(MAC, task.task_id, TOKEN)
    await world.synced()
    assert await world.agents.came_up(MAC, task.task_id, TOKEN) == after
    assert (await machine_of(world)).installed.generation == 1  # type: ignore[union-attr]


async def test_word_by_another_nic_of_the_machine_counts(world: World) -> None:
    task = await handed_over(world)
    nics = [nic.mac for nic in make_inventory().nics if nic.mac != MAC]
    kv = await world.store.get(keys.meta("dc1", "SN-1"))
    assert kv is not None
    other = nics[0] if nics else "52:54:00:00:00:77"
    machine = msgspec.structs.replace(records.decode(kv, Machine), macs=(MAC, other))
    await world.store.put(kv.key, records.encode(machine))
    await world.synced()
    assert (await world.agents.came_up(other, task.task_id, TOKEN)).finished
    with pytest.raises(NoTask):
        await world.agents.came_up("52:54:00:00:00:99", task.task_id, TOKEN)


@pytest.mark.parametrize("completed", [False, True])
async def test_wrong_token_is_refused_and_changes_nothing(world: World, completed: bool) -> None:
    task = await handed_over(world)
    if completed:
        task = await world.agents.came_up(MAC, task.task_id, TOKEN)
        await world.synced()
    with pytest.raises(WrongToken):
        await world.agents.came_up(MAC, task.task_id, OTHER_TOKEN)
    await world.synced()
    assert world.fleet.task(task.task_id) == task


async def test_word_before_the_agent_is_done_is_to_be_repeated(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    with pytest.raises(NotHandedOver):
        await world.agents.came_up(MAC, task.task_id, TOKEN)


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_no_token_is_that_of_a_task_that_never_handed_over(
    world: World, status: Status
) -> None:
    task = await world.task_that_is(status)
    with pytest.raises(WrongToken):
        await world.agents.came_up(MAC, task.task_id, TOKEN)


async def test_word_after_a_cancellation_is_refused(world: World) -> None:
    task = await handed_over(world)
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    await world.synced()
    with pytest.raises(ImpossibleTransition):
        await world.agents.came_up(MAC, task.task_id, TOKEN)
    assert (await machine_of(world)).installed is None
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk)


async def test_word_after_the_deadline_is_noted_in_task_and_machine(world: World) -> None:
    """Failed is final, and what runs on the machine is told all the same."""
    task = await handed_over(world)
    error = TaskError(reason="the installed system did not come up", code=FIRST_BOOT.code)
    await world.agents.failed(world.run, task.task_id, error)
    await world.synced()
    letter = keys.dead_letter("dc1", task.task_id)
    with pytest.raises(WrongToken):
        await world.agents.came_up(MAC, task.task_id, OTHER_TOKEN)
    assert await world.store.get(letter) is not None
    for _ in range(2):
        after = await world.agents.came_up(MAC, task.task_id, TOKEN)
        await world.synced()
        assert (after.status, after.error) == (Status.FAILED, error)
        assert came_up_at(after) is not None and "came up after" in after.logs[-1]
        installed = (await machine_of(world)).installed
        assert installed and (installed.task_id, installed.generation) == (task.task_id, 1)
        assert await world.store.get(letter) is None
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk)
    again = await world.tasks.retry(task.task_id, by=actor("boss"))
    assert again.task.status is Status.PENDING


async def test_last_word_repeated_by_the_run_is_the_same_and_by_another_refused(
    world: World,
) -> None:
    task = await handed_over(world)
    assert await world.agents.handed_over(world.run, task.task_id, OTHER_TOKEN) == task
    with pytest.raises(ForeignClaim):
        await world.agents.handed_over(OTHER_RUN, task.task_id, OTHER_TOKEN)
    after = await world.agents.came_up(MAC, task.task_id, TOKEN)
    await world.synced()
    assert await world.agents.handed_over(world.run, task.task_id, TOKEN) == after


async def test_last_word_after_a_cancellation_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.CANCELLED)
    with pytest.raises(ImpossibleTransition):
        await world.agents.handed_over(world.run, task.task_id, TOKEN)


@pytest.mark.parametrize("percent", [97, 100])
async def test_late_progress_after_the_last_word_changes_nothing(
    world: World, percent: float
) -> None:
    task = await handed_over(world)
    late = world.at("configuring", percent)
    assert await world.agents.progress(world.run, task.task_id, late) == task


async def test_report_of_another_run_after_the_last_word_changes_nothing(world: World) -> None:
    """Whoever boots an agent from elsewhere breaks no install that is whole on its disk."""
    task = await handed_over(world)
    assert await world.agents.report(OTHER_RUN, "SN-1", make_inventory(), 0) == task


async def test_agent_of_an_earlier_version_completes_as_before(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    after = await world.agents.progress(world.run, task.task_id, world.at("configuring", 100))
    assert after.status is Status.COMPLETED and after.handed_over_at is None
    assert (await machine_of(world)).installed is not None


async def test_rollback_after_the_last_word_is_refused(world: World) -> None:
    """Whatever stood on which disk: the new system is whole, and the machine starts it."""
    task = await handed_over(world)
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    await world.synced()
    with pytest.raises(Conflict, match="holds the new system"):
        await Rollbacks(world.store, world.tasks, world.clock).roll_back(
            task.task_id, by=actor("boss")
        )


FAILURE = TaskError(reason="the first boot failed: ansible", output="unreachable")


async def test_installed_system_whose_hook_failed_fails_the_task_with_the_evidence(
    world: World,
) -> None:
    task = await handed_over(world)
    after = await world.agents.came_up_failing(MAC, task.task_id, TOKEN, FAILURE)
    assert after.status is Status.FAILED and after.error == FAILURE
    assert (await machine_of(world)).installed is None
    await world.synced()
    assert await world.agents.came_up_failing(MAC, task.task_id, TOKEN, FAILURE) == after


async def test_failure_told_with_another_token_or_too_late_changes_nothing(world: World) -> None:
    task = await handed_over(world)
    with pytest.raises(WrongToken):
        await world.agents.came_up_failing(MAC, task.task_id, OTHER_TOKEN, FAILURE)
    await world.agents.came_up(MAC, task.task_id, TOKEN)
    await world.synced()
    with pytest.raises(ImpossibleTransition):
        await world.agents.came_up_failing(MAC, task.task_id, TOKEN, FAILURE)
