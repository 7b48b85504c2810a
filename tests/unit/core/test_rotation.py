"""Rotation of the master keys: every value is wrapped anew, whatever comes between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lpmos.core.secrets.box import SealedFields, context, key_id
from lpmos.core.secrets.rotation import CALL_BUDGET, FAILED_NAMED, SecretKeys
from lpmos.model.audit import AuditEvent
from lpmos.model.errors import Conflict, NotFound, UnknownKey
from lpmos.store import keys
from lpmos.store.api import CasConflict
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor
from tests.support.polling import until
from tests.support.secret_keys import KEY_ID, KeptKeys

TIMEOUT_S = 30
PREFIX = keys.control("things")
PLACES = (SealedFields(PREFIX, ("url", "secret")),)
ADMIN = actor()


class Plant:
    """A control plane's keys over one store, and documents with sealed fields."""

    def __init__(self, store: SqliteStore, provider: KeptKeys) -> None:
        self.store = store
        self.provider = provider
        self.mirror = Mirror(store, keys.ROOT)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.tick = timedelta(0)
        self.keys = SecretKeys(
            store, self.mirror, self.clock, provider=provider, ring=provider.ring, places=PLACES
        )

    def clock(self) -> datetime:
        """The time, which goes on by `tick` each time that it is read."""
        self.now += self.tick
        return self.now

    async def put(self, name: str) -> None:
        """Store a document with two sealed fields and others."""
        key = PREFIX + name
        sealed = {
            field: self.keys.box.seal(f"{field} of {name}", context(key, field))
            for field in ("url", "secret")
        }
        document = {**sealed, "title": "plain", "extra": [1, {"a": None}]}
        await self.store.put(key, msgspec.json.encode(document))

    async def texts(self) -> dict[str, tuple[str, str]]:
        """Of each sealed value its key's id and what it opens to."""
        found = {}
        for kv in (await self.store.range(PREFIX)).kvs:
            document = msgspec.json.decode(kv.value)
            assert document["title"] == "plain"
            assert document["extra"] == [1, {"a": None}]
            for field in ("url", "secret"):
                place = context(kv.key, field)
                found[place] = (
                    key_id(document[field]),
                    self.keys.box.open(document[field], place),
                )
        return found

    async def events(self) -> list[AuditEvent]:
        """What was told so far, in order."""
        kvs = (await self.store.range(keys.EVENTS)).kvs
        told = sorted(kvs, key=lambda kv: kv.mod_revision)
        return [msgspec.json.decode(kv.value, type=AuditEvent) for kv in told]


@asynccontextmanager
async def running_plant(store: SqliteStore, provider: KeptKeys) -> AsyncIterator[Plant]:
    """A control plane's keys with its mirror and service running."""
    plant = Plant(store, provider)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(plant.mirror.run()), group.create_task(plant.keys.run())]
        async with asyncio.timeout(TIMEOUT_S):
            await plant.mirror.wait_ready()
        yield plant
        for task in tasks:
            task.cancel()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A new embedded store."""
    store = await SqliteStore.open(tmp_path / "store.db")
    yield store
    await store.close()


@pytest.fixture
async def plant(store: SqliteStore) -> AsyncIterator[Plant]:
    """One control plane's keys over it."""
    async with running_plant(store, KeptKeys()) as plant:
        yield plant


async def _current(plant: Plant, name: str) -> None:
    """Wait until a control plane seals with a key and has it."""

    async def known() -> bool:
        box = plant.keys.box
        return box.current == name and name in box.ring.key_ids

    await until(known, TIMEOUT_S)


async def test_rotation_makes_a_key_and_wraps_every_value_with_it(plant: Plant) -> None:
    for number in range(3):
        await plant.put(f"t{number}")
    before = await plant.texts()
    progress = await plant.keys.rotate(ADMIN)
    after = await plant.texts()
    new = progress.rotation.key_id
    assert (progress.rewrapped_now, progress.rotation.rewrapped) == (6, 6)
    assert progress.rotation.finished_at is not None
    assert plant.provider.ring.key_ids == (KEY_ID, new)
    assert {name for name, _ in before.values()} == {KEY_ID}
    assert after == {place: (new, text) for place, (_, text) in before.items()}


async def test_rotation_is_told_at_its_start_and_end_without_a_key(plant: Plant) -> None:
    await plant.put("t")
    new = (await plant.keys.rotate(ADMIN)).rotation.key_id
    events = await plant.events()
    assert [event.action for event in events] == ["secrets.created", "secrets.rotated"]
    assert all(event.actor == ADMIN for event in events)
    assert events[-1].after is not None
    assert events[-1].after["rewrapped"] == 2
    assert events[0].after is not None
    assert events[0].after["key_id"] == new


async def test_values_that_come_after_a_rotation_have_the_new_key(plant: Plant) -> None:
    new = (await plant.keys.rotate(ADMIN)).rotation.key_id
    await plant.put("t")
    assert {name for name, _ in (await plant.texts()).values()} == {new}


async def test_rotation_goes_to_a_newer_key_that_is_there_already(plant: Plant) -> None:
    await plant.put("t")
    await plant.provider.add("copied", b"c" * 32)
    await plant.keys.reread()
    assert plant.keys.box.current == KEY_ID
    assert (await plant.keys.rotate(ADMIN)).rotation.key_id == "copied"
    assert plant.provider.ring.key_ids == (KEY_ID, "copied")


