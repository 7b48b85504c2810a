"""Two control planes on one store, of either kind: who is known at one is known at the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from lpmos.control.access import COOKIE
from lpmos.model.access import Role
from lpmos.model.user import NewUser
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from tests.support.builders import actor, make_principal
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import EtcdServer
from tests.support.polling import ANSWER_TIMEOUT_S, until

PASSWORD = "correct horse battery"
TIMEOUT_S = 30.0


class Pair(NamedTuple):
    """Two control planes and a client of each, which has no token of its own."""

    one: RunningControlPlane
    two: RunningControlPlane
    here: httpx.AsyncClient
    there: httpx.AsyncClient


@pytest.fixture(params=["sqlite", "etcd"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """Each control plane has a client of its own of the etcd; the embedded store has only one."""
    async with AsyncExitStack() as stack:
        stores: list[Store] = []
        if request.param == "etcd":
            server = await stack.enter_async_context(EtcdServer())
            for _ in range(2):
                store = await EtcdStore.connect([server.endpoint])
                stack.push_async_callback(store.close)
                stores.append(store)
        else:
            embedded = await stack.enter_async_context(open_store(tmp_path))
            stores += [embedded, embedded]
        one, two = [await stack.enter_async_context(running(store)) for store in stores]
        here, there = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=each.url, timeout=ANSWER_TIMEOUT_S)
            )
            for each in (one, two)
        ]
        yield Pair(one, two, here, there)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def who(client: httpx.AsyncClient, token: str) -> int:
    return (await client.get("/api/v1/session", headers=bearer(token))).status_code


async def is_refused(client: httpx.AsyncClient, token: str) -> bool:
    return await who(client, token) == 401


async def test_user_session_and_token_made_at_one_count_at_the_other_at_once(pair: Pair) -> None:
    admin = bearer(await pair.one.as_user([Role.ADMIN]))
    for number in range(10):
        name = f"user{number}"
        session = await pair.one.as_user([Role.VIEWER], name=name)
        assert await who(pair.there, session) == 200
        url = f"/api/v1/tokens?user={name}"
        made = await pair.here.post(url, json={"name": "ci"}, headers=admin)
        assert await who(pair.there, made.json()["token"]) == 200


async def test_deleted_at_one_is_out_at_the_other(pair: Pair) -> None:
    admin = bearer(await pair.one.as_user([Role.ADMIN]))
    session = await pair.one.as_user([Role.VIEWER], name="alice")
    assert await who(pair.there, session) == 200
    await pair.here.delete("/api/v1/users/alice", headers=admin)

    async def refused() -> bool:
        return await is_refused(pair.there, session)

    await until(refused, TIMEOUT_S)


async def test_login_at_one_is_refreshed_at_the_other_and_signed_out_at_either(pair: Pair) -> None:
    new = NewUser(name="alice", roles=(Role.VIEWER,), password=PASSWORD)
    users = pair.one.services.identity.users
    await users.create(new, caller=make_principal(), by=actor())
    body = {"username": "alice", "password": PASSWORD}
    first = (await pair.there.post("/api/v1/login", json=body)).json()
    again = {"refresh_token": first["refresh_token"]}
    second = (await pair.here.post("/api/v1/login/refresh", json=again)).json()
    assert await who(pair.there, second["access_token"]) == 200
    assert (await pair.there.post("/api/v1/login/refresh", json=again)).status_code == 401

    async def refused() -> bool:
        return await is_refused(pair.here, second["access_token"])

    await until(refused, TIMEOUT_S)


async def test_cookie_of_one_is_good_at_the_other(pair: Pair) -> None:
    token = await pair.one.as_user([Role.VIEWER])
    await pair.here.post("/api/v1/session", json={"token": token})
    cookie = {"Cookie": f"{COOKIE}={pair.here.cookies[COOKIE]}"}
    assert (await pair.there.get("/api/v1/session", headers=cookie)).status_code == 200
    assert (await pair.there.delete("/api/v1/session", headers=cookie)).status_code == 204
    assert (await pair.there.get("/api/v1/session", headers=cookie)).status_code == 401


async def test_administrators_deleted_at_both_at_once_leave_one(pair: Pair) -> None:
    admin = bearer(await pair.one.as_user([Role.ADMIN], name="zero"))
    names = ["zero", "one", "two", "three"]
    for name in names[1:]:
        await pair.two.as_user([Role.ADMIN], name=name)
    key = bearer(pair.one.token)
    assert (await pair.there.get("/api/v1/users", headers=admin)).json()["total"] == len(names)
    answers = await asyncio.gather(
        *(
            (pair.here, pair.there)[number % 2].delete(f"/api/v1/users/{name}", headers=key)
            for number, name in enumerate(names)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [204, 204, 204, 409]
