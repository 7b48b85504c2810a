"""Which master key is the current one, and the way of every sealed value to it.

One document in the store names the current key, so that all control planes seal with the same one;
each reads its provider again when that document changes, when a key turns out to be missing, and
from time to time. A rotation is a scan over the documents that are known to hold sealed fields;
each is rewritten by compare-and-swap where its key is not the current one. It may end anywhere and
is gone on with by calling it again.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.journal import told
from lpmos.core.secrets.box import SealedFields, SecretBox, context, key_id
from lpmos.core.secrets.keyring import KeyProvider, KeyRing, new_key
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, LpmosError, NotFound, SecretError, UnknownKey
from lpmos.store import keys
from lpmos.store.api import KV, CasConflict, Compare, Put, Store
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

REREAD_S = 60.0
PAUSE_S = 1.0
"""The least time between two readings of the provider."""

CALL_BUDGET = timedelta(seconds=5)
"""How long one call goes on rewrapping before it answers how far it came."""

FAILED_NAMED = 20
ATTEMPTS = 5
NAME = "rotation"


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """The last rotation; its key is the current one from its start on."""

    key_id: str
    started_at: datetime
    finished_at: datetime | None = None
    rewrapped: int = 0

    @property
    def tenant(self) -> str | None:
        """Keys are the provider's."""
        return None

    def audited(self) -> dict[str, Any]:
        """As it is: a key's id tells nothing of the key."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rotation came.

    `failed` names values that could not be opened, `KEY#FIELD`, at most `FAILED_NAMED`; the
    rotation ends only when each was set anew or its key was found.
    """

    rotation: Rotation
    rewrapped_now: int
    failed: tuple[str, ...] = ()


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """One key: how many sealed values need it, and whether this control plane has it."""

    key_id: str
    values: int
    present: bool
    current: bool


