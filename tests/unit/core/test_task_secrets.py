"""What is secret of a task: sealed in the transaction that makes it, gone when it is completed."""

import msgspec
import pytest

from lpmos.core.secrets.box import SecretBox
from lpmos.core.secrets.keyring import KeyRing, KeysAway
from lpmos.core.tasks import Tasks
from lpmos.core.tasksecrets import NoSecrets, SealedPart, TaskSecretReader, no_ring
from lpmos.model.errors import DamagedSecret, SettingsError, UnknownKey
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask, TaskSpec
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.setup import NewAccount, NewSetup, TaskSecrets
from lpmos.model.task import Task
from lpmos.store import keys
from lpmos.store.api import Unavailable
from tests.support.builders import MAC, actor
from tests.support.secret_keys import KeptKeys
from tests.unit.core.conftest import World

HASH = "$6$saltsalt$" + "a" * 43
KEY = keys.task_secrets("dc1", "SN-1")
SETUP = NewSetup(
    users=(NewAccount(name="alice", password_hash=HASH),), secrets={"TOKEN": "to-seal"}
)
SECRETS = TaskSecrets(password_hashes={"alice": HASH}, values={"TOKEN": "to-seal"})


def asked(setup: NewSetup = SETUP) -> TaskSpec:
    new = NewTask(idc="dc1", mac=MAC, sn="SN-1", os_type="debian", os_version="12", setup=setup)
    return check_new_task(new)


class Sealing:
    """A control plane with keys, and a region that has the same."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.provider = KeptKeys()
        self.tasks = Tasks(
            world.store, world.fleet, world.clock, secrets=SecretBox(self.provider.ring)
        )
        self.reader = TaskSecretReader(world.fleet.stored, self.provider.read)

    async def create(self, setup: NewSetup = SETUP) -> Task:
        task = await self.tasks.create(asked(setup), by=actor())
        await self.world.synced()
        return task

    async def end(self, task: Task) -> None:
        await self.tasks.cancel(task.task_id, by=actor())
        await self.world.synced()


@pytest.fixture
def sealing(world: World) -> Sealing:
    return Sealing(world)


async def test_secrets_of_a_new_task_are_in_the_store_sealed_alone(sealing: Sealing) -> None:
    task = await sealing.create()
    assert await sealing.reader.opened(task) == SECRETS
    async for page in sealing.world.store.list("/"):
        for kv in page.kvs:
            assert HASH.encode() not in kv.value and b"to-seal" not in kv.value
    sealed = await sealing.world.store.get(KEY)
    assert sealed is not None
    assert msgspec.json.decode(sealed.value, type=SealedPart).sealed.startswith("sealed:v1:")


async def test_task_that_is_tried_again_has_the_secrets_of_the_first(sealing: Sealing) -> None:
    task = await sealing.create()
    await sealing.end(task)
    again = (await sealing.tasks.retry(task.task_id, by=actor())).task
    await sealing.world.synced()
    assert again.setup == task.setup
    assert await sealing.reader.opened(again) == SECRETS


async def test_next_task_has_its_own_secrets_or_none(sealing: Sealing) -> None:
    await sealing.end(await sealing.create())
    task = await sealing.create(NewSetup(root_password_hash=HASH))
    assert await sealing.reader.opened(task) == TaskSecrets(root_password_hash=HASH)
    await sealing.end(task)
    task = await sealing.create(NewSetup())
    assert await sealing.world.store.get(KEY) is None
    assert await sealing.reader.opened(task) == TaskSecrets()


async def test_completed_task_leaves_no_secrets(sealing: Sealing) -> None:
    world = sealing.world
    box = SecretBox(sealing.provider.ring)
    task = await world.task_that_is(Status.INSTALLING)
    await world.store.put(KEY, msgspec.json.encode(SealedPart(sealed=box.seal("{}", "x"))))
    await world.agents.progress(world.run, task.task_id, world.at("configuring", 95))
    await world.synced()
    await world.agents.handed_over(world.run, task.task_id, "f" * 64)
    await world.synced()
    await world.agents.came_up(MAC, task.task_id, "f" * 64)
    assert await world.store.get(KEY) is None


async def test_task_that_its_agent_completes_leaves_no_secrets(sealing: Sealing) -> None:
    world = sealing.world
    task = await world.task_that_is(Status.INSTALLING)
    await world.store.put(KEY, b"sealed")
    await world.synced()
    await world.agents.progress(world.run, task.task_id, world.at("configuring", 95))
    assert await world.store.get(KEY) is not None
    await world.synced()
    await world.agents.progress(world.run, task.task_id, world.at("configuring", 100))
    assert await world.store.get(KEY) is None


async def test_secrets_without_a_key_are_refused_before_anything_is_written(world: World) -> None:
    with pytest.raises(UnknownKey):
        await world.tasks.create(asked(), by=actor())
    assert await world.store.get(keys.task("dc1", "SN-1")) is None


async def test_region_that_cannot_open_them_says_why(sealing: Sealing) -> None:
    task = await sealing.create()
    world = sealing.world
    with pytest.raises(SettingsError, match="--secrets-key-file"):
        await TaskSecretReader(world.fleet.stored, no_ring).opened(task)
    with pytest.raises(NoSecrets):
        await TaskSecretReader(lambda _: None, sealing.provider.read).opened(task)
    away = TaskSecretReader(lambda _: None, sealing.provider.read, lambda: False)
    with pytest.raises(Unavailable, match="while the store is away"):
        await away.opened(task)
    moved = msgspec.structs.replace(task, sn="SN-2")
    stored = world.fleet.stored(KEY)
    with pytest.raises(DamagedSecret):
        await TaskSecretReader(lambda _: stored, sealing.provider.read).opened(moved)


async def test_region_whose_keys_are_away_asks_again(sealing: Sealing) -> None:
    async def away() -> KeyRing:
        raise KeysAway("vault is sealed")

    task = await sealing.create()
    with pytest.raises(Unavailable, match="vault is sealed"):
        await TaskSecretReader(sealing.world.fleet.stored, away).opened(task)


async def test_region_reads_its_keys_again_for_one_that_is_new(sealing: Sealing) -> None:
    await sealing.reader.opened(await sealing.create())
    await sealing.provider.add("second", b"s" * 32)
    box = SecretBox(sealing.provider.ring, "second")
    place = f"{KEY}#sealed"
    sealed = SealedPart(sealed=box.seal('{"values": {"A": "later"}}', place))
    await sealing.world.store.put(KEY, msgspec.json.encode(sealed))
    await sealing.world.synced()
    task = sealing.world.fleet.current_task("dc1", "SN-1")
    assert task is not None
    assert await sealing.reader.opened(task) == TaskSecrets(values={"A": "later"})
