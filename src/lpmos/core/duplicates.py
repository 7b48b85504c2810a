"""Which machines are known by the same name: a serial number, a UUID, or a MAC of more than one.

Machines and reports without a task of all regions stand here under each of their names. A change of
one costs as much as it has names, however many share them. Users of a tenant see only their own
machines: what others have, and that there are others, is in no scope of theirs.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Literal

import msgspec

Field = Literal["serial", "uuid", "mac"]
Mark = tuple[Field, str]
SHOWN_LIMIT = 100
Member = str | tuple[str, str]
"""A machine as `IDC/SN`, a report as its data center and the last part of its key."""


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """Another machine, or the report of one without a task, that has the same `field`."""

    idc: str
    sn: str | None = None
    unmatched: str | None = None
    field: Field
    value: str


class Duplicates:
    """Who has which names."""

    def __init__(self) -> None:
        self._scopes: dict[str | None, _Scope] = {None: _Scope()}

    def add(self, member: Member, marks: Collection[Mark], tenant: str | None) -> None:
        """Take in a machine or report that is not here, and whose it is."""
        self._scopes[None].add(member, marks)
        if tenant is not None:
            self._scopes.setdefault(tenant, _Scope()).add(member, marks)

    def remove(self, member: Member, marks: Collection[Mark], tenant: str | None) -> None:
        """Forget one that was added with the same words."""
        self._scopes[None].remove(member, marks)
        scope = self._scopes.get(tenant) if tenant is not None else None
        if scope is not None:  # one without any name may have been the last of its tenant's
            scope.remove(member, marks)
            if scope.is_empty:
                del self._scopes[tenant]

    def of(self, member: Member, tenant: str | None) -> list[Duplicate]:
        """The others that have one of its names, in a fixed order; of many, `SHOWN_LIMIT`."""
        scope = self._scopes.get(tenant)
        return scope.of(member) if scope else []

    def members(self, tenant: str | None) -> Collection[Member]:
        """All that share a name with another."""
        scope = self._scopes.get(tenant)
        return scope.shared.keys() if scope else ()

    def counts(self, tenant: str | None) -> dict[str, int]:
        """How many machines share a name with another, by data center."""
        scope = self._scopes.get(tenant)
        return {idc: count for idc, count in scope.counts.items() if count} if scope else {}


def marks(serial: str | None, uuid: str | None, macs: Iterable[str]) -> list[Mark]:
    """The names of one machine, each once."""
    found: list[Mark] = [("mac", mac) for mac in dict.fromkeys(macs)]
    if serial is not None:
        found.append(("serial", serial))
    if uuid is not None:
        found.append(("uuid", uuid))
    return found


class _Scope:
    """Those that one tenant's users see, or all.

    A name that one has stands with that one alone; only where more have it is there a set, and
    `shared` tells of each of them by which names.
    """

    def __init__(self) -> None:
        self._one: dict[Field, dict[str, Member]] = {"serial": {}, "uuid": {}, "mac": {}}
        self._many: dict[Mark, set[Member]] = {}
        self.shared: dict[Member, set[Mark]] = {}
        self.counts: Counter[str] = Counter()

    @property
    def is_empty(self) -> bool:
        """Whether nobody has any name."""
        return not self._many and not any(self._one.values())

    def add(self, member: Member, marks: Iterable[Mark]) -> None:
        """Give a member its names."""
        for mark in marks:
            field, value = mark
            if mark in self._many:
                self._many[mark].add(member)
            elif (first := self._one[field].pop(value, None)) is not None:
                self._many[mark] = {first, member}
                self._share(first, mark)
            else:
                self._one[field][value] = member
                continue
            self._share(member, mark)

    def remove(self, member: Member, marks: Iterable[Mark]) -> None:
        """Take a member's names from it."""
        for mark in marks:
            field, value = mark
            if mark not in self._many:
                del self._one[field][value]
                continue
            members = self._many[mark]
            members.discard(member)
            self._unshare(member, mark)
            if len(members) == 1:
                (last,) = self._many.pop(mark)
                self._one[field][value] = last
                self._unshare(last, mark)

    def of(self, member: Member) -> list[Duplicate]:
        """See `Duplicates.of`."""
        others = (
            (other, mark)
            for mark in sorted(self.shared.get(member, ()))
            for other in self._many[mark]
            if other != member
        )
        found = [_duplicate(other, mark) for other, mark in islice(others, SHOWN_LIMIT)]
        found.sort(key=lambda each: (each.field, each.value, each.idc, each.sn or ""))
        return found

    def _share(self, member: Member, mark: Mark) -> None:
        if member not in self.shared:
            self.shared[member] = set()
            if isinstance(member, str):
                self.counts[_idc(member)] += 1
        self.shared[member].add(mark)

    def _unshare(self, member: Member, mark: Mark) -> None:
        marks = self.shared[member]
        marks.discard(mark)
        if not marks:
            del self.shared[member]
            if isinstance(member, str):
                self.counts[_idc(member)] -= 1


def _idc(machine: str) -> str:
    return machine.partition("/")[0]


def _duplicate(member: Member, mark: Mark) -> Duplicate:
    field, value = mark
    if isinstance(member, str):
        idc, _, sn = member.partition("/")
        return Duplicate(idc=idc, sn=sn, field=field, value=value)
    idc, rest = member
    return Duplicate(idc=idc, unmatched=f"{idc}-{rest}", field=field, value=value)
