"""Users whom an identity provider vouches for: renamed there, left without roles there."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from lpmos.model.access import Role
from lpmos.model.errors import Conflict
from lpmos.model.user import ExternalIdentity
from tests.support.identity import CALLER, IdentityWorld, identity_worlds

ALICE = ExternalIdentity(
    issuer="https://sso.example.com", subject="1", name="alice", roles=(Role.ADMIN,)
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[IdentityWorld]:
    async with identity_worlds(tmp_path) as (world,):
        yield world


async def test_user_renamed_at_its_provider_keeps_its_name_here(world: IdentityWorld) -> None:
    await world.identity.admit(ALICE, CALLER)
    renamed = msgspec.structs.replace(ALICE, name="alice-miller")
    assert (await world.identity.admit(renamed, CALLER)).name == "alice"
    assert [held.name for held in world.users.documents.all()] == ["alice"]


async def test_user_without_roles_at_its_provider_loses_them_here(world: IdentityWorld) -> None:
    await world.user("root", [Role.ADMIN])
    held = await world.identity.admit(ALICE, CALLER)
    session = await world.signed_in(held.document)
    await world.users.withdraw(ALICE.external_id, CALLER)
    assert (await world.of(session)).roles == ()
    told = await world.events()
    await world.users.withdraw(ALICE.external_id, CALLER)  # nothing is left to take
    await world.users.withdraw("https://sso.example.com 2", CALLER)
    assert await world.events() == told


async def test_last_administrator_is_not_demoted_by_its_provider(world: IdentityWorld) -> None:
    await world.identity.admit(ALICE, CALLER)
    with pytest.raises(Conflict, match="last enabled administrator"):
        await world.users.withdraw(ALICE.external_id, CALLER)
    viewer = msgspec.structs.replace(ALICE, roles=(Role.VIEWER,))
    with pytest.raises(Conflict, match="last enabled administrator"):
        await world.identity.admit(viewer, CALLER)
