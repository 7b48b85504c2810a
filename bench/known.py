"""Machines that a store knows: as many as are asked for, with whole inventories and their tasks."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence

import msgspec

from lpmos.agent.options import Options
from lpmos.agent.simulation import SimulatedMachine
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import Put, Store
from tests.support.builders import make_capabilities, make_task

IDC = "dc1"
STATUSES = (Status.PENDING_APPROVAL, Status.INSTALLING, Status.COMPLETED, Status.FAILED)
TOGETHER = 40
WRITERS = 8


def sn(number: int) -> str:
    """The serial number of the n-th machine."""
    return f"SN-{number:06d}"


def mac(number: int) -> str:
    """Its MAC."""
    return f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def task_id(number: int) -> str:
    """The id of its task."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, sn(number)))


def inventory(number: int) -> Inventory:
    """What its agent reports."""
    options = Options("", sn=sn(number), mac=mac(number), simulate=True)
    return msgspec.convert(SimulatedMachine(options).inventory(), Inventory)


def documents(number: int, statuses: Sequence[Status] = STATUSES) -> tuple[Task, Machine]:
    """Its task, after its report, and itself."""
    found = inventory(number)
    task = make_task(
        task_id=task_id(number),
        sn=sn(number),
        mac=mac(number),
        hostname=sn(number).lower(),
        tags={"rack": f"r{number % 40}", "owner": "platform"},
        status=statuses[number % len(statuses)],
        hardware=found,
        plan=plan_disk(found, "auto", RootDiskHints(overwrite=True), GIB),
        logs=tuple(f"2026-01-02T03:04:{n:02d}.000Z [INFO] a line of the log" for n in range(20)),
    )
    machine = Machine(
        idc=IDC,
        sn=sn(number),
        macs=(mac(number),),
        inventory=found,
        first_seen_at=task.created_at,
        updated_at=task.created_at,
    )
    return task, machine


def puts(numbers: Iterable[int], statuses: Sequence[Status] = STATUSES) -> list[Put]:
    """What the store has of these machines."""
    operations = []
    for number in numbers:
        task, machine = documents(number, statuses)
        place = TaskPlace(idc=IDC, sn=task.sn)
        operations += [
            Put(keys.task(IDC, task.sn), records.encode(task)),
            Put(keys.meta(IDC, task.sn), records.encode(machine)),
            Put(keys.task_place(task.task_id), records.encode(place)),
        ]
    return operations


async def fill(store: Store, machines: int, statuses: Sequence[Status] = STATUSES) -> None:
    """Put so many machines into the store, and what their region can install."""
    await store.put(keys.capabilities(IDC), records.encode(make_capabilities()))
    firsts = iter(range(0, machines, TOGETHER))

    async def write() -> None:
        for first in firsts:
            await store.txn([], puts(range(first, min(machines, first + TOGETHER)), statuses))

    await asyncio.gather(*(write() for _ in range(WRITERS)))
