"""What a browser does between a control plane and an identity provider, without its pages."""

import ssl
from collections.abc import Mapping

import httpx

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
HANDED_IN = ("state", "code", "error", "iss")


def browser(tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """A client that keeps cookies, and follows nothing by itself."""
    return httpx.AsyncClient(verify=tls if tls is not None else True, timeout=20.0)


async def begin(client: httpx.AsyncClient, control_plane: str, following: str = "") -> str:
    """Ask to sign in elsewhere; where the browser is sent."""
    params = {"next": following} if following else None
    answer = await client.get(f"{control_plane}/login/oidc", params=params)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def finish(
    client: httpx.AsyncClient, control_plane: str, came: Mapping[str, str]
) -> httpx.Response:
    """What the page of ours does with the parameters that it was called with."""
    answer = {name: came[name] for name in HANDED_IN if name in came}
    url = f"{control_plane}/api/v1/login/oidc"
    return await client.post(url, json=answer, headers=SAME_ORIGIN)


async def session(client: httpx.AsyncClient, control_plane: str) -> httpx.Response:
    """Who the browser is signed in as."""
    return await client.get(f"{control_plane}/api/v1/session")
