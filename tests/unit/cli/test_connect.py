"""Which server is asked, and as whom."""

import argparse
from pathlib import Path
from typing import Any

import httpx
import pytest

from lpmos.cli.client import Client
from lpmos.cli.connect import DEFAULT_SERVER, StoredLogin, normal_url, server_of
from lpmos.cli.credentials import Credentials, Login
from lpmos.cli.failures import NotSignedIn, Refused, Usage

SERVER = "https://lpmos.example"


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "credentials.json")


@pytest.mark.parametrize(
    ("text", "url"),
    [("lpmos.example", SERVER), ("https://LPMOS.example/", SERVER),
     ("http://127.0.0.1:8080", "http://127.0.0.1:8080"), ("https://[::1]:8443", "https://[::1]:8443")],
)  # fmt: skip
def test_server_address_is_normalised(text: str, url: str) -> None:
    assert normal_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "ftp://x", "https://", "https://x/path", "https://u:p@x", "https://x?y", "x:99999", "https://[::1"],
)  # fmt: skip
def test_server_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        normal_url(text)


def test_server_is_taken_from_flag_environment_login_default(credentials: Credentials) -> None:
    none, flag = argparse.Namespace(server=None), argparse.Namespace(server="a.example")
    environment = {"LPMOS_SERVER": "b.example"}
    assert server_of(none, credentials, {}) == DEFAULT_SERVER
    credentials.put(SERVER, Login(user="a", access_token="t"), current=True)
    assert server_of(none, credentials, {}) == SERVER
    assert server_of(none, credentials, environment) == "https://b.example"
    assert server_of(flag, credentials, environment) == "https://a.example"


class Tokens:
    """A server that gives new tokens, and counts."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.given = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.given += 1
        document: dict[str, Any] = {
            "access_token": f"access {self.given}",
            "refresh_token": f"refresh {self.given}",
            "expires_in": 900,
        }
        return httpx.Response(self.status, json=document)


def login(expires_at: float) -> Login:
    return Login(user="a", access_token="old", refresh_token="r", expires_at=expires_at, ca="ca")


def signed_in(credentials: Credentials, server: Tokens) -> tuple[StoredLogin, Client]:
    stored = StoredLogin(credentials, SERVER, clock=lambda: 1000.0)
    transport = httpx.MockTransport(server)
    return stored, Client(SERVER, stored, transport=transport, sleep=lambda _: None)


def test_login_that_holds_is_used_as_it_is(credentials: Credentials) -> None:
    credentials.put(SERVER, login(2000.0))
    server = Tokens()
    stored, client = signed_in(credentials, server)
    with client:
        assert stored.token(client) == "old"
    assert server.given == 0


def test_login_that_ends_is_renewed_and_kept(credentials: Credentials) -> None:
    credentials.put(SERVER, login(1001.0))
    stored, client = signed_in(credentials, Tokens())
    with client:
        assert stored.token(client) == stored.token(client) == "access 1"
    kept = credentials.get(SERVER)
    assert kept == Login(
        user="a", access_token="access 1", refresh_token="refresh 1", expires_at=1900.0, ca="ca"
    )


def test_login_that_another_command_renewed_is_taken(credentials: Credentials) -> None:
    credentials.put(SERVER, login(2000.0))
    server = Tokens()
    stored, client = signed_in(credentials, server)
    with client:
        assert stored.renew(client, "older") is True
    assert server.given == 0


def test_login_that_is_over_says_to_sign_in_again(credentials: Credentials) -> None:
    credentials.put(SERVER, login(0.0))
    stored, client = signed_in(credentials, Tokens(401))
    with client, pytest.raises(NotSignedIn, match="lpmos login"):
        stored.token(client)


def test_login_is_kept_while_the_server_is_away(credentials: Credentials) -> None:
    credentials.put(SERVER, login(0.0))
    stored, client = signed_in(credentials, Tokens(503))
    with client, pytest.raises(Refused):
        stored.token(client)
    assert credentials.get(SERVER) == login(0.0)


def test_token_without_a_refresh_token_is_not_renewed(credentials: Credentials) -> None:
    credentials.put(SERVER, Login(user="a", access_token="t"))
    stored, client = signed_in(credentials, Tokens())
    with client:
        assert stored.renew(client, "t") is False
