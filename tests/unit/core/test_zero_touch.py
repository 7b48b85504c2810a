"""Zero touch: only a machine of which nothing is known gets a task by rule."""

import pytest

from lpmos.core.documents import Held
from lpmos.core.fleet import Unmatched
from lpmos.core.rules.zero_touch import create_by_rule, known_as
from lpmos.core.unmatched_reports import macs_of
from lpmos.model.errors import Conflict, Forbidden
from lpmos.model.inventory import Nic
from lpmos.model.lifecycle import Status
from lpmos.model.rule import Rule
from lpmos.store import keys
from lpmos.store.api import CasConflict
from tests.support.builders import MAC, actor, make_inventory
from tests.support.rules import DEBIAN, Plane, make_fields, make_report
from tests.unit.core.conftest import World

OTHER_MAC = "52:54:00:00:00:02"


async def rule_of(plane: Plane) -> Held[Rule]:
    return await plane.rules.create("zt", make_fields(task=DEBIAN), by=actor())


async def unmatched_of(plane: Plane, **fields: object) -> Unmatched:
    return await plane.desk.find(await plane.keep(make_report(**fields)))


def with_nics(*macs: str) -> dict[str, object]:
    nics = tuple(Nic(interface=f"eth{n}", mac=mac) for n, mac in enumerate(macs))
    return {"mac_address": macs[0], "hardware": make_inventory(nics=nics)}


async def test_same_report_makes_the_same_task_again(world: World, plane: Plane) -> None:
    held, unmatched = await rule_of(plane), await unmatched_of(plane)

    first = await create_by_rule(plane.tasks, plane.fleet, unmatched, held, ())
    lagging = Plane(plane.store, world.clock)
    again = await create_by_rule(plane.tasks, lagging.fleet, unmatched, held, ())
    await plane.synced()

    assert again == first
    with pytest.raises(Conflict):
        await create_by_rule(plane.tasks, plane.fleet, unmatched, held, ())


async def test_machine_whose_serial_number_is_known_gets_none(world: World, plane: Plane) -> None:
    await world.task_that_is(Status.COMPLETED)
    held = await rule_of(plane)
    unmatched = await unmatched_of(plane, **with_nics(OTHER_MAC))

    with pytest.raises(Conflict, match="serial number SN-1 is a known machine"):
        await create_by_rule(plane.tasks, plane.fleet, unmatched, held, ())


async def test_machine_with_a_known_nic_gets_none(world: World, plane: Plane) -> None:
    """It was installed by its first NIC, and now boots from its second, without a usable number."""
    await world.task_that_is(Status.COMPLETED)
    held = await rule_of(plane)
    unmatched = await unmatched_of(plane, sn=None, **with_nics(OTHER_MAC, MAC))

    with pytest.raises(Conflict, match=f"MAC {MAC} belongs to a known machine"):
        await create_by_rule(plane.tasks, plane.fleet, unmatched, held, ())


async def test_machine_that_became_known_a_moment_ago_gets_none(world: World, plane: Plane) -> None:
    """Memory does not show it yet; the transaction's compares do."""
    held = await rule_of(plane)
    unmatched = await unmatched_of(plane, sn=None, **with_nics(OTHER_MAC, MAC))
    lagging = Plane(world.store, world.clock)
    await world.task_that_is(Status.COMPLETED)

    assert known_as(lagging.fleet, unmatched) is None
    with pytest.raises(CasConflict):
        await create_by_rule(plane.tasks, lagging.fleet, unmatched, held, ())
    assert await plane.store.get(keys.task("dc1", "mac-525400000002")) is None


@pytest.mark.parametrize("change", ["dismissed", "reported anew", "rule changed", "fence"])
async def test_what_changed_meanwhile_keeps_a_rule_from_creating(
    world: World, plane: Plane, change: str
) -> None:
    held, unmatched = await rule_of(plane), await unmatched_of(plane)
    leadership = await world.store.elect("control-plane", "one", 10)
    if change == "dismissed":
        await plane.desk.dismiss(f"dc1-{unmatched.rest}", by=actor())
    elif change == "reported anew":
        await plane.keep(make_report(sn="SN-2"))
    elif change == "rule changed":
        await plane.rules.change("zt", make_fields(task=DEBIAN, enabled=False), by=actor())
    else:
        await leadership.resign()

    with pytest.raises(CasConflict):
        await create_by_rule(plane.tasks, plane.fleet, unmatched, held, leadership.fence)

    assert await plane.store.get(keys.task("dc1", "SN-1")) is None


async def test_author_of_the_rule_is_no_second_person_for_its_tasks(world: World) -> None:
    """Nor is who wrote an `approve` rule, whoever changes the `create` rule afterwards."""
    plane = Plane(world.store, world.clock, second_person=True)
    async with plane.listening():
        held = await plane.rules.create("zt", make_fields(task=DEBIAN), by=actor("alice"))
        hers = await plane.rules.create("approve", make_fields(), by=actor("alice"))
        unmatched = await unmatched_of(plane)
        task = await create_by_rule(plane.tasks, plane.fleet, unmatched, held, ())
        await plane.rules.change("zt", make_fields(task=DEBIAN, priority=1), by=actor("bob"))
        await world.synced()
        reported = await world.report()

        with pytest.raises(Forbidden, match="another person"):
            await plane.tasks.approve(task.task_id, by=actor("alice"), notes=None)
        (verdict,) = plane.rules.verdicts_on_task(reported, [hers])
        assert not verdict.matched
        approved = await plane.tasks.approve(task.task_id, by=actor("bob"), notes=None)

    assert approved.status is Status.APPROVED
    assert approved.created_by == "rule:zt"


def test_machines_macs_are_normalised_and_named_once() -> None:
    nics = tuple(Nic(interface="x", mac=mac) for mac in ("52-54-00-00-00-01", "junk", OTHER_MAC))
    hardware = make_inventory(nics=nics)

    assert macs_of(make_report(hardware=hardware)) == [MAC, OTHER_MAC]
