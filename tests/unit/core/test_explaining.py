"""An explanation put together: from the task, its evidence, its region, and what is usual."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.core.deadlines.deadlines import Deadlines
from lpmos.core.explaining import Explaining
from lpmos.core.usual import ENOUGH, FIRST_LOOKS, LOOKS, WAITS_KEPT, UsualTimes, UsualWaits
from lpmos.model.boot import AGENT, DHCP, INITRAMFS, LOADER, Boot
from lpmos.model.durations import WHOLE
from lpmos.model.evidence import Evidence, Sign, Transfer
from lpmos.model.fetching import Arrival, Fetching
from lpmos.model.image import OfferedOs
from lpmos.model.installer import Handover, Method
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.region import Heartbeat
from lpmos.model.waiting import Timeouts
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_capabilities
from tests.unit.core.conftest import World

ARRIVING = tuple(
    Arrival(
        kind=kind,
        name="d",
        size_bytes=size_bytes,
        done_bytes=done_bytes,
        os_type="debian",
        os_version="12",
    )
    for kind, size_bytes, done_bytes in (
        ("installer", 9_000_000, 0),
        ("image", 8_000_000, 3_000_000),
    )
)


@pytest.fixture
async def explaining(world: World) -> Explaining:
    beat = Heartbeat(idc="dc1", identity="r", at=world.clock(), services={})
    await world.store.put(keys.heartbeat("dc1"), records.encode(beat))
    deadlines = Deadlines(world.fleet, Timeouts(ready_timeout_s=600), world.clock)
    return Explaining(world.fleet, deadlines, world.clock)


async def see(world: World, **signs: Sign | Transfer) -> None:
    kept = Evidence(mac=MAC, **signs)  # type: ignore[arg-type]
    await world.store.put(keys.evidence("dc1", "SN-1"), records.encode(kept))
    await world.synced()


async def name_model(world: World, name: str) -> None:
    """Have the machine's inventory say that it is of this model."""
    machine = world.fleet.machine("dc1", "SN-1")
    assert machine and machine.inventory
    named = msgspec.structs.replace(machine.inventory, product=Product(vendor="V", name=name))
    known = msgspec.structs.replace(machine, inventory=named)
    await world.store.put(keys.meta("dc1", "SN-1"), records.encode(known))
    await world.synced()


async def test_explanation_says_where_a_machine_stands_and_until_when(
    world: World, explaining: Explaining
) -> None:
    task = await world.task_that_is(Status.READY)
    at = world.clock()
    await see(world, asked=Sign(at), given=Sign(at, "192.0.2.9"))
    world.now += timedelta(minutes=3)
    found = explaining.of(task, None)
    assert found.online and found.since == task.since and found.waited_s > 180
    assert found.until == found.since + timedelta(seconds=600)
    assert [cause.code for cause in found.causes] == ["no-loader"]
    assert [layer.layer for layer in found.layers] == ["dhcp", "address", "loader"]


async def test_explanation_of_before_the_task_and_of_another_card_counts_nothing(
    world: World, explaining: Explaining
) -> None:
    await see(world, asked=Sign(world.clock()))
    task = await world.task_that_is(Status.READY)
    assert [layer.at for layer in explaining.of(task, None).layers] == [None]
    other = Evidence(mac="52:54:00:00:00:99", asked=Sign(world.clock()))
    await world.store.put(keys.evidence("dc1", "SN-1"), records.encode(other))
    await world.synced()
    assert [layer.at for layer in explaining.of(task, None).layers] == [None]


@pytest.mark.parametrize(
    ("fetching", "method", "words"),
    [
        (
            Fetching(source="c", listed_at=NOW, arriving=ARRIVING),
            None,
            "installer d: 0.0 of 9.0 MB",
        ),
        (Fetching(source="c", listed_at=NOW, arriving=ARRIVING), "image", "image d: 3.0 of 8.0 MB"),
        (
            Fetching(source="c", listed_at=NOW, arriving=ARRIVING, error="c is away."),
            "installer",
            "does not come now (c is away)",
        ),
        (Fetching(source="c", error="c is away."), None, "list is not there yet (c is away)"),
        (Fetching(source="c", listed_at=NOW, more=3), None, "3 more come after others"),
    ],
)
async def test_what_the_region_fetches_still_is_what_its_task_waits_for(
    world: World, explaining: Explaining, fetching: Fetching, method: str | None, words: str
) -> None:
    task = await world.task_that_is(Status.PENDING)
    task = msgspec.structs.replace(task, method=method)
    await offer(world, (), fetching)
    (cause,) = explaining.of(task, None).causes
    assert cause.code == "image-on-its-way" and words in cause.cause
    await offer(world, (debian("image", "installer"),), fetching)
    assert explaining.of(task, None).causes == ()


