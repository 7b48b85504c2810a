"""What a region saw of a boot stands in the task that is shown, before it is written into it."""

from datetime import timedelta

import msgspec

from lpmos.core.evidence import so_far
from lpmos.model.boot import (
    AGENT,
    DHCP,
    KERNEL_ASKED,
    LOADER,
    RESTART_SCRIPT,
    RESTART_SEEN,
    SCRIPT,
    Boot,
)
from lpmos.model.evidence import Evidence, Sign
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.store import keys, records
from tests.support.builders import MAC, actor
from tests.unit.core.conftest import World


async def see(world: World, *moments: str, mac: str = MAC, boot: Boot | None = None) -> None:
    """Have these seen by the region, one second after another, and written to the store."""
    boot = boot or world.seen.boot
    for moment in moments:
        boot = boot.after(moment, world.clock())
    world.seen = Evidence(mac=mac, boot=boot, script=Sign(world.now))
    await world.store.put(keys.evidence("dc1", "SN-1"), records.encode(world.seen))
    await world.synced()


def shown(world: World, task: Task) -> dict[str, object]:
    found = so_far(world.fleet, task)
    assert msgspec.structs.replace(found, boot=task.boot) == task, "nothing else of it changes"
    return dict(found.boot)


async def test_boot_is_shown_as_it_happens_and_after_the_report_as_it_was(world: World) -> None:
    task = await world.task_that_is(Status.BOOTING)
    assert shown(world, task) == {}
    await see(world, DHCP, LOADER)
    assert list(shown(world, task)) == [DHCP, LOADER]
    await see(world, SCRIPT, KERNEL_ASKED)
    before = shown(world, task)
    assert list(before) == [DHCP, LOADER, SCRIPT, KERNEL_ASKED]
    reported = await world.report()
    assert dict(reported.boot) == {**before, AGENT: reported.reported_at}
    await see(world, DHCP, LOADER)
    assert shown(world, reported) == dict(reported.boot), "the next boot waits for its report"


async def test_boot_of_before_the_task_or_of_another_card_is_not_shown(world: World) -> None:
    await see(world, DHCP, LOADER, SCRIPT)
    task = await world.task_that_is(Status.READY)
    assert shown(world, task) == {}
    await see(world, DHCP, LOADER, mac="52:54:00:00:00:99")
    assert shown(world, task) == {}
    await see(world, DHCP)
    assert list(shown(world, task)) == [DHCP, LOADER]


async def test_boot_of_a_task_that_failed_on_its_way_stays_until_the_next_task(
    world: World,
) -> None:
    task = await world.task_that_is(Status.BOOTING)
    await see(world, DHCP, LOADER)
    cancelled = await world.tasks.cancel(task.task_id, by=actor("boss"))
    await world.synced()
    assert list(shown(world, cancelled)) == [DHCP, LOADER]
    later = await world.create()
    assert shown(world, cancelled) == {} and shown(world, later) == {}


async def test_boot_that_stands_in_the_task_is_not_taken_from_it(world: World) -> None:
    task = await world.task_that_is(Status.BOOTING)
    known = msgspec.structs.replace(task, boot={SCRIPT: world.now})
    await see(world, DHCP, LOADER)
    assert shown(world, known) == {SCRIPT: known.boot[SCRIPT]}


async def test_restart_is_shown_as_it_happens_and_after_the_systems_word_as_it_was(
    world: World,
) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    token = "ab" * 32
    task = await world.agents.handed_over(world.run, task.task_id, token)
    await world.synced()
    assert shown(world, task) == {}
    await see(world, DHCP, SCRIPT, boot=Boot().after(AGENT, world.now - timedelta(minutes=9)))
    before = shown(world, task)
    assert list(before) == [RESTART_SEEN, RESTART_SCRIPT]
    after = await world.agents.came_up(MAC, task.task_id, token)
    await world.synced()
    assert dict(after.boot) == before == shown(world, after)
