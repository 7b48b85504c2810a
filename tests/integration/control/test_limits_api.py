"""Rates: who asks too often is told when to come again, and holds up nobody else."""

from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from lpmos.control.config import ControlConfig
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.polling import ANSWER_TIMEOUT_S

CONFIG = ControlConfig(rate_limit_per_s=10, rate_limit_address_per_s=2)
USER_BURST, ADDRESS_BURST = 20, 10


def standing_still() -> float:
    """A clock by which all requests come at once, however long the machine takes for them."""
    return 1000.0


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    """A control plane with small limits, behind a balancer on the loopback interface."""
    proxies = [ip_network("127.0.0.0/8")]
    async with (
        open_store(tmp_path) as store,
        running(
            store, config=CONFIG, trusted_proxies=proxies, monotonic=standing_still
        ) as control_plane,
    ):
        yield control_plane


def client(control_plane: RunningControlPlane, token: str | None = None) -> httpx.AsyncClient:
    """A client, with a token or without."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S)


async def statuses(asking: httpx.AsyncClient, path: str, count: int, **more: str) -> list[int]:
    """What is answered to so many requests in a row."""
    return [(await asking.get(path, headers=more)).status_code for _ in range(count)]


async def test_user_over_the_rate_is_told_when_to_come_again(limited: RunningControlPlane) -> None:
    async with client(limited, limited.token) as api:
        answers = [await api.get("/api/v1/session") for _ in range(USER_BURST * 2)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert USER_BURST <= len(answers) - len(refused) < USER_BURST * 2
        assert refused[-1].json()["code"] == "too-busy"
        assert refused[-1].headers["retry-after"] == "1"
        assert refused[-1].headers["x-content-type-options"] == "nosniff"


async def test_users_at_one_address_do_not_share_a_limit(limited: RunningControlPlane) -> None:
    other = limited.signer.issue("other", "admin", timedelta(hours=1))
    async with client(limited, limited.token) as api, client(limited, other) as another:
        assert 429 in await statuses(api, "/api/v1/session", USER_BURST * 2)
        assert await statuses(another, "/api/v1/session", 5) == [200] * 5


async def test_wrong_tokens_count_against_their_address(limited: RunningControlPlane) -> None:
    async with client(limited, "wrong") as guessing:
        got = await statuses(guessing, "/api/v1/session", ADDRESS_BURST * 2)
    assert set(got) == {401, 429}
    assert got[:ADDRESS_BURST] == [401] * ADDRESS_BURST


async def test_known_user_is_served_where_its_address_is_over_the_limit(
    limited: RunningControlPlane,
) -> None:
    async with client(limited) as anyone, client(limited, limited.token) as api:
        assert 429 in await statuses(anyone, "/login", ADDRESS_BURST * 2)
        assert (await api.get("/api/v1/session")).status_code == 200
        assert (await api.get("/static/lpmos.css")).status_code == 200


async def test_health_checks_are_never_limited(limited: RunningControlPlane) -> None:
    async with client(limited) as balancer:
        for path in ("/health", "/health/live", "/health/ready"):
            assert set(await statuses(balancer, path, ADDRESS_BURST * 3)) == {200}


async def test_address_is_the_one_that_the_trusted_balancer_says(
    limited: RunningControlPlane,
) -> None:
    async with client(limited) as balancer:
        spent = await statuses(balancer, "/login", ADDRESS_BURST * 2, **forwarded("192.0.2.1"))
        other = await statuses(balancer, "/login", 5, **forwarded("192.0.2.2"))
        forged = await statuses(balancer, "/login", 2, **forwarded("203.0.113.9, 192.0.2.1"))
    assert 429 in spent
    assert other == [200] * 5
    assert forged == [429] * 2, "what the client itself wrote before is not believed"


async def test_addresses_of_one_ipv6_network_share_a_limit(limited: RunningControlPlane) -> None:
    async with client(limited) as balancer:
        got = [
            (await balancer.get("/login", headers=forwarded(f"2001:db8::{n:x}"))).status_code
            for n in range(1, ADDRESS_BURST * 2)
        ]
    assert 429 in got


async def test_websocket_connects_are_limited(limited: RunningControlPlane) -> None:
    refused = 0
    for _ in range(ADDRESS_BURST * 2):
        try:
            async with connect(f"ws://{limited.host}/ws"):
                pass
        except InvalidStatus:
            refused += 1
    assert refused > 0


async def test_forwarded_headers_of_strangers_are_not_believed(tmp_path: Path) -> None:
    async with (
        open_store(tmp_path) as store,
        running(store, config=CONFIG, monotonic=standing_still) as control_plane,
    ):
        headers = {**forwarded("192.0.2.1"), "X-Forwarded-Proto": "https"}
        async with client(control_plane) as anyone:
            answer = await anyone.get("/login", headers=headers)
            assert "strict-transport-security" not in answer.headers
            got = [
                (await anyone.get("/login", headers=forwarded(f"192.0.2.{n}"))).status_code
                for n in range(ADDRESS_BURST * 2)
            ]
            assert 429 in got


async def test_balancer_that_speaks_tls_gets_secure_cookies_and_hsts(
    limited: RunningControlPlane,
) -> None:
    headers = {**forwarded("192.0.2.1"), "X-Forwarded-Proto": "https"}
    async with client(limited) as balancer:
        login = await balancer.post(
            "/api/v1/session", json={"token": limited.token}, headers=headers
        )
    assert login.status_code == 200
    assert "secure" in login.headers["set-cookie"].lower()
    assert "max-age" in login.headers["strict-transport-security"]


def forwarded(address: str) -> dict[str, str]:
    """The header that a balancer adds."""
    return {"X-Forwarded-For": address}