async def test_task_for_an_image_waits_where_only_the_installer_is_there(
    world: World, explaining: Explaining
) -> None:
    task = msgspec.structs.replace(await world.task_that_is(Status.PENDING), method="image")
    fetching = Fetching(source="c", listed_at=NOW, arriving=ARRIVING)
    await offer(world, (debian("installer"),), fetching)
    assert [each.code for each in explaining.of(task, None).causes] == ["image-on-its-way"]
    await offer(world, (), Fetching(source="c", listed_at=NOW))
    assert explaining.of(task, None).causes == ()


def debian(*methods: Method) -> OfferedOs:
    """What a region offers of Debian 12."""
    return OfferedOs(os_type="debian", os_version="12", unpacked_bytes=1, methods=methods)


async def offer(world: World, offered: tuple[OfferedOs, ...], fetching: Fetching) -> None:
    """What the region has, and what it fetches."""
    has = msgspec.structs.replace(make_capabilities(), offered=offered)
    beat = Heartbeat(idc="dc1", identity="r", at=world.clock(), services={}, fetching=fetching)
    await world.store.put(keys.capabilities("dc1"), records.encode(has))
    await world.store.put(keys.heartbeat("dc1"), records.encode(beat))
    await world.synced()


async def test_damaged_evidence_explains_as_none_would(
    world: World, explaining: Explaining
) -> None:
    task = await world.task_that_is(Status.READY)
    await world.store.put(keys.evidence("dc1", "SN-1"), b"{")
    await world.synced()
    assert [layer.at for layer in explaining.of(task, None).layers] == [None]


async def test_usual_times_are_those_of_completed_tasks_of_the_model(
    world: World, explaining: Explaining
) -> None:
    for _ in range(ENOUGH):
        done = await world.task_that_is(Status.COMPLETED)
    await name_model(world, "R1")
    task = await world.task_that_is(Status.READY)
    found = explaining.of(task, None)
    assert found.model == "R1"
    assert found.usual and (found.usual.count, found.usual.model) == (ENOUGH, "R1")
    assert {part.part for part in found.parts} >= {"ready", "installing", WHOLE}
    past = world.fleet.task(done.task_id)
    assert past and explaining.of(past, None).usual is None


async def test_install_is_compared_with_those_of_the_same_system_in_the_same_way(
    world: World, explaining: Explaining
) -> None:
    for _ in range(ENOUGH):
        await world.task_that_is(Status.COMPLETED)
    task = await world.task_that_is(Status.INSTALLING)
    found = explaining.of(task, None)
    assert found.usual and found.usual.count == ENOUGH
    for other in (
        msgspec.structs.replace(task, os_version="11"),
        msgspec.structs.replace(task, method="installer"),
        msgspec.structs.replace(task, handover=Handover(by="kexec", at=world.now)),
    ):
        assert explaining.of(other, None).usual is None
        assert explaining.of(other, None).parts == found.parts


async def test_few_installs_say_nothing_of_what_is_usual(
    world: World, explaining: Explaining
) -> None:
    for _ in range(ENOUGH - 1):
        await world.task_that_is(Status.COMPLETED)
    task = await world.task_that_is(Status.READY)
    found = explaining.of(task, None)
    assert found.usual is None and found.parts


