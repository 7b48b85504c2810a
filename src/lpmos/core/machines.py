"""What people do with machines: read, tag, give to a tenant, reserve an address, forget.

A machine's record (S3) is also written by its region with every report; each change here compares
with what it was made on, and what people set is what reports leave alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from lpmos.core import bmc
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.journal import told
from lpmos.core.tasks import READ_TIMEOUT_S
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import (
    FieldProblem,
    Forbidden,
    InvalidInput,
    NotFound,
    UnfinishedTask,
)
from lpmos.model.machine import TAGS_BYTES, TAGS_LIMIT, Machine, tags_fit
from lpmos.model.region import Heartbeat, outside
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    MAX_TXN_OPERATIONS,
    CasConflict,
    Compare,
    Delete,
    Get,
    Operation,
    Put,
    Store,
    Unavailable,
)

ATTEMPTS = 10
UNSET = msgspec.UNSET


class StoredMachine(msgspec.Struct, frozen=True):
    """A machine and its present task; the revisions are 0 where there is no such document.

    `value` is the machine's document, where it was read from the store.
    A machine has no record before its first report.
    """

    machine: Machine | None
    task: Task | None
    revision: int
    task_revision: int
    value: bytes | None = None

    @property
    def tenant(self) -> str | None:
        """Whose it is; before it ever reported, its task says so."""
        known = self.machine or self.task
        return known.tenant if known else None


class _Claim(NamedTuple):
    """One key that names whose an address is."""

    compare: Compare
    operation: Operation


class Machines:
    """The use cases of machines."""

    def __init__(self, store: Store, fleet: Fleet, clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._clock = clock

    async def read(self, idc: str, sn: str, tenant: str | None = None) -> StoredMachine:
        """A machine as the store has it now; memory answers where the store is away, or slow.

        Raises:
            NotFound: there is none, or it is another tenant's.
            Unavailable: it is not known here, and the store is away.
        """
        found = await self._fresh(idc, sn)
        if found is None:
            places = keys.meta(idc, sn), keys.task(idc, sn)
            found = _read(*(self._fleet.stored(key) for key in places))
            if (found.machine or found.task) is None:
                raise Unavailable("the store is away and this machine is not known here")
        if (found.machine or found.task) is None or not sees(tenant, found.tenant):
            raise _no_machine(idc, sn)
        return found

    async def change(
        self,
        idc: str,
        sn: str,
        *,
        by: Actor,
        tags: Mapping[str, str | None] | None = None,
        tenant: str | msgspec.UnsetType | None = UNSET,
        address: str | msgspec.UnsetType | None = UNSET,
        at_revision: int | None = None,
    ) -> StoredMachine:
        """Set tags, whom a machine belongs to, and the address that DHCP reserves for it.

        Args:
            idc: its data center.
            sn: its serial number.
            by: who changes it.
            tags: tags to be set, or with None to be taken away; the others stay.
            tenant: whose it shall be; None is the provider's.
            address: no other machine of the data center gets it; None: any.
            at_revision: the only revision of the record that may be changed; None: any.

        Raises:
            NotFound: there is none that has reported, or it is another tenant's.
            Forbidden: the actor is a tenant's, and gives it to another or reserves an address.
            InvalidInput: another machine has the address, or the region cannot give it.
            UnfinishedTask: a task of another tenant is under way on it.
            CasConflict: it is not at `at_revision`.
        """
        for _ in range(ATTEMPTS):
            found = await self._present(idc, sn)
            before = found.machine
            if before is None or not sees(by.tenant, before.tenant):
                raise _no_machine(idc, sn)
            _check_revision(sn, found, at_revision)
            after = self._changed(before, found.task, by, tags or {}, tenant)
            after, claims = await self._reserved(before, after, by, address)
            if after is before:
                return found
            event = told(
                "machine.changed",
                f"machine/{idc}/{sn}",
                by,
                after.updated_at,
                tenant=after.tenant if after.tenant == before.tenant else None,
                before=_audited(before),
                after=_audited(after),
            )
            put = Put(keys.meta(idc, sn), records.encode(after, found.value))
            compares = [*_unchanged(idc, sn, found), *(claim.compare for claim in claims)]
            writes = [put, event, *(claim.operation for claim in claims)]
            result = await self._store.txn(compares, writes)
            if result.succeeded:
                return StoredMachine(after, found.task, result.revision, found.task_revision)
        raise CasConflict(f"machine {sn} is being changed by others; try again")

    async def forget(self, idc: str, sn: str, *, by: Actor, at_revision: int | None = None) -> int:
        """Delete all that is known of a machine: record, past tasks, dead letters, BMC credentials.

        The result is the store's revision. If the machine boots again it is an unknown one.

        Raises:
            NotFound: there is none, or it is another tenant's.
            UnfinishedTask: it has a task under way.
            CasConflict: it is not at `at_revision`, or was changed meanwhile.
        """
        found = await self._present(idc, sn)
        if (found.machine or found.task) is None or not sees(by.tenant, found.tenant):
            raise _no_machine(idc, sn)
        _check_revision(sn, found, at_revision)
        if found.task is not None and not found.task.finished:
            raise UnfinishedTask(
                f"machine {sn} has task {found.task.task_id}, which is"
                f" {found.task.status.value}; cancel it first"
            )
        event = told(
            "machine.forgotten",
            f"machine/{idc}/{sn}",
            by,
            self._clock(),
            tenant=found.tenant,
            before=_audited(found.machine) if found.machine else None,
        )
        operations: list[Operation] = [event, *await self._traces(idc, sn, found)]
        compare = _unchanged(idc, sn, found)
        result = await self._store.txn(compare, operations[:MAX_TXN_OPERATIONS])
        if not result.succeeded:
            raise CasConflict(f"machine {sn} has changed meanwhile; try again")
        revision = result.revision
        for at in range(MAX_TXN_OPERATIONS, len(operations), MAX_TXN_OPERATIONS):
            rest = operations[at : at + MAX_TXN_OPERATIONS]
            revision = (await self._store.txn([], rest)).revision
        return revision

    async def _fresh(self, idc: str, sn: str) -> StoredMachine | None:
        """The machine as the store has it; None where the store is away, or slow."""
        if not self._fleet.connected:
            return None
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._present(idc, sn)
        except (Unavailable, TimeoutError):
            return None

    async def _present(self, idc: str, sn: str) -> StoredMachine:
        wanted = Get(keys.meta(idc, sn)), Get(keys.task(idc, sn))
        meta, task = (await self._store.txn([], wanted)).results
        return _read(_first(meta), _first(task))

    def _changed(
        self,
        machine: Machine,
        task: Task | None,
        by: Actor,
        tags: Mapping[str, str | None],
        tenant: str | msgspec.UnsetType | None,
    ) -> Machine:
        merged = {**machine.tags, **tags}
        new_tags = {key: value for key, value in merged.items() if value is not None}
        new_tenant = machine.tenant if tenant is UNSET else tenant
        if new_tenant != machine.tenant:
            if by.tenant is not None:
                raise Forbidden("only the provider gives a machine to a tenant")
            if task and not task.finished and task.tenant != new_tenant:
                raise UnfinishedTask(
                    f"machine {machine.sn} has task {task.task_id} of another tenant, which is"
                    f" {task.status.value}; cancel it first"
                )
        if (new_tags, new_tenant) == (machine.tags, machine.tenant):
            return machine
        if not tags_fit(new_tags):
            text = f"more than {TAGS_LIMIT} tags, or {TAGS_BYTES} bytes of them"
            raise InvalidInput(FieldProblem("tags", text))
        return msgspec.structs.replace(
            machine, tags=new_tags, tenant=new_tenant, updated_at=self._clock()
        )

    async def _reserved(
        self,
        before: Machine,
        changed: Machine,
        by: Actor,
        address: str | msgspec.UnsetType | None,
    ) -> tuple[Machine, list["_Claim"]]:
        """The machine with its reserved address, and what makes the address its own."""
        if address is UNSET or address == before.address:
            return changed, []
        if by.tenant is not None:
            raise Forbidden("only the provider reserves addresses")
        idc, claims = before.idc, []
        if before.address is not None:
            key = keys.reservation(idc, before.address)
            kv = await self._store.get(key)
            if kv is not None and kv.value == before.sn.encode():
                claims.append(_Claim(Compare(key, "mod", "=", kv.mod_revision), Delete(key)))
        if isinstance(address, str):
            await self._check_served(idc, address)
            key = keys.reservation(idc, address)
            kv = await self._store.get(key)
            if kv is not None and kv.value != before.sn.encode():
                text = f"{address} is reserved for machine {kv.value.decode(errors='replace')}"
                raise InvalidInput(FieldProblem("address", text))
            revision = kv.mod_revision if kv else 0
            put = Put(key, before.sn.encode())
            claims.append(_Claim(Compare(key, "mod", "=", revision), put))
        new = address if isinstance(address, str) else None
        return msgspec.structs.replace(changed, address=new, updated_at=self._clock()), claims

    async def _check_served(self, idc: str, address: str) -> None:
        """Refuse an address that the region, as far as it tells of its networks, cannot give."""
        kv = await self._store.get(keys.heartbeat(idc))
        networks = records.decode(kv, Heartbeat).dhcp if kv else ()
        if problem := outside(networks, address):
            raise InvalidInput(FieldProblem("address", problem))

    async def _traces(self, idc: str, sn: str, found: StoredMachine) -> Sequence[Operation]:
        """Deletes of every key that tells of the machine."""
        history = await self._store.range(keys.history_prefix(idc, sn))
        tasks = [records.decode(kv, Task) for kv in history.kvs]
        tasks += [found.task] if found.task else []
        macs = sorted({task.mac for task in tasks})
        doomed = [
            keys.meta(idc, sn),
            keys.task(idc, sn),
            keys.server(idc, sn),
            keys.evidence(idc, sn),
            keys.control(bmc.COLLECTION, f"{idc}/{sn}"),
            *_reservations(found.machine),
            *(kv.key for kv in history.kvs),
            *(keys.task_place(task.task_id) for task in tasks),
            *(keys.dead_letter(idc, task.task_id) for task in tasks),
            *[keys.mac_place(idc, mac) for mac in macs if await self._holds(idc, sn, mac)],
        ]
        return [Delete(key) for key in doomed]

    async def _holds(self, idc: str, sn: str, mac: str) -> bool:
        """Whether the MAC's place names this machine; another may have it by now."""
        kv = await self._store.get(keys.mac_place(idc, mac))
        return kv is not None and records.decode(kv, TaskPlace).sn == sn


