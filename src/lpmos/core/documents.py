"""Documents of the control plane's own: users, rules, webhooks and the like, each kind alike.

A collection is read from memory. What it does not know it asks the store for before it says that
there is none: another control plane may have made it a moment ago (F7). A change is compared with
the revision that it is made on, tells of itself in the same transaction (`lpmos.core.journal`), and
is answered when this control plane's own memory shows it.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.journal import told
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, NotFound
from lpmos.store import records
from lpmos.store.api import KV, CasConflict, Compare, Delete, Operation, Put, Store
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

ATTEMPTS = 10
VISIBLE_TIMEOUT_S = 2.0


class Document(Protocol):
    """What a collection needs of its documents beyond being a struct of the model."""

    def audited(self) -> dict[str, Any]:
        """The fields as the audit log may have them: plain, and without anything secret."""
        ...

    @property
    def tenant(self) -> str | None:
        """Whom it belongs to; None is the provider."""
        ...


T = TypeVar("T", bound=Document)
Change = Callable[[T], T]


class Held(msgspec.Struct, Generic[T], frozen=True):
    """A document under its name, and the revision of the store that it was read at."""

    name: str
    document: T
    revision: int


class Documents(Generic[T]):
    """One collection: the documents of one type under one prefix."""

    def __init__(
        self, store: Store, mirror: Mirror, clock: Clock, *, prefix: str, kind: type[T], noun: str
    ) -> None:
        """Names are the keys without `prefix`; `noun` is what errors and the audit call one."""
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._prefix = prefix
        self._kind = kind
        self._noun = noun
        self._held: dict[str, Held[T]] = {}
        self._listeners: list[Callable[[str, Held[T] | None], None]] = []
        mirror.subscribe(self._apply)

    def get(self, name: str) -> Held[T] | None:
        """The document as this control plane knows it."""
        return self._held.get(name)

    def all(self) -> Iterator[Held[T]]:
        """Every document, by name."""
        return iter([self._held[name] for name in sorted(self._held)])

    def __len__(self) -> int:
        return len(self._held)

    def subscribe(self, listener: Callable[[str, Held[T] | None], None]) -> Callable[[], None]:
        """Call `listener(name, after)` for every change; the result unsubscribes."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def read(self, name: str) -> Held[T]:
        """The document, from the store where memory has none.

        Raises:
            NotFound: there is none.
        """
        held = self._held.get(name)
        if held is None:
            kv = await self._store.get(self._prefix + name)
            if kv is None:
                raise NotFound(f"there is no {self._noun} {name[:64]}")
            held = self._decoded(kv)
        return held

    async def fresh(self, name: str) -> Held[T] | None:
        """The document as the store has it now, whatever memory shows."""
        kv = await self._store.get(self._prefix + name)
        return None if kv is None else self._decoded(kv)

    async def create(
        self,
        name: str,
        document: T,
        *,
        by: Actor,
        verb: str = "created",
        also: Sequence[Operation] = (),
    ) -> Held[T]:
        """Store a new document.

        Args:
            name: its name.
            document: what it is.
            by: who makes it.
            verb: what the audit calls it.
            also: operations of the same transaction.

        Raises:
            Conflict: there is one of this name.
        """
        key = self._prefix + name
        value = records.encode(document)  # type: ignore[arg-type]
        event = told(
            f"{self._noun}.{verb}",
            f"{self._noun}/{name}",
            by,
            self._clock(),
            tenant=document.tenant,
            after=document.audited(),
        )
        done = await self._store.txn([Compare(key, "mod", "=", 0)], [Put(key, value), event, *also])
        if not done.succeeded:
            raise Conflict(f"there is a {self._noun} {name[:64]} already")
        await self._visible(done.revision)
        return Held(name, document, done.revision)

    async def change(
        self,
        name: str,
        change: Change[T],
        *,
        by: Actor,
        at_revision: int | None = None,
        verb: str = "changed",
        also: Sequence[Operation] = (),
        only_if: Sequence[Compare] = (),
    ) -> Held[T]:
        """Apply `change` to what the store has now; the same value back writes nothing.

        Args:
            name: which document.
            change: a pure function; it is called again where a race was lost.
            by: who changes it.
            at_revision: the only revision that may be changed; None: any.
            verb: what the audit calls the change; an empty one writes no event (use it for what
                is not a person's doing, as a counter).
            also: operations of the same transaction.
            only_if: what else must hold in the store; where it is given there is only one try.

        Raises:
            NotFound: there is none.
            CasConflict: it is not at `at_revision`, or `only_if` does not hold.
        """
        key = self._prefix + name
        for _ in range(1 if only_if else ATTEMPTS):
            kv = await self._store.get(key)
            if kv is None:
                raise NotFound(f"there is no {self._noun} {name[:64]}")
            self._check(kv, at_revision)
            before = self._decoded(kv)
            after = change(before.document)
            if after is before.document:
                return before
            value = records.encode(after, kv.value)  # type: ignore[arg-type]
            operations: list[Operation] = [Put(key, value), *also]
            if verb:
                operations.append(self._told(verb, name, before.document, after, by))
            compare = [Compare(key, "mod", "=", kv.mod_revision), *only_if]
            done = await self._store.txn(compare, operations)
            if done.succeeded:
                await self._visible(done.revision)
                return Held(name, after, done.revision)
        raise CasConflict(f"the {self._noun} {name[:64]} is being changed by others; try again")

    async def delete(
        self,
        name: str,
        *,
        by: Actor,
        at_revision: int | None = None,
        verb: str = "deleted",
        also: Sequence[Operation] = (),
        only_if: Sequence[Compare] = (),
    ) -> T:
        """Delete a document; what it was. The arguments are as those of `change`.

        Raises:
            NotFound: there is none.
            CasConflict: it is not at `at_revision`, was changed meanwhile, or `only_if` does not
                hold.
        """
        key = self._prefix + name
        kv = await self._store.get(key)
        if kv is None:
            raise NotFound(f"there is no {self._noun} {name[:64]}")
        self._check(kv, at_revision)
        document = self._decoded(kv).document
        event = told(
            f"{self._noun}.{verb}",
            f"{self._noun}/{name}",
            by,
            self._clock(),
            tenant=document.tenant,
            before=document.audited(),
        )
        compare = [Compare(key, "mod", "=", kv.mod_revision), *only_if]
        done = await self._store.txn(compare, [Delete(key), event, *also])
        if not done.succeeded:
            raise CasConflict(f"the {self._noun} {name[:64]} has changed meanwhile")
        await self._visible(done.revision)
        return document

    def _told(self, verb: str, name: str, before: T, after: T, by: Actor) -> Put:
        """The word of a change; of a move to another tenant the provider alone reads."""
        return told(
            f"{self._noun}.{verb}",
            f"{self._noun}/{name}",
            by,
            self._clock(),
            tenant=after.tenant if after.tenant == before.tenant else None,
            before=before.audited(),
            after=after.audited(),
        )

    def _check(self, kv: KV, at_revision: int | None) -> None:
        if at_revision is not None and kv.mod_revision != at_revision:
            raise CasConflict(f"it is at revision {kv.mod_revision}, not at {at_revision}")

    async def _visible(self, revision: int) -> None:
        """Wait until memory shows what was just written; it is stored in any case."""
        try:
            async with asyncio.timeout(VISIBLE_TIMEOUT_S):
                await self._mirror.wait_for(revision)
        except TimeoutError:
            log.warning("a stored change is not visible yet", revision=revision)

    def _decoded(self, kv: KV) -> Held[T]:
        name = kv.key.removeprefix(self._prefix)
        return Held(name, records.decode(kv, self._kind), kv.mod_revision)

    def _apply(self, key: str, before: KV | None, after: KV | None) -> None:
        if not key.startswith(self._prefix):
            return
        name = key.removeprefix(self._prefix)
        self._held.pop(name, None)
        held: Held[T] | None = None
        if after is not None:
            try:
                held = self._held[name] = self._decoded(after)
            except records.DamagedRecord as error:
                log.warning("left out a damaged record", key=key, error=str(error))
        for listener in tuple(self._listeners):
            listener(name, held)