async def test_rotation_that_ran_out_of_time_is_gone_on_with(plant: Plant) -> None:
    for number in range(5):
        await plant.put(f"t{number}")
    plant.tick = CALL_BUDGET / 3
    steps = []
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            progress = await plant.keys.rotate(ADMIN)
            steps.append(progress.rewrapped_now)
            if progress.rotation.finished_at:
                break
    assert len(steps) > 1
    assert sum(steps) == progress.rotation.rewrapped == 10
    assert len(plant.provider.ring.key_ids) == 2
    assert {name for name, _ in (await plant.texts()).values()} == {progress.rotation.key_id}
    actions = [event.action for event in await plant.events()]
    assert actions == ["secrets.created", "secrets.rotated"]


async def test_second_rotation_begins_anew_and_old_keys_can_go(plant: Plant) -> None:
    await plant.put("t")
    one = (await plant.keys.rotate(ADMIN)).rotation.key_id
    other = (await plant.keys.rotate(ADMIN)).rotation.key_id
    assert one != other
    uses = {use.key_id: use for use in await plant.keys.uses()}
    assert [(u.values, u.current) for u in uses.values()] == [(0, False), (0, False), (2, True)]
    await plant.keys.remove(KEY_ID, ADMIN)
    assert plant.provider.ring.key_ids == (one, other)
    assert (await plant.events())[-1].action == "secrets.key_removed"


async def test_key_that_is_needed_or_unknown_is_not_removed(plant: Plant) -> None:
    await plant.put("t")
    with pytest.raises(Conflict, match="current key"):
        await plant.keys.remove(KEY_ID, ADMIN)
    with pytest.raises(NotFound, match="no key other"):
        await plant.keys.remove("other", ADMIN)
    new = (await plant.keys.rotate(ADMIN)).rotation.key_id
    plant.keys.box.current = KEY_ID  # a control plane that has not heard yet
    await plant.put("late")
    plant.keys.box.current = new
    with pytest.raises(Conflict, match="2 values are sealed"):
        await plant.keys.remove(KEY_ID, ADMIN)


async def test_value_that_does_not_open_is_named_and_the_rest_is_done(plant: Plant) -> None:
    await plant.put("good")
    await plant.put("moved")
    moved = await plant.store.get(PREFIX + "moved")
    assert moved is not None
    await plant.store.put(PREFIX + "elsewhere", moved.value)
    progress = await plant.keys.rotate(ADMIN)
    assert progress.failed == (PREFIX + "elsewhere",)
    assert (progress.rewrapped_now, progress.rotation.finished_at) == (4, None)
    await plant.store.delete(PREFIX + "elsewhere")
    again = await plant.keys.rotate(ADMIN)
    assert again.rotation.finished_at is not None
    assert again.rotation.key_id == progress.rotation.key_id


async def test_failed_values_that_are_named_are_bounded(plant: Plant) -> None:
    await plant.put("moved")
    moved = await plant.store.get(PREFIX + "moved")
    assert moved is not None
    for number in range(FAILED_NAMED + 5):
        await plant.store.put(f"{PREFIX}x{number}", moved.value)
    assert len((await plant.keys.rotate(ADMIN)).failed) == FAILED_NAMED


async def test_other_control_plane_seals_with_the_new_key_as_soon_as_it_is_named(
    store: SqliteStore, plant: Plant
) -> None:
    async with running_plant(store, plant.provider) as other:
        new = (await plant.keys.rotate(ADMIN)).rotation.key_id
        await _current(other, new)
        await other.put("t")
        assert {name for name, _ in (await plant.texts()).values()} == {new}


async def test_control_plane_with_its_own_file_says_which_key_is_missing(
    store: SqliteStore, plant: Plant
) -> None:
    apart = KeptKeys()
    async with running_plant(store, apart) as other:
        await plant.put("t")
        new = (await plant.keys.rotate(ADMIN)).rotation.key_id
        kv = await store.get(PREFIX + "t")
        assert kv is not None
        sealed, place = msgspec.json.decode(kv.value)["url"], context(kv.key, "url")
        with pytest.raises(UnknownKey, match=new):
            await other.keys.opened(sealed, place)
        await apart.add(new, plant.provider.ring.key(new))
        assert await other.keys.opened(sealed, place) == "url of t"


async def test_two_control_planes_that_rotate_at_once_end_on_one_key(
    store: SqliteStore, plant: Plant
) -> None:
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(running_plant(store, plant.provider))
        for number in range(10):
            await plant.put(f"t{number}")
        await asyncio.gather(
            plant.keys.rotate(ADMIN), other.keys.rotate(ADMIN), return_exceptions=True
        )
        last = await plant.keys.rotate(ADMIN)
        await _current(other, last.rotation.key_id)
        assert last.rotation.finished_at is not None
        assert {name for name, _ in (await plant.texts()).values()} == {last.rotation.key_id}


async def test_document_that_is_changed_meanwhile_keeps_the_change(
    store: SqliteStore, plant: Plant
) -> None:
    for number in range(30):
        await plant.put(f"t{number}")

    async def change() -> None:
        for number in range(30):
            kv = await store.get(f"{PREFIX}t{number}")
            assert kv is not None
            document = {**msgspec.json.decode(kv.value), "changed": True}
            try:
                await store.cas(kv.key, kv.mod_revision, msgspec.json.encode(document))
            except CasConflict:  # the rotation was faster: once more
                await change()
                return

    progress, _ = await asyncio.gather(plant.keys.rotate(ADMIN), change())
    assert progress.rotation.finished_at is not None
    for kv in (await store.range(PREFIX)).kvs:
        assert msgspec.json.decode(kv.value)["changed"] is True
    assert {name for name, _ in (await plant.texts()).values()} == {progress.rotation.key_id}