def _read(meta: KV | None, task: KV | None) -> StoredMachine:
    return StoredMachine(
        records.decode(meta, Machine) if meta else None,
        records.decode(task, Task) if task else None,
        meta.mod_revision if meta else 0,
        task.mod_revision if task else 0,
        meta.value if meta else None,
    )


def _unchanged(idc: str, sn: str, found: StoredMachine) -> list[Compare]:
    """The record and the task are as they were read."""
    return [
        Compare(keys.meta(idc, sn), "mod", "=", found.revision),
        Compare(keys.task(idc, sn), "mod", "=", found.task_revision),
    ]


def _check_revision(sn: str, found: StoredMachine, at_revision: int | None) -> None:
    if at_revision is not None and found.machine is None:
        raise CasConflict(
            f"machine {sn} has not reported yet, so it has no revision; leave the revision out"
        )
    if at_revision not in (None, found.revision):
        raise CasConflict(f"the machine is at revision {found.revision}, not {at_revision}")


def _audited(machine: Machine) -> dict[str, Any]:
    return {"tags": machine.tags, "tenant": machine.tenant, "address": machine.address}


def _reservations(machine: Machine | None) -> list[str]:
    """The key of a machine's reserved address; a list of none where it has none."""
    if machine is None or machine.address is None:
        return []
    return [keys.reservation(machine.idc, machine.address)]


def _no_machine(idc: str, sn: str) -> NotFound:
    return NotFound(f"there is no machine {sn[:64]} in {idc[:32]}")


def _first(result: int | tuple[KV, ...] | None) -> KV | None:
    return result[0] if isinstance(result, tuple) and result else None
