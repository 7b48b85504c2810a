"""API tokens and tokens signed with the key: whose they are, what they are worth, how they end."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.identity.tokens import TOKENS_OF_ONE, Made, split
from lpmos.model.access import Role
from lpmos.model.errors import Conflict, Forbidden, NotFound, TooBusy, Unauthenticated
from lpmos.model.user import KeyToken, NewApiToken, User, UserChange
from lpmos.store.api import Unavailable
from tests.support.builders import actor, make_principal
from tests.support.clocks import HandClock
from tests.support.identity import IdentityWorld, identity_worlds
from tests.support.polling import until

BY = actor("alice")
ADMIN = make_principal()
ADDRESS = "192.0.2.7"
JTI = "0b0b6f5e-0000-4000-8000-000000000001"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[IdentityWorld]:
    async with identity_worlds(tmp_path) as (world,):
        yield world


async def make(world: IdentityWorld, user: User, **fields: object) -> Made:
    new = NewApiToken(name="ci", **fields)  # type: ignore[arg-type]
    return await world.tokens.create(user, new, within=None, by=BY)


def key_token(clock: HandClock, role: Role = Role.ADMIN) -> KeyToken:
    return KeyToken(
        subject="ops", roles=(role,), expires_at=clock.now + timedelta(hours=1), address=ADDRESS
    )


@given(st.text(max_size=120))
def test_split_any_text_is_two_parts_or_unauthenticated(text: str) -> None:
    try:
        token_id, secret = split(f"lpmos_{text}")
    except Unauthenticated:
        return
    assert f"{token_id}_{secret}" == text
    assert len(token_id) == 32 and token_id.isalnum()


async def test_api_token_is_its_user_with_the_roles_both_have(world: IdentityWorld) -> None:
    user = (await world.user(roles=(Role.OPERATOR, Role.APPROVER), tenant="acme")).document
    made = await make(world, user, roles=(Role.OPERATOR,))
    principal = await world.identity.by_api_token(made.secret, ADDRESS)
    assert (principal.subject, principal.roles, principal.tenant) == (
        "alice",
        (Role.OPERATOR,),
        "acme",
    )
    assert principal.credential == f"token:{made.held.name}"
    change = UserChange(roles=(Role.APPROVER,))
    await world.users.change("alice", change, caller=ADMIN, by=BY)
    assert (await world.identity.by_api_token(made.secret, ADDRESS)).roles == ()


@pytest.mark.parametrize("within", [(Role.VIEWER,), ()])
async def test_create_beyond_who_makes_it_is_forbidden(
    world: IdentityWorld, within: tuple[Role, ...]
) -> None:
    user = (await world.user(roles=(Role.OPERATOR,))).document
    with pytest.raises(Forbidden):
        await world.tokens.create(user, NewApiToken(name="ci"), within=within, by=BY)


async def test_create_of_too_many_is_refused(world: IdentityWorld) -> None:
    user = (await world.user()).document
    for _ in range(TOKENS_OF_ONE):
        await make(world, user)
    with pytest.raises(Conflict):
        await make(world, user)


@pytest.mark.parametrize("wrong", ["", "x", "\u00e9"])
async def test_api_token_with_another_secret_is_refused(world: IdentityWorld, wrong: str) -> None:
    made = await make(world, (await world.user()).document)
    with pytest.raises(Unauthenticated, match="not valid"):
        await world.identity.by_api_token(f"lpmos_{made.held.name}_{wrong}", ADDRESS)


async def test_api_token_ends_with_its_time_and_with_its_user(world: IdentityWorld) -> None:
    user = (await world.user()).document
    short, long = await make(world, user, lifetime_days=1), await make(world, user)
    world.clock.move(days=1)
    with pytest.raises(Unauthenticated):
        await world.identity.by_api_token(short.secret, ADDRESS)
    await world.users.change("alice", UserChange(disabled=True), caller=ADMIN, by=BY)
    with pytest.raises(Unauthenticated):
        await world.identity.by_api_token(long.secret, ADDRESS)


async def test_use_is_written_once_an_hour_and_is_no_event(world: IdentityWorld) -> None:
    made = await make(world, (await world.user()).document)
    events = len(await world.events())
    written = []
    for minutes in (0, 10, 40, 20):
        world.clock.move(minutes=minutes)
        await world.identity.by_api_token(made.secret, ADDRESS)
        held = world.tokens.documents.get(made.held.name)
        assert held is not None and held.document.last_used_at is not None
        written.append(held.document.last_used_at)
    assert len(set(written)) == 2
    assert len(await world.events()) == events


async def test_use_while_the_store_is_away_is_let_pass(world: IdentityWorld) -> None:
    made = await make(world, (await world.user()).document)
    world.store.away = True
    assert (await world.identity.by_api_token(made.secret, ADDRESS)).subject == "alice"
    world.store.away = False


async def test_unknown_tokens_are_limited_and_known_ones_are_not(world: IdentityWorld) -> None:
    made = await make(world, (await world.user()).document)
    unknown = f"lpmos_{'0' * 32}_x"
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await world.identity.by_api_token(unknown, ADDRESS)
    with pytest.raises(TooBusy):
        await world.identity.by_api_token(unknown, ADDRESS)
    with pytest.raises(Unauthenticated):
        await world.identity.by_api_token(unknown, "192.0.2.8")
    await world.identity.by_api_token(made.secret, ADDRESS)


async def test_unknown_token_while_the_store_is_away_is_not_called_wrong(
    world: IdentityWorld,
) -> None:
    world.store.away = True
    with pytest.raises(Unavailable):
        await world.identity.by_api_token(f"lpmos_{'0' * 32}_x", ADDRESS)
    world.store.away = False


async def test_revoke_of_another_users_token_is_not_found(world: IdentityWorld) -> None:
    made = await make(world, (await world.user("alice")).document)
    bob = (await world.user("bob")).document
    with pytest.raises(NotFound):
        await world.tokens.revoke(bob, made.held.name, by=BY)
    await world.identity.by_api_token(made.secret, ADDRESS)


async def test_key_token_is_written_down_once_and_told(world: IdentityWorld) -> None:
    token = key_token(world.clock)
    for _ in range(3):
        principal = await world.identity.by_key_token(JTI, token)
    assert (principal.subject, principal.roles, principal.tenant) == ("ops", (Role.ADMIN,), None)
    told = [event for event in await world.events() if b"key-token.used" in event]
    assert len(told) == 1 and ADDRESS.encode() in told[0]


async def test_key_token_that_was_revoked_elsewhere_is_refused(tmp_path: Path) -> None:
    async with identity_worlds(tmp_path, 2) as (one, two):
        token = key_token(one.clock)
        await one.identity.by_key_token(JTI, token)
        await two.identity.key_tokens.revoke(JTI, by=BY)

        async def refused() -> bool:
            try:
                await one.identity.by_key_token(JTI, token)
            except Unauthenticated:
                return True
            return False

        await until(refused)


async def test_key_token_revoked_before_its_first_use_is_refused(world: IdentityWorld) -> None:
    await world.identity.key_tokens.revoke(JTI, by=BY)
    await world.identity.key_tokens.revoke(JTI, by=BY)
    with pytest.raises(Unauthenticated, match="revoked"):
        await world.identity.by_key_token(JTI, key_token(world.clock))


async def test_key_token_while_the_store_is_away_is_let_pass_and_not_yet_written(
    world: IdentityWorld,
) -> None:
    world.store.away = True
    assert (await world.identity.by_key_token(JTI, key_token(world.clock))).subject == "ops"
    assert world.identity.key_tokens.documents.get(JTI) is None
    world.store.away = False
    await world.identity.by_key_token(JTI, key_token(world.clock))
    assert world.identity.key_tokens.documents.get(JTI) is not None
