"""Reports without a task: listed, matched, used and dismissed, each exactly once."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.duplicates import Duplicates
from lpmos.core.fleet import Unmatched
from lpmos.core.unmatched import REFRESH, UnmatchedReports
from lpmos.core.unmatched_index import UnmatchedIndex, UnmatchedQuery, row_of_report
from lpmos.core.unmatched_reports import ContradictingReport, report_id, report_place
from lpmos.model.diskplan import RootDiskHints
from lpmos.model.errors import Conflict, InvalidInput, NotFound, UnfinishedTask
from lpmos.model.inventory import Nic, Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import ServerEntry
from lpmos.model.newtask import NewTask
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import CasConflict
from tests.support.builders import MAC, NOW, actor, make_inventory, make_spec
from tests.support.newer_version import is_kept, write_as_newer
from tests.support.rules import Plane, make_report
from tests.unit.core.conftest import World

OTHER_MAC = "52:54:00:00:00:02"


async def waiting_task(plane: Plane, **fields: Any) -> Task:
    """A task whose MAC was mistyped."""
    task = await plane.tasks.create(make_spec(**{"mac": OTHER_MAC, **fields}), by=actor("admin"))
    await plane.synced()
    return task


@given(
    idc=st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
    micros=st.integers(0, 10**15),
)
def test_id_of_a_report_names_its_key_again(idc: str, micros: int) -> None:
    key = keys.unmatched(idc, NOW + timedelta(microseconds=micros), MAC)
    rest = key.rpartition("/")[2]
    unmatched = Unmatched(idc, rest, make_report(region=idc), 1)

    assert report_place(report_id(unmatched)) == (idc, rest)
    assert keys.unmatched_report(*report_place(report_id(unmatched))) == key


@given(text=st.text(max_size=80))
def test_any_other_text_is_no_reports_id(text: str) -> None:
    try:
        idc, rest = report_place(text)
    except NotFound:
        return
    assert "/" not in idc + rest


async def test_matched_task_has_the_machines_mac_and_the_report_is_gone(plane: Plane) -> None:
    task = await waiting_task(plane)
    identity = await plane.keep(make_report())

    matched = await plane.desk.match(identity, task.task_id, by=actor("olga"))

    assert (matched.mac, matched.status) == (MAC, task.status)
    assert plane.fleet.task_by_mac("dc1", MAC) == matched
    assert "olga matched" in matched.logs[-1]
    assert plane.fleet.unmatched() == []
    server = await plane.store.get(keys.server("dc1", "SN-1"))
    place = await plane.store.get(keys.mac_place("dc1", MAC))
    assert server is not None
    assert place is not None
    assert records.decode(server, ServerEntry).mac == MAC
    assert records.decode(place, TaskPlace).sn == "SN-1"
    (event,) = [each for each in await plane.events() if each.action == "task.matched"]
    assert (event.before, event.actor.name) == ({"mac": OTHER_MAC}, "olga")


async def test_machine_reports_into_the_task_that_it_was_matched_to(
    world: World, plane: Plane
) -> None:
    task = await waiting_task(plane)
    with pytest.raises(NotFound):
        await world.agents.report(world.run, None, make_inventory(), 1)
    await world.synced()
    (row,) = world.fleet.unmatched()

    await plane.desk.match(f"{row.idc}-{row.rest}", task.task_id, by=actor("olga"))
    await world.synced()
    reported = await world.agents.report(world.run, None, make_inventory(), 1)

    assert reported.task_id == task.task_id
    assert reported.status is Status.PENDING_APPROVAL


@pytest.mark.parametrize(
    ("task_fields", "report_fields", "why"),
    [
        ({}, {"sn": "SN-9"}, "serial number is SN-9, the task's SN-1"),
        (
            {"root_disk": RootDiskHints(serial="GONE")},
            {},
            "no disk of serial GONE, which the task names",
        ),
        ({"root_disk": RootDiskHints(wwn="0x5")}, {}, "no disk of wwn 0x5"),
    ],
)
async def test_contradicting_report_is_matched_only_by_force(
    plane: Plane, task_fields: dict[str, Any], report_fields: dict[str, Any], why: str
) -> None:
    fields = {name: msgspec.to_builtins(value) for name, value in task_fields.items()}
    task = await waiting_task(plane, **fields)
    identity = await plane.keep(make_report(**report_fields))

    with pytest.raises(ContradictingReport, match=why):
        await plane.desk.match(identity, task.task_id, by=actor())
    assert (await plane.desk.find(identity)).revision
    assert (await plane.tasks.find(task.task_id)).mac == OTHER_MAC

    forced = await plane.desk.match(identity, task.task_id, by=actor(), force=True)
    assert forced.mac == MAC


async def test_report_of_a_machine_that_has_another_task_contradicts(plane: Plane) -> None:
    await plane.tasks.create(make_spec(sn="SN-9", mac="52:54:00:00:00:09"), by=actor())
    task = await waiting_task(plane, sn=None)
    identity = await plane.keep(make_report(sn="SN-9"))

    with pytest.raises(ContradictingReport, match="machine SN-9 has task"):
        await plane.desk.match(identity, task.task_id, by=actor())


def with_second_nic(mac: str) -> dict[str, Any]:
    """What a machine reports that is known by one NIC and boots from the other."""
    nics = (Nic(interface="eth0", mac=mac), Nic(interface="eth1", mac=MAC))
    return {"mac_address": mac, "sn": None, "hardware": make_inventory(nics=nics)}


async def test_report_of_a_machine_that_is_known_otherwise_contradicts(
    world: World, plane: Plane
) -> None:
    """An installed machine must not become another task's because it reported by another NIC."""
    await world.task_that_is(Status.COMPLETED)
    task = await waiting_task(plane, sn="SN-9", mac="52:54:00:00:00:09")
    identity = await plane.keep(make_report(**with_second_nic(OTHER_MAC)))

    with pytest.raises(ContradictingReport, match="this is machine SN-1, which is known"):
        await plane.desk.match(identity, task.task_id, by=actor())
    forced = await plane.desk.match(identity, task.task_id, by=actor(), force=True)

    assert forced.mac == OTHER_MAC


