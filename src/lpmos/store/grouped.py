"""A store that writes what is asked for at the same time together: one transaction for many.

While one group is under way, the transactions that come wait for the next one. The rule: a group is
what its members would be one after the other, in whatever order: none of them looks at or writes a
key that another one writes. Where a group is not taken, each member is tried by itself. In traces
(O2) the wait for a turn is a span, `store.group`, and what is written together is below each.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from lpmos.store.api import (
    Ambiguous,
    Compare,
    Delete,
    InvalidRequest,
    LeaseNotFound,
    Operation,
    PermissionDenied,
    Put,
    Store,
    TxnResult,
    Unavailable,
)
from lpmos.store.delegate import Delegate
from lpmos.store.spans import places, resumed, spanned

GROUP_OPERATIONS = 64
"""Compares, and operations, of one group; the store takes 128 of each (`MAX_TXN_OPERATIONS`)."""
GROUP_BYTES = 512 * 1024


class _Member:
    """One transaction that waits for its answer."""

    def __init__(self, compare: Sequence[Compare], operations: Sequence[Put | Delete]) -> None:
        self.compare = compare
        self.operations = operations
        self.looks_at = frozenset(each.key for each in compare)
        self.writes = frozenset(each.key for each in operations)
        self.size_bytes = sum(len(each.value) for each in operations if isinstance(each, Put))
        self.places = places()
        self.answer: asyncio.Future[TxnResult] = asyncio.get_running_loop().create_future()

    def ends(self, outcome: TxnResult | Exception) -> None:
        """Answer who waits, unless that one has gone."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class _Group:
    """Members that touch nothing of each other's."""

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.compare: dict[Compare, None] = {}
        self.operations: list[Operation] = []
        self._looked_at: set[str] = set()
        self._written: set[str] = set()
        self._size_bytes = 0

    def takes(self, member: _Member) -> bool:
        """Add a member, unless it belongs into another group."""
        if self.members and not self._has_room(member):
            return False
        self.members.append(member)
        self.compare.update(dict.fromkeys(member.compare))
        self.operations += member.operations
        self._looked_at |= member.looks_at
        self._written |= member.writes
        self._size_bytes += member.size_bytes
        return True

    def _has_room(self, member: _Member) -> bool:
        return (
            len(self.compare) + len(member.compare) <= GROUP_OPERATIONS
            and len(self.operations) + len(member.operations) <= GROUP_OPERATIONS
            and self._size_bytes + member.size_bytes <= GROUP_BYTES
            and self._written.isdisjoint(member.looks_at | member.writes)
            and self._looked_at.isdisjoint(member.writes)
        )


class GroupedStore(Delegate):
    """The store; `run` does the writing, without it each transaction goes by itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: deque[_Member] = deque()
        self._arrived = asyncio.Event()
        self._runs = False

    @property
    def inner(self) -> Store:
        """The store behind."""
        return self._store

    async def run(self) -> None:
        """Write until cancelled; who waits then is told to try again."""
        group = _Group()
        self._runs = True
        try:
            while True:
                await self._arrived.wait()
                group = self._next()
                await self._write(group)
        finally:
            self._runs = False
            for member in group.members:  # those that were answered stay so
                member.ends(Ambiguous("the writing was stopped; it may have been done"))
            for member in self._asked:
                member.ends(Unavailable("the writing was stopped; repeat the call"))
            self._asked.clear()

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        """See `Store.txn`."""
        writes = _writes(success)
        if not self._runs or failure or not writes or len(writes) < len(success):
            return await self._store.txn(compare, success, failure)
        with spanned("store.group", {}):
            member = _Member(compare, writes)
            self._asked.append(member)
            self._arrived.set()
            return await member.answer

    def _next(self) -> _Group:
        """The next group; what does not fit into it stays in its order."""
        group, left = _Group(), deque[_Member]()
        while self._asked:
            member = self._asked.popleft()
            if member.answer.done():  # who asked has gone
                continue
            if left or not group.takes(member):
                left.append(member)
        self._asked = left
        if not left:
            self._arrived.clear()
        return group

    async def _write(self, group: _Group) -> None:
        """Write it, or where it is not taken as it is, each member by itself."""
        if len(group.members) == 1:
            await self._write_alone(group.members[0])
            return
        try:
            with resumed(tuple(place for member in group.members for place in member.places)):
                result = await self._store.txn(tuple(group.compare), group.operations)
        except (PermissionDenied, InvalidRequest, LeaseNotFound):  # of one of them
            result = None
        except Exception as error:  # noqa: BLE001 - the group's boundary: its callers get it
            for member in group.members:
                member.ends(error)
            return
        if result is None or not result.succeeded:
            await asyncio.gather(*map(self._write_alone, group.members))
            return
        results = iter(result.results)
        for member in group.members:
            own = tuple(next(results) for _ in member.operations)
            member.ends(TxnResult(True, result.revision, own))

    async def _write_alone(self, member: _Member) -> None:
        try:
            with resumed(member.places):
                member.ends(await self._store.txn(member.compare, member.operations))
        except Exception as error:  # noqa: BLE001 - the member's boundary: its caller gets it
            member.ends(error)


def _writes(operations: Sequence[Operation]) -> list[Put | Delete]:
    """Those that write one key."""
    writes = (each for each in operations if isinstance(each, Put | Delete))
    return [each for each in writes if isinstance(each, Put) or not each.prefix]
