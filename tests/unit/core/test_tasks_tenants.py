"""Whose a machine is decides who gets a task on it, by whatever name the machine is called.

Who gets a machine that was another's learns nothing of that other.
"""

import msgspec
import pytest

from lpmos.core.bulk import Bulk
from lpmos.core.machines import Machines
from lpmos.core.rules.dry_run import DryRuns
from lpmos.model.audit import AuditEvent
from lpmos.model.bootplan import BootLocalDisk
from lpmos.model.bulk import rows_of_json
from lpmos.model.errors import NotFound
from lpmos.model.inventory import Nic
from lpmos.model.lifecycle import Status
from lpmos.store import keys, records
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.rules import make_rule
from tests.unit.core.conftest import World

SECOND_MAC = "52:54:00:00:00:02"
TWO_NICS = make_inventory(
    nics=(
        Nic(interface="eth0", mac=MAC, booted=True),
        Nic(interface="eth1", mac=SECOND_MAC),
    )
)


async def globex_machine(world: World) -> None:
    """Machine SN-1 with two NICs: installed by globex, and nothing is under way on it."""
    task = await world.create(tenant="globex")
    await world.agents.prepared(task)
    await world.synced()
    await world.report(TWO_NICS)
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    await world.synced()


async def given_machine(world: World) -> None:
    """The same machine, which the provider gave to acme then."""
    await globex_machine(world)
    machines = Machines(world.store, world.fleet, world.clock)
    await machines.change("dc1", "SN-1", by=actor(), tenant="acme")
    await world.synced()


@pytest.mark.parametrize("mac", [MAC, SECOND_MAC])
async def test_new_serial_number_for_anothers_nic_gets_no_task(world: World, mac: str) -> None:
    """The machine would boot it: who answers its netboot goes by the MAC."""
    await globex_machine(world)

    with pytest.raises(NotFound):
        await world.tasks.create(
            make_spec(sn="MINE", mac=mac, tenant="acme"), by=actor("ann", "acme")
        )

    assert await world.store.get(keys.task("dc1", "MINE")) is None
    found = world.agents.find_task(mac, "SN-1")
    assert found is not None
    assert found.tenant == "globex"


async def test_anothers_nic_is_refused_where_memory_is_behind(world: World) -> None:
    tasks = await world.lagging_tasks()
    await globex_machine(world)

    with pytest.raises(NotFound):
        await tasks.create(make_spec(sn="MINE", tenant="acme"), by=actor("ann", "acme"))


async def test_row_for_anothers_nic_gets_no_task(world: World) -> None:
    await globex_machine(world)
    bulk = Bulk(world.store, world.fleet, world.tasks, world.clock)
    fields = {"idc": "dc1", "mac": MAC, "sn": "MINE", "os_type": "debian", "os_version": "12"}
    rows = rows_of_json(msgspec.json.encode([fields]))

    for dry_run in (True, False):
        report = await bulk.create(rows, by=actor("ann", "acme"), dry_run=dry_run)
        assert report.rows[0].problem is not None
        assert report.rows[0].problem.code == "not-found"


async def test_what_is_anothers_is_told_of_like_what_is_not_there(world: World) -> None:
    await globex_machine(world)

    for spec in (make_spec(tenant="acme"), make_spec(sn="MINE", tenant="acme")):
        with pytest.raises(NotFound) as caught:
            await world.tasks.create(spec, by=actor("ann", "acme"))
        assert "globex" not in str(caught.value)
        assert "belong" not in str(caught.value)


async def test_unfinished_task_of_anothers_machine_is_told_of_alike(world: World) -> None:
    await world.create(tenant="globex")

    with pytest.raises(NotFound):
        await world.tasks.create(make_spec(sn="MINE", tenant="acme"), by=actor("ann", "acme"))


async def test_machine_given_to_a_tenant_is_that_tenants_by_its_nics_too(world: World) -> None:
    await given_machine(world)

    made = await world.tasks.create(
        make_spec(sn="SN-9", mac=SECOND_MAC, tenant="acme"), by=actor("ann", "acme")
    )

    assert made.status is Status.PENDING


async def test_dry_run_of_a_tenant_asks_of_its_own_tasks_only(world: World) -> None:
    await given_machine(world)
    rule = make_rule(condition="task.tenant == 'globex'")

    ours = await DryRuns(world.fleet).run(rule, "acme")
    providers = await DryRuns(world.fleet).run(rule, None)

    assert [(line.sn, line.matched, line.reason) for line in ours.machines] == [
        ("SN-1", False, "the machine has no task")
    ]
    assert [line.matched for line in providers.machines] == [True]


async def test_move_of_a_machine_is_told_to_the_provider_alone(world: World) -> None:
    await given_machine(world)

    page = await world.store.range(keys.EVENTS)
    events = [records.decode(kv, AuditEvent) for kv in page.kvs]
    (moved,) = [each for each in events if each.action == "machine.changed"]

    assert moved.before == {"tenant": "globex"}
    assert moved.tenant is None


async def test_task_with_the_serial_number_of_anothers_machine_is_not_booted_by_it(
    world: World,
) -> None:
    """The machine is kept under another name than its own number, so that the number is free."""
    await globex_machine(world)
    mine = await world.tasks.create(
        make_spec(sn="DMI-1", mac="52:54:00:00:00:99", tenant="acme"), by=actor("ann", "acme")
    )
    await world.synced()
    await world.agents.prepared(mine)
    await world.synced()

    for mac in (MAC, SECOND_MAC):
        plan, task = await world.agents.boot(mac, "DMI-1")
        assert isinstance(plan, BootLocalDisk)
        assert task is not None
        assert task.tenant == "globex"
    assert (await world.tasks.find(mine.task_id)).status is Status.READY