async def test_machine_of_another_tenant_gets_no_task_from_its_report(
    world: World, plane: Plane
) -> None:
    first = await world.create(tenant="globex")
    await world.report()
    await world.tasks.cancel(first.task_id, by=actor())
    task = await waiting_task(plane, sn="SN-9", mac="52:54:00:00:00:09", tenant="acme")
    identity = await plane.keep(make_report(**with_second_nic(OTHER_MAC)))

    with pytest.raises(Conflict, match="SN-1, which does not belong to acme"):
        await plane.desk.match(identity, task.task_id, by=actor(), force=True)
    with pytest.raises(Conflict, match="SN-1, which does not belong to acme"):
        new = NewTask(os_type="debian", os_version="12", tenant="acme")
        await plane.desk.create(identity, new, by=actor())

    assert (await plane.desk.find(identity)).report.mac_address == OTHER_MAC


async def test_task_without_a_serial_number_takes_any_machine(plane: Plane) -> None:
    task = await waiting_task(plane, sn=None)
    identity = await plane.keep(make_report(sn="SN-9"))

    matched = await plane.desk.match(identity, task.task_id, by=actor())

    assert (matched.mac, matched.sn) == (MAC, "mac-525400000002")


@pytest.mark.parametrize(
    "status", [Status.PENDING_APPROVAL, Status.APPROVED, Status.INSTALLING, Status.COMPLETED]
)
async def test_task_that_a_machine_reported_for_is_never_matched(
    world: World, plane: Plane, status: Status
) -> None:
    task = await world.task_that_is(status)
    identity = await plane.keep(make_report(mac_address=OTHER_MAC))

    with pytest.raises(Conflict, match=status.value):
        await plane.desk.match(identity, task.task_id, by=actor(), force=True)

    assert (await plane.tasks.find(task.task_id)).mac == MAC


