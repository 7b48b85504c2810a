"""Sessions: how they end, and what a refresh token that is used twice does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from lpmos.core.identity.sessions import SESSION_LIFETIME, SESSIONS_OF_ONE
from lpmos.model.errors import Unauthenticated
from lpmos.model.user import digest
from tests.support.builders import actor
from tests.support.identity import IdentityWorld, identity_worlds

BY = actor("alice")
FIRST, SECOND, THIRD = (digest(word) for word in ("first", "second", "third"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[IdentityWorld]:
    async with identity_worlds(tmp_path) as (world,):
        yield world


async def test_rotate_takes_the_present_token_once(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document, FIRST)
    events = len(await world.events())
    await world.sessions.rotate(session.name, FIRST, SECOND, by=BY)
    await world.sessions.rotate(session.name, SECOND, THIRD, by=BY)
    assert len(await world.events()) == events  # a mere refresh is no event
    await world.of(session)


async def test_rotate_with_a_token_used_before_ends_the_session(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document, FIRST)
    await world.sessions.rotate(session.name, FIRST, SECOND, by=BY)
    with pytest.raises(Unauthenticated, match="used before"):
        await world.sessions.rotate(session.name, FIRST, THIRD, by=BY)
    with pytest.raises(Unauthenticated):
        await world.sessions.rotate(session.name, SECOND, THIRD, by=BY)
    with pytest.raises(Unauthenticated):
        await world.of(session)
    told = b"".join(await world.events())
    assert b"session.ended" in told and b"used before" in told


async def test_rotate_at_two_control_planes_at_once_is_a_reuse(tmp_path: Path) -> None:
    async with identity_worlds(tmp_path, 2) as worlds:
        session = await worlds[0].signed_in((await worlds[0].user()).document, FIRST)
        results = await asyncio.gather(
            *(
                world.sessions.rotate(session.name, FIRST, following, by=BY)
                for world, following in zip(worlds, (SECOND, THIRD), strict=True)
            ),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in results) == ["NoneType", "Unauthenticated"]
        with pytest.raises(Unauthenticated):
            await worlds[0].of(session)


async def test_rotate_of_a_browsers_session_is_refused(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document)
    with pytest.raises(Unauthenticated):
        await world.sessions.rotate(session.name, digest(""), SECOND, by=BY)


async def test_session_lasts_its_life_however_often_it_is_refreshed(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document, FIRST)
    world.clock.now += SESSION_LIFETIME - timedelta(seconds=1)
    await world.sessions.rotate(session.name, FIRST, SECOND, by=BY)
    assert (await world.of(session)).expires_at == session.document.expires_at
    world.clock.move(seconds=1)
    with pytest.raises(Unauthenticated, match="ended"):
        await world.of(session)
    assert world.sessions.of("alice") == []


async def test_open_of_one_too_many_ends_the_oldest(world: IdentityWorld) -> None:
    user = (await world.user()).document
    opened = []
    for _ in range(SESSIONS_OF_ONE + 2):
        opened.append(await world.signed_in(user))
        world.clock.move(seconds=1)
    names = [each.name for each in world.sessions.of("alice")]
    assert names == [each.name for each in opened[2:]]


async def test_end_of_a_session_that_is_over_is_no_error(world: IdentityWorld) -> None:
    session = await world.signed_in((await world.user()).document)
    await world.sessions.end(session.name, by=BY)
    await world.sessions.end(session.name, by=BY)
