"""Who somebody is: at every request anew, and the same on every control plane."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from argon2 import PasswordHasher

from lpmos.core.identity.callers import GUESSES_AT_ONE_NAME, GUESSES_OF_ONE_ADDRESS
from lpmos.core.identity.passwords import Passwords
from lpmos.core.identity.retention import IdentityRetention
from lpmos.core.identity.sessions import SESSION_LIFETIME
from lpmos.core.identity.tokens import KEY_TOKEN_LIFETIME
from lpmos.model.access import Role
from lpmos.model.errors import InvalidInput, TooBusy, Unauthenticated
from lpmos.model.user import Caller, KeyToken, NewApiToken, NewUser, UserChange, new_id
from lpmos.store import keys
from lpmos.store.api import Unavailable
from lpmos.store.mirror import Mirror
from tests.support.builders import actor, make_principal
from tests.support.identity import CALLER, CHEAP, PASSWORD, IdentityWorld, identity_worlds

ADMIN = make_principal()
BY = actor("admin")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[IdentityWorld]:
    async with identity_worlds(tmp_path) as (world,):
        yield world


async def with_password(world: IdentityWorld, name: str = "alice", **fields: object) -> None:
    new = NewUser(name=name, roles=(Role.VIEWER,), password=PASSWORD, **fields)  # type: ignore[arg-type]
    await world.users.create(new, caller=ADMIN, by=BY)


async def test_authenticate_with_the_right_password_is_the_user(world: IdentityWorld) -> None:
    await with_password(world)
    assert (await world.identity.authenticate(" Alice", PASSWORD, CALLER)).name == "alice"


async def test_authenticate_of_all_that_may_not_says_the_same(world: IdentityWorld) -> None:
    await with_password(world)
    await with_password(world, "bob", disabled=True)
    await world.user("tokens-only")
    said = set()
    for name, password in (
        ("alice", PASSWORD + "x"),
        ("bob", PASSWORD),
        ("tokens-only", ""),
        ("nobody", PASSWORD),
        ("../x", PASSWORD),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await world.identity.authenticate(name, password, CALLER)
        said.add(str(caught.value))
    assert len(said) == 1


async def test_authenticate_at_one_name_from_everywhere_is_limited(world: IdentityWorld) -> None:
    await with_password(world)
    for number in range(GUESSES_AT_ONE_NAME):
        caller = Caller(address=f"192.0.2.{number}")
        with pytest.raises(Unauthenticated):
            await world.identity.authenticate("alice", "wrong", caller)
    with pytest.raises(TooBusy):
        await world.identity.authenticate("alice", PASSWORD, Caller(address="198.51.100.1"))


async def test_guesses_from_one_ipv6_network_count_as_one(world: IdentityWorld) -> None:
    """Who has one address of it has 2^64 of them."""
    await with_password(world)
    callers = [Caller(address=f"2001:db8::{n:x}") for n in range(GUESSES_OF_ONE_ADDRESS + 1)]
    for number, caller in enumerate(callers[:-1]):
        with pytest.raises(Unauthenticated):
            await world.identity.authenticate(f"user{number}", "wrong", caller)

    with pytest.raises(TooBusy):
        await world.identity.authenticate("alice", PASSWORD, callers[-1])
    with pytest.raises(TooBusy):
        await world.identity.by_api_token(f"lpmos_{'0' * 32}_x", callers[-1].address)


async def test_authenticate_many_at_once_is_no_way_around_the_limit(world: IdentityWorld) -> None:
    calls = [world.identity.authenticate(f"user{n}", "wrong", CALLER) for n in range(30)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    looked_at = [result for result in results if isinstance(result, Unauthenticated)]
    assert len(looked_at) == GUESSES_OF_ONE_ADDRESS


async def test_authenticate_under_older_parameters_stores_a_new_hash_without_an_event(
    world: IdentityWorld,
) -> None:
    await with_password(world)
    held = await world.users.documents.read("alice")
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    old = await Passwords(stronger).hash(PASSWORD)
    await world.users.rehash(held.document, old)
    events = len(await world.events())
    await world.identity.authenticate("alice", PASSWORD, CALLER)
    after = (await world.users.documents.read("alice")).document
    assert after.password_hash is not None
    assert not CHEAP.check_needs_rehash(after.password_hash)
    assert after.generation == held.document.generation
    assert len(await world.events()) == events


async def test_rehash_of_a_password_that_was_changed_meanwhile_changes_nothing(
    world: IdentityWorld,
) -> None:
    await with_password(world)
    before = (await world.users.documents.read("alice")).document
    await world.users.set_password("alice", "another good password", caller=ADMIN, by=BY)
    await world.users.rehash(before, "the old one again")
    with pytest.raises(Unauthenticated):
        await world.identity.authenticate("alice", PASSWORD, CALLER)


async def test_check_password_that_is_wrong_names_the_field(world: IdentityWorld) -> None:
    await with_password(world)
    user = (await world.users.documents.read("alice")).document
    await world.identity.check_password(user, PASSWORD)
    with pytest.raises(InvalidInput, match="old_password"):
        await world.identity.check_password(user, "wrong")


async def test_session_of_another_subject_is_refused(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document)
    with pytest.raises(Unauthenticated):
        await world.identity.by_session(session.name, "bob")


@pytest.mark.parametrize("name", ["0" * 32, "../users/alice", ""])
async def test_session_that_never_was_is_refused(world: IdentityWorld, name: str) -> None:
    await world.user("alice")
    with pytest.raises(Unauthenticated):
        await world.identity.by_session(name, "alice")


async def test_session_made_elsewhere_is_known_at_once_though_memory_lags(tmp_path: Path) -> None:
    async with identity_worlds(tmp_path, 2) as (one, two):
        for number in range(20):
            session = await one.signed_in((await one.user(f"user{number}")).document)
            assert (await two.of(session)).subject == f"user{number}"


async def test_unknown_session_where_memory_follows_nothing_is_not_called_over(
    world: IdentityWorld, tmp_path: Path
) -> None:
    session = await world.signed_in((await world.user()).document)
    world.store.away = True
    known = await world.of(session)
    assert known.subject == "alice"
    with pytest.raises(Unavailable):
        await world.identity.by_session("0" * 32, "alice")
    world.store.away = False


async def test_session_by_a_token_is_what_the_token_is_and_ends_with_it(
    world: IdentityWorld,
) -> None:
    user = (await world.user(roles=(Role.OPERATOR, Role.VIEWER))).document
    new = NewApiToken(name="ci", roles=(Role.VIEWER,), lifetime_days=1)
    made = await world.tokens.create(user, new, within=None, by=BY)
    token = await world.identity.by_api_token(made.secret, "192.0.2.1")
    held = await world.identity.open_via(new_id(), token, CALLER)
    principal = await world.of(held)
    assert (principal.roles, principal.credential) == ((Role.VIEWER,), token.credential)
    assert principal.expires_at <= token.expires_at
    await world.tokens.revoke(user, made.held.name, by=BY)
    with pytest.raises(Unauthenticated):
        await world.of(held)


async def test_session_by_a_session_ends_with_that(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document)
    held = await world.identity.open_via(new_id(), await world.of(session), CALLER)
    assert (await world.of(held)).subject == "alice"
    await world.sessions.end(session.name, by=BY)
    with pytest.raises(Unauthenticated):
        await world.of(held)


async def test_stands_says_no_once_anything_is_otherwise(world: IdentityWorld) -> None:
    told: list[bool] = []
    unsubscribe = world.identity.subscribe(lambda: told.append(True))
    user = (await world.user()).document
    principals = [await world.of(await world.signed_in(user)) for _ in range(2)]
    assert all(world.identity.stands(each) for each in principals)
    await world.sessions.end(principals[0].credential.removeprefix("session:"), by=BY)
    assert [world.identity.stands(each) for each in principals] == [False, True]
    await world.users.change("alice", UserChange(roles=(Role.ADMIN,)), caller=ADMIN, by=BY)
    assert not world.identity.stands(principals[1])
    seen = len(told)
    assert seen >= 5
    unsubscribe()
    await world.users.change("alice", UserChange(display_name="A"), caller=ADMIN, by=BY)
    assert len(told) == seen


async def test_user_agent_is_kept_as_a_short_line(world: IdentityWorld) -> None:
    caller = msgspec.structs.replace(CALLER, user_agent="a\x1b[31m\n" + "x" * 5000)
    user = (await world.user()).document
    held = await world.identity.open(new_id(), user, caller)
    assert len(held.document.user_agent) <= 200 and held.document.user_agent.isprintable()


async def test_retention_deletes_what_is_over_and_nothing_else(world: IdentityWorld) -> None:
    leadership = await world.store.elect("control-plane", "test", 10)
    retention = IdentityRetention(world.store, world.identity, world.clock)
    user = (await world.user("alice")).document
    gone = (await world.user("gone", (Role.VIEWER,))).document
    left = await world.tokens.create(gone, NewApiToken(name="ci"), within=None, by=BY)
    orphan = await world.signed_in(gone)
    await world.users.delete("gone", caller=ADMIN, by=BY)
    ended = await world.signed_in(user)
    await world.users.end_sessions("alice", by=BY)
    user = (await world.users.documents.read("alice")).document
    kept = await world.signed_in(user)
    token = await world.tokens.create(user, NewApiToken(name="ci"), within=None, by=BY)
    expires_at = world.clock.now + KEY_TOKEN_LIFETIME
    await world.identity.by_key_token(
        "jti", KeyToken(subject="ops", roles=(Role.ADMIN,), expires_at=expires_at)
    )
    events = len(await world.events())
    await retention.sweep(leadership)
    assert await _names(world, "sessions") == {kept.name}
    assert await _names(world, "tokens") == {token.held.name}
    assert await _names(world, "key-tokens") == {"jti"}
    assert {orphan.name, ended.name, left.held.name}.isdisjoint({kept.name, token.held.name})
    world.clock.now += 2 * SESSION_LIFETIME
    await retention.sweep(leadership)
    assert await _names(world, "sessions") == await _names(world, "key-tokens") == set()
    assert await _names(world, "tokens") == {token.held.name}
    assert len(await world.events()) == events


async def test_retention_of_who_no_longer_leads_deletes_nothing(world: IdentityWorld) -> None:
    leadership = await world.store.elect("control-plane", "test", 10)
    session = await world.signed_in((await world.user()).document)
    world.clock.now += 2 * SESSION_LIFETIME
    await leadership.resign()
    await IdentityRetention(world.store, world.identity, world.clock).sweep(leadership)
    assert await _names(world, "sessions") == {session.name}


async def _names(world: IdentityWorld, collection: str) -> set[str]:
    prefix = keys.control(collection)
    return {kv.key.removeprefix(prefix) for kv in (await world.store.range(prefix)).kvs}


async def test_nothing_is_known_before_the_store_was_read(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document)
    new = IdentityWorld(world.store, world.clock)
    assert isinstance(new.mirror, Mirror)
    with pytest.raises(Unavailable):
        await new.of(session)
    token = KeyToken(subject="ops", roles=(Role.ADMIN,), expires_at=world.clock.now)
    with pytest.raises(Unavailable):
        await new.identity.by_key_token("jti", token)