async def test_agent_of_a_model_is_given_the_time_that_it_needs_to_start(
    world: World, explaining: Explaining
) -> None:
    slow = timedelta(seconds=100)
    boot = Boot().after(INITRAMFS, world.now - slow).after(AGENT, world.now)
    for _ in range(ENOUGH):
        world.seen = Evidence(mac=MAC, boot=boot)
        await world.task_that_is(Status.COMPLETED)
        boot = Boot().after(INITRAMFS, world.now - slow).after(AGENT, world.now)
    task = await world.task_that_is(Status.BOOTING)
    asked = Sign(world.clock())
    files = {name: Transfer(world.now, 9, world.now) for name in ("kernel", "initramfs")}
    await see(world, asked=asked, script=Sign(world.now), **files)
    world.now += timedelta(seconds=120)
    assert [cause.code for cause in explaining.of(task, None).causes] == ["agent-does-not-start"]
    await name_model(world, "R1")
    assert "agent-does-not-start" not in [c.code for c in explaining.of(task, None).causes]
    world.now += slow
    assert "agent-does-not-start" in [c.code for c in explaining.of(task, None).causes]


async def test_boots_of_completed_tasks_are_a_part_of_what_is_usual(world: World) -> None:
    for seconds in (10, 30):
        boot = Boot().after(DHCP, world.now - timedelta(seconds=seconds)).after(LOADER, world.now)
        world.seen = Evidence(mac=MAC, boot=boot)
        await world.task_that_is(Status.COMPLETED)
    found = {part.part: part for part in UsualTimes(world.fleet, world.clock).of(None)}
    assert found["boot"].count == 2 and found["boot"].p50_s < found["boot"].p95_s


async def test_usual_times_of_another_model_or_tenant_are_left_out(world: World) -> None:
    await world.task_that_is(Status.COMPLETED)
    usual = UsualTimes(world.fleet, world.clock)
    assert usual.of("Another 9") == () and usual.of(None, "team-a") == ()
    assert usual.of(None)


async def test_usual_times_are_looked_up_again_after_a_minute(world: World) -> None:
    usual = UsualTimes(world.fleet, world.clock)
    assert usual.of(None) == ()
    await world.task_that_is(Status.COMPLETED)
    world.now += timedelta(minutes=2)
    assert usual.of(None)


async def test_usual_waits_of_a_region_are_known_once_enough_tasks_ended(world: World) -> None:
    waits = UsualWaits(world.fleet, world.clock)
    for _ in range(ENOUGH - 1):
        await world.task_that_is(Status.COMPLETED)
    assert waits.of(["dc1"]) == {"dc1": (ENOUGH - 1, {})}
    await world.task_that_is(Status.COMPLETED)
    assert waits.of(["dc1"]) == {"dc1": (ENOUGH - 1, {})}
    world.now += WAITS_KEPT
    found = waits.of(["dc1"])["dc1"]
    assert found.installs == ENOUGH
    assert {*found.seconds} >= {"pending", "ready", "booting", "installing"}
    assert all(seconds > 0 for seconds in found.seconds.values())


async def test_usual_waits_of_installing_do_not_count_its_step_of_the_same_name(
    world: World,
) -> None:
    for _ in range(ENOUGH):
        task = await world.task_that_is(Status.INSTALLING)
        for step, percent in (("installing", 90), ("configuring", 100)):
            world.now += timedelta(seconds=60)
            at = world.at(step, percent)
            ended = await world.agents.progress(world.run, task.task_id, at)
        await world.synced()
    began, end = (change.timestamp for change in ended.status_history[-2:])
    found = UsualWaits(world.fleet, world.clock).of(["dc1"])["dc1"]
    assert found.seconds["installing"] == pytest.approx((end - began).total_seconds(), abs=5)


async def test_usual_waits_are_looked_up_for_few_regions_at_once_and_for_all_in_turn(
    world: World,
) -> None:
    waits = UsualWaits(world.fleet, world.clock)
    idcs = [f"dc{number:02}" for number in range(2 * FIRST_LOOKS)]
    assert [*waits.of(idcs)] == idcs[:FIRST_LOOKS]
    world.now += WAITS_KEPT
    assert [*waits.of(idcs)] == idcs
    assert [*waits.of(idcs[1:])] == idcs[1:]


async def test_usual_waits_of_a_late_region_are_renewed_where_looks_do_not_suffice(
    world: World,
) -> None:
    waits = UsualWaits(world.fleet, world.clock)
    idcs = [*(f"a{number}" for number in range(FIRST_LOOKS - 1)), "dc1"]
    assert waits.of(idcs)["dc1"].installs == 0
    await world.task_that_is(Status.COMPLETED)
    for _ in range(FIRST_LOOKS // LOOKS):
        world.now += WAITS_KEPT
        found = waits.of(idcs)
    assert found["dc1"].installs == 1