class SecretKeys:
    """Keeps the box's ring as its provider has it, and rotates."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        clock: Clock,
        *,
        provider: KeyProvider,
        ring: KeyRing,
        places: Sequence[SealedFields],
        idcs: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`places` are all fields in which sealed text stands, `idcs` gives all data centers."""
        self._store = store
        self._clock = clock
        self._provider = provider
        self._sealed_in = tuple(places)
        self._idcs = idcs
        self.box = SecretBox(ring)
        self._documents = Documents(
            store, mirror, clock, prefix=keys.control("secrets"), kind=Rotation, noun="secrets"
        )
        self._documents.subscribe(self._apply)

    @property
    def source(self) -> str:
        """Where the ring is read."""
        return self.box.ring.source

    async def run(self) -> None:
        """Read the provider again whenever there is a reason to, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(REREAD_S):
                    await self.box.unknown.wait()
            except TimeoutError:
                pass
            try:
                await self.reread()
            except LpmosError as error:
                log.warning("the keys of secrets cannot be read again", reason=str(error))
            await asyncio.sleep(PAUSE_S)

    async def reread(self) -> None:
        """Read the provider now.

        Raises:
            SettingsError: it cannot be read; the ring stays as it was.
        """
        self.box.unknown.clear()
        before = self.box.ring.key_ids
        self.box.ring = await self._provider.read()
        if self.box.ring.key_ids != before:
            log.info("read the keys of secrets", key_ids=self.box.ring.key_ids)

    async def opened(self, sealed: str, place: str) -> str:
        """As the box's `open`, but reads the provider again before it calls a key unknown."""
        try:
            return self.box.open(sealed, place)
        except UnknownKey:
            await self.reread()
            return self.box.open(sealed, place)

    def last(self) -> Rotation | None:
        """The last rotation, under way or finished."""
        held = self._documents.get(NAME)
        return held.document if held else None

    async def uses(self) -> list[KeyUse]:
        """Every key of the ring and every key that a value needs, by age."""
        counts: Counter[str] = Counter()
        async for _, sealed in self._sealed():
            counts.update(map(key_id, sealed.values()))
        ring = self.box.ring
        names = [*ring.key_ids, *sorted(counts.keys() - set(ring.key_ids))]
        return [
            KeyUse(
                key_id=name,
                values=counts[name],
                present=name in ring.key_ids,
                current=name == self.box.current,
            )
            for name in names
        ]

    async def rotate(self, by: Actor) -> Progress:
        """Begin a rotation, or go on with the one that is under way, for `CALL_BUDGET` at most.

        A ring that has a newer key than the current one is rotated to its newest; else a key is
        made in the provider.

        Raises:
            SettingsError: the provider cannot be read or written.
            UnknownKey: the rotation under way is to a key that this control plane has not got.
        """
        await self.reread()
        rotation = await self._begun(by)
        self.box.current = rotation.key_id
        self.box.ring.key(rotation.key_id)
        until = self._clock() + CALL_BUDGET
        rewrapped, failed, whole = 0, [], True
        async for kv, sealed in self._sealed():
            if all(key_id(text) == rotation.key_id for text in sealed.values()):
                continue
            if rewrapped and self._clock() > until:
                whole = False
                break
            try:
                rewrapped += await self._rewrap(kv, sealed)
            except SecretError as error:
                log.warning("a sealed value cannot be rewrapped", key=kv.key, reason=str(error))
                failed.append(kv.key)
        return await self._noted(rotation, by, rewrapped, tuple(failed), whole)

    async def remove(self, name: str, by: Actor) -> None:
        """Take a key away from the provider that no value needs any more.

        Raises:
            NotFound: the ring has no such key.
            Conflict: it is the current one, or values are sealed with it.
        """
        await self.reread()
        uses = {use.key_id: use for use in await self.uses() if use.present}
        if name not in uses:
            raise NotFound(f"there is no key {name[:64]} in {self.source}")
        if uses[name].current:
            raise Conflict(f"{name} is the current key: rotate first")
        if uses[name].values:
            raise Conflict(f"{uses[name].values} values are sealed with {name}: rotate first")
        event = told("secrets.key_removed", f"secrets/{name}", by, self._clock())
        self.box.ring = await self._provider.remove(name)
        await self._store.txn([], [event])

    async def _begun(self, by: Actor) -> Rotation:
        """The rotation to go on with: the one under way, or a new one."""
        try:
            held = await self._documents.read(NAME)
        except NotFound:
            held = None
        if held and held.document.finished_at is None:
            return held.document
        current = held.document.key_id if held else self.box.ring.oldest
        if self.box.ring.newest == current:
            self.box.ring = await self._provider.add(*new_key(self._clock()))
        new = Rotation(key_id=self.box.ring.newest, started_at=self._clock())
        if held is None:
            return (await self._documents.create(NAME, new, by=by)).document

        def begin(last: Rotation) -> Rotation:
            return last if last.finished_at is None else new

        return (await self._documents.change(NAME, begin, by=by, verb="rotating")).document

    async def _noted(
        self, rotation: Rotation, by: Actor, rewrapped: int, failed: tuple[str, ...], whole: bool
    ) -> Progress:
        """Count what was done; a scan to the end that failed nowhere finishes the rotation."""
        finished = whole and not failed

        def note(last: Rotation) -> Rotation:
            if last.key_id != rotation.key_id or last.finished_at is not None:
                return last
            at = self._clock() if finished else None
            return msgspec.structs.replace(
                last, rewrapped=last.rewrapped + rewrapped, finished_at=at
            )

        held = await self._documents.change(NAME, note, by=by, verb="rotated" if finished else "")
        return Progress(
            rotation=held.document, rewrapped_now=rewrapped, failed=failed[:FAILED_NAMED]
        )

    async def _rewrap(self, kv: KV, sealed: dict[str, str]) -> int:
        """Rewrap one document's values; how many. A document that is gone has none."""
        for _ in range(ATTEMPTS):
            after = {
                field: self.box.rewrap(text, context(kv.key, field))
                for field, text in sealed.items()
            }
            changed = sum(after[field] != sealed[field] for field in after)
            if not changed:
                return 0
            value = msgspec.json.encode({**msgspec.json.decode(kv.value), **after})
            done = await self._store.txn(
                [Compare(kv.key, "mod", "=", kv.mod_revision)], [Put(kv.key, value)]
            )
            if done.succeeded:
                return changed
            now = await self._store.get(kv.key)
            if now is None:
                return 0
            kv, sealed = now, self._fields_of(now)
        raise CasConflict(f"{kv.key} is being changed by others; call again")

    async def _sealed(self) -> AsyncIterator[tuple[KV, dict[str, str]]]:
        """Every document that holds sealed values, with these by field."""
        for place in self._places():
            async for page in self._store.list(place.prefix):
                for kv in page.kvs:
                    if sealed := _sealed_fields(kv, place.fields):
                        yield kv, sealed

    def _places(self) -> Iterator[SealedFields]:
        """Every place by the prefix that it has."""
        for place in self._sealed_in:
            if "{idc}" not in place.prefix:
                yield place
                continue
            for idc in self._idcs():
                yield place._replace(prefix=place.prefix.replace("{idc}", idc))

    def _fields_of(self, kv: KV) -> dict[str, str]:
        fields = [
            field
            for place in self._places()
            if kv.key.startswith(place.prefix)
            for field in place.fields
        ]
        return _sealed_fields(kv, fields)

    def _apply(self, name: str, held: Held[Rotation] | None) -> None:
        """Seal with the key that the store names, and read the ring where it has not got it."""
        if name != NAME:
            return
        ring = self.box.ring
        self.box.current = held.document.key_id if held else ring.oldest
        if self.box.current not in ring.key_ids:
            self.box.unknown.set()


def _sealed_fields(kv: KV, fields: Sequence[str]) -> dict[str, str]:
    try:
        document = msgspec.json.decode(kv.value)
    except msgspec.DecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    found = {field: document.get(field) for field in fields}
    return {field: text for field, text in found.items() if isinstance(text, str) and key_id(text)}
