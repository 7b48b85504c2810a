"""What people do with machines, and what reports leave of it."""

import asyncio
from typing import Any

import msgspec
import pytest

from lpmos.core.machines import Machines
from lpmos.model.errors import Forbidden, InvalidInput, NotFound, UnfinishedTask
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.region import DhcpNetworkState, Heartbeat
from lpmos.store import keys, records
from lpmos.store.api import CasConflict, Unavailable
from tests.support.builders import MAC, NOW, actor, make_inventory
from tests.unit.core.conftest import World

PLACE = "dc1", "SN-1"


@pytest.fixture
def machines(world: World) -> Machines:
    return Machines(world.store, world.fleet, world.clock)


async def change(machines: Machines, **fields: Any) -> Machine:
    found = await machines.change(*PLACE, by=actor("boss"), **fields)
    assert found.machine is not None
    return found.machine


async def stored(world: World) -> Machine:
    kv = await world.store.get(keys.meta(*PLACE))
    assert kv is not None
    return records.decode(kv, Machine)


async def test_first_report_for_a_task_gives_the_machine_its_tags_and_tenant(world: World) -> None:
    await world.create(tags={"rack": "a"}, tenant="t")
    await world.report()
    machine = await stored(world)
    assert (machine.tags, machine.tenant) == ({"rack": "a"}, "t")
    assert machine.reported_at is not None


async def test_tags_that_people_changed_survive_the_next_report(
    world: World, machines: Machines
) -> None:
    await world.create(tags={"rack": "a", "row": "1"})
    await world.report()
    await change(machines, tags={"rack": "b", "row": None, "owner": "ops"})
    await world.report()
    assert (await stored(world)).tags == {"rack": "b", "owner": "ops"}


async def test_tags_of_the_next_task_are_added_to_the_machines(
    world: World, machines: Machines
) -> None:
    first = await world.create(tags={"rack": "a"})
    await world.report()
    await change(machines, tags={"owner": "ops"})
    await world.tasks.cancel(first.task_id, by=actor("boss"))
    await world.create(tags={"rack": "c"})
    await world.report()
    assert (await stored(world)).tags == {"rack": "c", "owner": "ops"}


async def test_tags_that_people_changed_survive_an_install_whose_region_lags(
    world: World, machines: Machines
) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    await world.cut_mirror()
    await change(machines, tags={"owner": "ops"})
    await world.agents.progress(world.run, task.task_id, world.at("configuring", 100))
    machine = await stored(world)
    assert machine.tags == {"owner": "ops"}
    assert machine.installed is not None and machine.installed.task_id == task.task_id


async def test_report_and_change_at_once_both_hold(world: World, machines: Machines) -> None:
    await world.create()
    await world.report()
    bigger = make_inventory(bmc_address="192.0.2.9")
    await asyncio.gather(
        world.agents.report(world.run, "SN-1", bigger, 1),
        *(change(machines, tags={f"t{n}": "x"}) for n in range(4)),
    )
    machine = await stored(world)
    assert set(machine.tags) == {"t0", "t1", "t2", "t3"}
    assert machine.bmc_address == "192.0.2.9"


async def test_change_that_changes_nothing_writes_nothing(world: World, machines: Machines) -> None:
    await world.create(tags={"rack": "a"})
    await world.report()
    before = (await world.store.status()).revision
    await change(machines, tags={"rack": "a", "gone": None}, tenant=None)
    assert (await world.store.status()).revision == before


async def test_change_at_another_revision_is_refused(world: World, machines: Machines) -> None:
    await world.create()
    await world.report()
    with pytest.raises(CasConflict):
        await change(machines, tags={"a": "b"}, at_revision=1)


async def test_change_of_a_machine_that_never_reported_is_not_found(
    world: World, machines: Machines
) -> None:
    await world.create()
    with pytest.raises(NotFound):
        await change(machines, tags={"a": "b"})


async def test_tenants_user_gives_no_machine_away(world: World, machines: Machines) -> None:
    await world.create(tenant="a")
    await world.report()
    with pytest.raises(Forbidden):
        await machines.change(*PLACE, by=actor("user", "a"), tenant="b")


async def test_machine_is_given_away_only_when_no_task_of_another_is_under_way(
    world: World, machines: Machines
) -> None:
    task = await world.create()
    await world.report()
    with pytest.raises(UnfinishedTask):
        await change(machines, tenant="a")
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    assert (await change(machines, tenant="a")).tenant == "a"


async def test_new_task_of_the_old_tenant_and_giving_away_at_once_never_both_hold(
    world: World, machines: Machines
) -> None:
    await world.task_that_is(Status.CANCELLED)
    await asyncio.gather(world.create(), change(machines, tenant="b"), return_exceptions=True)
    await world.synced()
    machine, task = await stored(world), world.fleet.current_task(*PLACE)
    assert task is not None
    assert machine.tenant == task.tenant or task.finished


async def test_read_while_the_store_is_away_is_from_memory(
    world: World, machines: Machines
) -> None:
    await world.create()
    await world.report()
    world.store.away = True
    found = await machines.read(*PLACE)
    assert found.machine is not None and found.task is not None
    with pytest.raises(Unavailable):
        await machines.read("dc1", "SN-2")


async def test_forget_leaves_the_place_of_a_mac_that_another_machine_has_now(
    world: World, machines: Machines
) -> None:
    await world.task_that_is(Status.CANCELLED)
    await world.create(sn="SN-2", mac=MAC)
    await machines.forget(*PLACE, by=actor("boss"))
    await world.synced()
    other = world.fleet.task_by_mac("dc1", MAC)
    assert other is not None and other.sn == "SN-2"
    assert await world.store.get(keys.mac_place("dc1", MAC)) is not None
    assert world.fleet.machine_row(*PLACE) is None


async def test_row_of_a_machine_follows_its_record_and_its_task(
    world: World, machines: Machines
) -> None:
    await world.create()
    row = world.fleet.machine_row(*PLACE)
    assert row is not None and (row.revision, row.memory_bytes) == (None, None)
    await world.report()
    row = world.fleet.machine_row(*PLACE)
    assert row is not None and row.revision and row.memory_bytes
    await world.store.delete(keys.meta(*PLACE))
    await world.synced()
    row = world.fleet.machine_row(*PLACE)
    assert row is not None and row.revision is None
    await world.store.delete(keys.task(*PLACE))
    await world.synced()
    assert world.fleet.machine_row(*PLACE) is None
    assert world.fleet.count_machines() == 0


async def test_damaged_record_of_a_machine_hides_no_other(world: World) -> None:
    await world.store.put(keys.meta("dc1", "SN-0"), b"not a machine")
    await world.create()
    await world.report()
    assert [machine.sn for machine in world.fleet.machines()] == ["SN-1"]
    assert msgspec.to_builtins(world.fleet.count_machines("dc1")) == 1


async def test_address_that_the_region_cannot_give_is_not_reserved(
    world: World, machines: Machines
) -> None:
    await world.create()
    await world.report()
    network = DhcpNetworkState(interface="e0", mode="full", subnet="10.0.0.0/24")
    beat = Heartbeat(idc="dc1", identity="r", at=NOW, services={}, dhcp=(network,))
    await world.store.put(keys.heartbeat("dc1"), records.encode(beat))
    with pytest.raises(InvalidInput, match=r"192\.0\.2\.9 is in none of the region's networks"):
        await change(machines, address="192.0.2.9")
    assert (await stored(world)).address is None
    assert (await change(machines, address="10.0.0.9")).address == "10.0.0.9"
