"""The signing key and the first administrator: private files, made once."""

import asyncio
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from lpmos.app.admin import make_first_admin, prepare, signer_from
from lpmos.control.auth import Use
from lpmos.core.clock import utc_now
from lpmos.core.identity.passwords import Passwords
from lpmos.core.identity.users import Users
from lpmos.model.access import Role
from lpmos.model.audit import SYSTEM
from lpmos.model.errors import SettingsError
from lpmos.store import keys
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import make_user
from tests.support.faulty_store import FaultyStore
from tests.support.following import following

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
TIMEOUT_S = 30


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_prepare_first_start_makes_a_key_for_nobody_else(tmp_path: Path) -> None:
    signer = prepare(tmp_path / "state", None)
    assert mode(tmp_path / "state/auth.key") == 0o600
    token = signer.issue("ops", "admin", timedelta(hours=1))
    assert prepare(tmp_path / "state", None).verify(token, Use.KEY).subject == "ops"


def test_prepare_two_installations_do_not_trust_each_other(tmp_path: Path) -> None:
    token = prepare(tmp_path / "a", None).issue("ops", "admin", timedelta(hours=1))
    other = prepare(tmp_path / "b", None)
    with pytest.raises(Exception, match="not valid"):
        other.verify(token, Use.KEY)


def test_signer_from_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "auth.key"
    key.write_bytes(bytes(32))
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        signer_from(key)


def test_signer_from_a_short_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "auth.key"
    key.touch(mode=0o600)
    with pytest.raises(SettingsError, match="32"):
        signer_from(key)


def test_prepare_a_named_key_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.key"):
        prepare(tmp_path, tmp_path / "absent.key")


class ControlPlane:
    """What of a control plane knows users."""

    def __init__(self, store: FaultyStore, state_dir: Path) -> None:
        self.mirror = Mirror(store, keys.ROOT)
        self.passwords = Passwords(CHEAP)
        self.users = Users(store, self.mirror, utc_now, self.passwords)
        self.state_dir = state_dir
        self.file = state_dir / "admin.password"

    async def start(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await make_first_admin(self.users, self.state_dir)

    async def lets_in(self) -> bool:
        held = await self.users.documents.fresh("admin")
        assert held is not None
        password = self.file.read_text().strip()
        right, _ = await self.passwords.check(held.document.password_hash, password)
        return right


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    store = await SqliteStore.open(tmp_path / "store.db")
    yield FaultyStore(store)
    await store.close()


@pytest.fixture
async def pair(store: FaultyStore, tmp_path: Path) -> AsyncIterator[list[ControlPlane]]:
    """Two control planes on one store, each with its own directory."""
    pair = [ControlPlane(store, tmp_path / name) for name in ("one", "two")]
    async with following(*(each.mirror for each in pair)):
        yield pair


async def test_first_admin_has_a_random_password_in_a_private_file(
    pair: list[ControlPlane],
) -> None:
    one, _ = pair
    await one.start()
    assert mode(one.file) == 0o600
    assert len(one.file.read_text().strip()) >= 24
    assert await one.lets_in()
    held = one.users.documents.get("admin")
    assert held is not None
    assert (held.document.roles, held.document.tenant) == ((Role.ADMIN,), None)


async def test_first_admin_of_two_that_start_at_once_is_one_with_one_file(
    pair: list[ControlPlane],
) -> None:
    await asyncio.gather(*(each.start() for each in pair))
    (first,) = [each for each in pair if each.file.exists()]
    assert await first.lets_in()
    assert sum(len(each.users.documents) for each in pair) == len(pair)


async def test_first_admin_second_start_changes_nothing(pair: list[ControlPlane]) -> None:
    one, two = pair
    await one.start()
    password = one.file.read_text()
    await one.start()
    await two.start()
    assert one.file.read_text() == password
    assert not two.file.exists()


async def test_first_admin_where_there_are_users_is_not_made(pair: list[ControlPlane]) -> None:
    one, _ = pair
    await one.users.documents.create("alice", make_user(), by=SYSTEM)
    await one.start()
    assert not one.file.exists()
    assert one.users.documents.get("admin") is None


async def test_first_admin_whose_answer_is_lost_keeps_its_file(
    pair: list[ControlPlane], store: FaultyStore
) -> None:
    store.lose_answers = 1
    await pair[0].start()
    assert await pair[0].lets_in()
