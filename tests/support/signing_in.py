"""Users over HTTP: made, signed in, and asked who they are."""

from typing import Any

import httpx

PASSWORD = "correct horse battery"
OTHER = "another good password"


def bearer(token: str) -> dict[str, str]:
    """The header of a call with this token."""
    return {"Authorization": f"Bearer {token}"}


async def make(api: httpx.AsyncClient, name: str, **fields: Any) -> httpx.Response:
    """Make a user, a viewer with the password where nothing else is said."""
    body = {"name": name, "roles": ["viewer"], "password": PASSWORD} | fields
    return await api.post("/api/v1/users", json=body)


async def log_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    """The answer to a login."""
    return await client.post("/api/v1/login", json={"username": name, "password": password})


async def token_of(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> str:
    """The access token of a login that must go well."""
    answer = await log_in(client, name, password)
    assert answer.status_code == 200
    return str(answer.json()["access_token"])


async def who(client: httpx.AsyncClient, token: str) -> tuple[int, Any]:
    """The status and the answer when the holder of a token asks for its session."""
    answer = await client.get("/api/v1/session", headers=bearer(token))
    return answer.status_code, answer.json()