async def test_report_of_another_data_center_is_not_matched(plane: Plane) -> None:
    task = await waiting_task(plane)
    identity = await plane.keep(make_report(region="dc2"))

    with pytest.raises(Conflict, match="reported in dc2"):
        await plane.desk.match(identity, task.task_id, by=actor(), force=True)


async def test_mac_of_another_machines_task_is_not_matched(plane: Plane) -> None:
    await plane.tasks.create(make_spec(sn="SN-9"), by=actor())
    task = await waiting_task(plane)
    identity = await plane.keep(make_report(sn=None))

    with pytest.raises(UnfinishedTask, match="SN-9"):
        await plane.desk.match(identity, task.task_id, by=actor(), force=True)


async def test_match_of_what_is_not_there_is_refused(plane: Plane) -> None:
    task = await waiting_task(plane)
    identity = await plane.keep(make_report())

    for wrong in ("dc1-20260102T030405.000000Z-525400000099", "x", "../../os", ""):
        with pytest.raises(NotFound):
            await plane.desk.match(wrong, task.task_id, by=actor())
    with pytest.raises(NotFound):
        await plane.desk.match(identity, "nothing", by=actor())
    with pytest.raises(NotFound):
        await plane.desk.match(identity, task.task_id, by=actor("x", tenant="other"))


async def test_match_keeps_what_a_newer_version_wrote_into_the_task(plane: Plane) -> None:
    task = await waiting_task(plane)
    identity = await plane.keep(make_report())
    await write_as_newer(plane.store, keys.task("dc1", task.sn))

    assert (await plane.desk.match(identity, task.task_id, by=actor())).mac == MAC

    assert await is_kept(plane.store, keys.task("dc1", task.sn))


async def test_match_whose_answer_was_lost_is_done_once(world: World, plane: Plane) -> None:
    task = await waiting_task(plane)
    identity = await plane.keep(make_report())
    world.store.lose_answers = 1

    matched = await plane.desk.match(identity, task.task_id, by=actor())

    assert matched.mac == MAC
    assert len([each for each in await plane.events() if each.action == "task.matched"]) == 1


async def test_match_that_meets_a_dismissal_changes_nothing(world: World, plane: Plane) -> None:
    task = await waiting_task(plane)
    identity = await plane.keep(make_report())
    world.store.before_txn.append(lambda: plane.desk.dismiss(identity, by=actor()))

    with pytest.raises(NotFound):
        await plane.desk.match(identity, task.task_id, by=actor())

    assert (await plane.tasks.find(task.task_id)).mac == OTHER_MAC


async def test_task_is_created_from_a_report_which_is_then_gone(plane: Plane) -> None:
    identity = await plane.keep(make_report())
    new = NewTask(os_type="debian", os_version="12", hostname="web-1", tenant="acme")
    new = msgspec.structs.replace(new, disk_layout="raid1")

    created = await plane.desk.create(identity, new, by=actor("olga"))

    task = created.task
    assert [each.field for each in created.warnings] == ["root_disk"]  # it has one disk
    assert (task.idc, task.sn, task.mac) == ("dc1", "SN-1", MAC)
    assert (task.hostname, task.tenant, task.created_by) == ("web-1", "acme", "olga")
    assert plane.fleet.unmatched() == []


async def test_creation_that_is_refused_leaves_the_report(plane: Plane) -> None:
    identity = await plane.keep(make_report())

    with pytest.raises(InvalidInput, match="does not offer"):
        await plane.desk.create(identity, NewTask(os_type="debian", os_version="99"), by=actor())

    assert (await plane.desk.find(identity)).report == make_report()


