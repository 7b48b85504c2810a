"""How the management controller of a machine is reached: its address, and credentials sealed.

The document stands apart from the machine's own, so that who reads machines never holds it; whom it
belongs to is always what the machine says.
"""

import ipaddress
from datetime import datetime
from typing import Any

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.secrets.box import SealedFields, context
from lpmos.core.secrets.rotation import SecretKeys
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, NotFound
from lpmos.model.machine import Machine, parse_hostname, parse_idc, parse_sn
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror

COLLECTION = "bmc"
PASSWORD = "password"  # noqa: S105 - the name of a field
SEALED = SealedFields(keys.control(COLLECTION), (PASSWORD,))


class BmcCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """One controller; `password` is sealed text."""

    address: str
    username: str
    password: str
    password_set_at: datetime
    tenant: str | None = None

    def audited(self) -> dict[str, Any]:
        """All but the password; when it was set tells that it changed."""
        return {
            "address": self.address,
            "username": self.username,
            "password_set_at": self.password_set_at.isoformat(),
        }


class Bmcs:
    """The controllers of all machines, each under `IDC/SN`."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock, secrets: SecretKeys) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._documents = Documents(
            store,
            mirror,
            clock,
            prefix=keys.control(COLLECTION),
            kind=BmcCredentials,
            noun="bmc",
        )

    async def read(self, idc: str, sn: str, tenant: str | None) -> Held[BmcCredentials]:
        """The controller of a machine that users of `tenant` see.

        Raises:
            NotFound: there is no such machine for them, or nothing was set for it.
        """
        await self._machine(idc, sn, tenant)
        return await self._documents.read(_name(idc, sn))

    async def put(
        self,
        idc: str,
        sn: str,
        *,
        address: str,
        username: str,
        password: str,
        by: Actor,
        at_revision: int | None = None,
    ) -> Held[BmcCredentials]:
        """Set or replace the controller of a machine.

        Raises:
            NotFound: the machine does not exist, or belongs to a tenant that is not the actor's.
            CasConflict: what is there is not at `at_revision`.
        """
        machine = await self._machine(idc, sn, by.tenant)
        name = _name(idc, sn)
        new = BmcCredentials(
            address=address,
            username=username,
            password=self._secrets.box.seal(password, context(_key(idc, sn), PASSWORD)),
            password_set_at=self._clock(),
            tenant=machine.tenant,
        )

        def replace(_: BmcCredentials) -> BmcCredentials:
            return new

        try:
            return await self._documents.change(name, replace, by=by, at_revision=at_revision)
        except NotFound:
            if at_revision is not None:
                raise
        try:
            return await self._documents.create(name, new, by=by)
        except Conflict:  # another made it since
            return await self._documents.change(name, replace, by=by)

    async def delete(self, idc: str, sn: str, *, by: Actor, at_revision: int | None = None) -> None:
        """Forget the controller of a machine; raises as `put`."""
        await self._machine(idc, sn, by.tenant)
        await self._documents.delete(_name(idc, sn), by=by, at_revision=at_revision)

    async def password(self, idc: str, sn: str) -> str:
        """The password itself, for whoever speaks with the controller; raises as `read`."""
        held = await self._documents.read(_name(idc, sn))
        place = context(_key(idc, sn), PASSWORD)
        return await self._secrets.opened(held.document.password, place)

    async def _machine(self, idc: str, sn: str, tenant: str | None) -> Machine:
        kv = await self._store.get(keys.meta(parse_idc(idc), parse_sn(sn)))
        machine = records.decode(kv, Machine) if kv else None
        if machine is None or not sees(tenant, machine.tenant):
            raise NotFound(f"there is no machine {sn} in {idc}")
        return machine


def parse_address(text: str, field: str = "address") -> str:
    """A controller's address: IPv4, IPv6 or a host name, without scheme and port.

    Raises:
        InvalidInput: anything else.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        name = parse_hostname(text, field)
    except InvalidInput:
        name = ""
    if not name or name.replace(".", "").isdecimal():
        # What was given is not said again: people paste URLs with passwords here.
        problem = "give an IP address or a host name, without scheme, user and port"
        raise InvalidInput(FieldProblem(field, problem))
    return name


def _name(idc: str, sn: str) -> str:
    return f"{idc}/{sn}"


def _key(idc: str, sn: str) -> str:
    return keys.control(COLLECTION, _name(idc, sn))
