"""Who may make and change whom, and that there is always an administrator."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from lpmos.core.identity.users import within
from lpmos.model.access import Principal, Role
from lpmos.model.errors import Conflict, Forbidden, InvalidInput, NotFound
from lpmos.model.user import ExternalIdentity, NewUser, UserChange
from lpmos.store.api import CasConflict
from tests.support.builders import actor, make_principal
from tests.support.identity import IdentityWorld, identity_worlds

ADMIN = make_principal()
ACME = make_principal(tenant="acme")
BY = actor("admin")
DISABLED = UserChange(disabled=True)
NO_ADMIN = UserChange(roles=(Role.VIEWER,))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[IdentityWorld]:
    async with identity_worlds(tmp_path) as (world,):
        yield world


@pytest.mark.parametrize(
    ("caller", "roles", "tenant", "expected"),
    [
        (make_principal(), (Role.ADMIN,), None, True),
        (make_principal(), tuple(Role), "acme", True),
        (make_principal(Role.ADMIN, tenant="acme"), (Role.ADMIN,), "acme", True),
        (make_principal(Role.ADMIN, tenant="acme"), (Role.VIEWER,), None, False),
        (make_principal(Role.ADMIN, tenant="acme"), (Role.VIEWER,), "globex", False),
        (make_principal(Role.OPERATOR), (Role.VIEWER, Role.OPERATOR), None, True),
        (make_principal(Role.OPERATOR), (Role.APPROVER,), None, False),
        (make_principal(Role.OPERATOR, Role.APPROVER), (Role.ADMIN,), None, False),
    ],
)
def test_within_is_by_what_the_roles_permit(
    caller: Principal, roles: tuple[Role, ...], tenant: str | None, expected: bool
) -> None:
    assert within(caller, roles, tenant) is expected


async def test_create_of_a_name_that_is_taken_is_refused(world: IdentityWorld) -> None:
    await world.user("alice")
    with pytest.raises(Conflict):
        await world.users.create(NewUser(name="alice", roles=(Role.VIEWER,)), caller=ADMIN, by=BY)


async def test_create_by_a_tenants_administrator_is_of_that_tenant(world: IdentityWorld) -> None:
    new = NewUser(name="wile", roles=(Role.OPERATOR,))
    held = await world.users.create(new, caller=ACME, by=BY)
    assert held.document.tenant == "acme"
    other = NewUser(name="other", roles=(Role.OPERATOR,), tenant="globex")
    with pytest.raises(Forbidden):
        await world.users.create(other, caller=ACME, by=BY)


async def test_change_of_another_tenants_user_is_not_found(world: IdentityWorld) -> None:
    await world.user("alice", tenant="globex")
    with pytest.raises(NotFound):
        await world.users.change("alice", DISABLED, caller=ACME, by=BY)
    with pytest.raises(NotFound):
        await world.users.delete("alice", caller=ACME, by=BY)
    with pytest.raises(NotFound):
        await world.users.find("alice", "acme")


async def test_change_beyond_the_callers_own_is_refused(world: IdentityWorld) -> None:
    await world.user("root", (Role.ADMIN,))
    await world.user("alice")
    operator = make_principal(Role.OPERATOR)
    for name, change in (("alice", UserChange(roles=(Role.ADMIN,))), ("root", DISABLED)):
        with pytest.raises(Forbidden):
            await world.users.change(name, change, caller=operator, by=BY)


async def test_change_of_nothing_writes_nothing(world: IdentityWorld) -> None:
    before = await world.user("alice")
    after = await world.users.change("alice", UserChange(), caller=ADMIN, by=BY)
    assert after.revision == before.revision


async def test_change_at_another_revision_is_refused(world: IdentityWorld) -> None:
    held = await world.user("alice")
    await world.users.change("alice", UserChange(display_name="A"), caller=ADMIN, by=BY)
    for call in (
        world.users.change("alice", DISABLED, caller=ADMIN, by=BY, at_revision=held.revision),
        world.users.delete("alice", caller=ADMIN, by=BY, at_revision=held.revision),
    ):
        with pytest.raises(CasConflict):
            await call


@pytest.mark.parametrize("change", [DISABLED, NO_ADMIN, UserChange(tenant="acme")])
async def test_last_administrator_is_not_taken_away(
    world: IdentityWorld, change: UserChange
) -> None:
    await world.user("root", (Role.ADMIN,))
    await world.user("asleep", (Role.ADMIN,), disabled=True)
    await world.user("wile", (Role.ADMIN,), tenant="acme")
    with pytest.raises(Conflict, match="last"):
        await world.users.change("root", change, caller=ADMIN, by=BY)
    with pytest.raises(Conflict, match="last"):
        await world.users.delete("root", caller=ADMIN, by=BY)
    await world.user("second", (Role.ADMIN,))
    await world.users.change("root", change, caller=ADMIN, by=BY)


async def test_administrators_taken_away_on_two_control_planes_at_once_leave_one(
    tmp_path: Path,
) -> None:
    async with identity_worlds(tmp_path, 2) as worlds:
        names = [f"admin{number}" for number in range(6)]
        for name in names:
            last = await worlds[0].user(name, (Role.ADMIN,))
        await worlds[1].mirror.wait_for(last.revision)
        calls = [
            worlds[number % 2].users.change(name, NO_ADMIN, caller=ADMIN, by=BY)
            if number % 3
            else worlds[number % 2].users.delete(name, caller=ADMIN, by=BY)
            for number, name in enumerate(names)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in results if isinstance(each, Exception)] == [Conflict]
        admins = [each for each in worlds[0].users.all(None) if Role.ADMIN in each.document.roles]
        assert len(admins) == 1


async def test_witness_that_goes_before_the_change_is_written_is_noticed(
    world: IdentityWorld,
) -> None:
    await world.user("one", (Role.ADMIN,))
    await world.user("two", (Role.ADMIN,))

    async def meanwhile() -> None:
        await world.users.delete("two", caller=ADMIN, by=BY)

    world.store.before_txn.append(meanwhile)
    with pytest.raises(Conflict, match="last"):
        await world.users.delete("one", caller=ADMIN, by=BY)


async def test_disabled_user_gets_another_generation(world: IdentityWorld) -> None:
    before = await world.user("alice")
    off = await world.users.change("alice", DISABLED, caller=ADMIN, by=BY)
    on = await world.users.change("alice", UserChange(disabled=False), caller=ADMIN, by=BY)
    assert before.document.generation != off.document.generation == on.document.generation


async def test_set_password_against_the_rules_is_refused(world: IdentityWorld) -> None:
    await world.user("alice")
    with pytest.raises(InvalidInput):
        await world.users.set_password("alice", "alicealicealice", caller=ADMIN, by=BY)


IDENTITY = ExternalIdentity(
    issuer="https://id.example", subject="42", name="Eve", roles=(Role.VIEWER,), display_name="E"
)


async def test_admit_makes_a_user_and_keeps_it_up_to_date(world: IdentityWorld) -> None:
    made = (await world.identity.admit(IDENTITY)).document
    assert (made.name, made.source, made.password_hash) == ("eve", "oidc", None)
    again = await world.identity.admit(IDENTITY)
    assert again.document == made
    promoted = msgspec.structs.replace(IDENTITY, roles=(Role.OPERATOR,), tenant="acme")
    changed = (await world.identity.admit(promoted)).document
    assert (changed.roles, changed.tenant) == ((Role.OPERATOR,), "acme")
    assert changed.user_id == made.user_id


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(IDENTITY, subject="43"),
        msgspec.structs.replace(IDENTITY, issuer="https://other.example"),
    ],
)
async def test_admit_of_another_identity_of_the_same_name_is_refused(
    world: IdentityWorld, other: ExternalIdentity
) -> None:
    await world.identity.admit(IDENTITY)
    with pytest.raises(Conflict):
        await world.identity.admit(other)


async def test_admit_never_takes_over_a_local_user(world: IdentityWorld) -> None:
    before = await world.user("eve", (Role.ADMIN,))
    with pytest.raises(Conflict):
        await world.identity.admit(IDENTITY)
    assert world.users.documents.get("eve") == before


async def test_external_user_has_no_password_and_its_roles_are_not_changed_here(
    world: IdentityWorld,
) -> None:
    await world.identity.admit(IDENTITY)
    with pytest.raises(Conflict):
        await world.users.set_password("eve", "x" * 20, caller=ADMIN, by=BY)
    with pytest.raises(Conflict):
        await world.users.change("eve", UserChange(roles=(Role.ADMIN,)), caller=ADMIN, by=BY)
    held = await world.users.change("eve", DISABLED, caller=ADMIN, by=BY)
    assert held.document.disabled