async def test_report_is_used_once(world: World, plane: Plane) -> None:
    identity = await plane.keep(make_report())
    new = NewTask(os_type="debian", os_version="12")
    world.store.before_txn += [keep_order, lambda: plane.desk.dismiss(identity, by=actor())]

    with pytest.raises((CasConflict, NotFound)):
        await plane.desk.create(identity, new, by=actor())

    assert await plane.store.get(keys.task("dc1", "SN-1")) is None


async def keep_order() -> None:
    """Lets the transaction that only reads pass."""


async def test_dismissed_report_is_told_and_gone(plane: Plane) -> None:
    identity = await plane.keep(make_report())
    found = await plane.desk.find(identity)
    with pytest.raises(CasConflict):
        await plane.desk.dismiss(identity, by=actor(), at_revision=found.revision + 1)

    await plane.desk.dismiss(identity, by=actor("olga"), at_revision=found.revision)

    (event,) = await plane.events()
    assert (event.action, event.actor.name) == ("unmatched-report.dismissed", "olga")
    assert event.before == {"idc": "dc1", "mac": MAC, "sn": "SN-1"}
    with pytest.raises(NotFound):
        await plane.desk.dismiss(identity, by=actor())


async def test_machine_that_goes_on_reporting_comes_back_after_a_dismissal(
    world: World, plane: Plane
) -> None:
    region = UnmatchedReports(world.store, world.clock, "dc1")
    await region.keep(MAC, "SN-1", make_inventory())
    await world.synced()
    (before,) = world.fleet.unmatched()
    await plane.desk.dismiss(f"dc1-{before.rest}", by=actor())

    await region.keep(MAC, "SN-1", make_inventory())
    await world.synced()

    (after,) = world.fleet.unmatched()
    assert after.rest > before.rest


async def test_unchanged_report_is_written_again_only_after_a_while(world: World) -> None:
    region = UnmatchedReports(world.store, world.clock, "dc1")
    await region.keep(MAC, "SN-1", make_inventory())
    await world.synced()
    (first,) = world.fleet.unmatched()

    await region.keep(MAC, "SN-1", make_inventory())
    await world.synced()
    assert world.fleet.unmatched() == [first]
    world.now += REFRESH
    await region.keep(MAC, "SN-1", make_inventory())
    await world.synced()

    (refreshed,) = world.fleet.unmatched()
    assert (refreshed.rest, refreshed.revision > first.revision) == (first.rest, True)


def make_index(count: int) -> UnmatchedIndex:
    index = UnmatchedIndex(Duplicates())
    for number in range(count):
        report = make_report(
            sn=f"SN-{number}",
            hardware=make_inventory(product=Product(vendor="Dell Inc.", name=f"R{number % 3}")),
        )
        idc = f"dc{number % 2}"
        index.put(row_of_report(idc, f"{number:04d}", report, number + 1))
    return index


def test_index_lists_the_newest_first_with_exact_totals() -> None:
    index = make_index(10)

    page, total = index.page(UnmatchedQuery(limit=3, offset=1))

    assert ([row.rest for row in page], total) == (["0008", "0007", "0006"], 10)
    page, total = index.page(UnmatchedQuery(idc="dc1", limit=2))
    assert ([row.rest for row in page], total) == (["0009", "0007"], 5)


@pytest.mark.parametrize(
    ("text", "total"), [("sn-1", 1), ("DELL", 10), ("r0", 4), ("525400000001", 10), ("none", 0)]
)
def test_index_finds_reports_by_their_words(text: str, total: int) -> None:
    assert make_index(10).page(UnmatchedQuery(text=text))[1] == total


def test_index_counts_and_forgets_by_data_center() -> None:
    index = make_index(5)
    index.remove("dc0", "0000")
    index.remove("dc0", "0000")

    assert index.counts() == {"dc0": 2, "dc1": 2}
    assert (index.count("dc0"), index.count(), index.count("dc9")) == (2, 4, 0)
    assert index.get("dc0", "0000") is None
    assert [row.rest for row in index.rows()] == ["0001", "0002", "0003", "0004"]
