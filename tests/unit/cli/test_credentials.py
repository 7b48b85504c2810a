"""The file of logins: for its owner only, whole at any moment, one writer at a time."""

from pathlib import Path

import pytest

from lpmos.cli.credentials import Credentials, Login, default_path
from lpmos.cli.failures import Usage

SERVER = "https://lpmos.example:8443"
LOGIN = Login(user="alice", access_token="a", expires_at=5.0, refresh_token="r")


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "lpmos" / "credentials.json")


def test_credentials_without_a_file_know_nobody(credentials: Credentials) -> None:
    assert credentials.get(SERVER) is None
    assert credentials.current() is None


def test_credentials_keep_a_login_for_the_owner_only(credentials: Credentials) -> None:
    credentials.put(SERVER, LOGIN, current=True)
    assert credentials.get(SERVER) == LOGIN
    assert credentials.current() == SERVER
    assert credentials.path.stat().st_mode & 0o777 == 0o600
    assert credentials.path.parent.stat().st_mode & 0o077 == 0
    assert [each.name for each in credentials.path.parent.iterdir()] == ["credentials.json"]


def test_credentials_of_another_server_stay(credentials: Credentials) -> None:
    credentials.put(SERVER, LOGIN, current=True)
    credentials.put("http://127.0.0.1:8080", LOGIN)
    credentials.forget(SERVER)
    assert credentials.get(SERVER) is None
    assert credentials.current() is None
    assert credentials.get("http://127.0.0.1:8080") == LOGIN


def test_credentials_that_others_can_read_are_refused(credentials: Credentials) -> None:
    credentials.put(SERVER, LOGIN)
    credentials.path.chmod(0o640)
    with pytest.raises(Usage, match="chmod 600"):
        credentials.get(SERVER)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"servers": 1}', b"\xff", b'{"servers'])
def test_credentials_that_are_damaged_say_what_to_do(
    credentials: Credentials, content: bytes
) -> None:
    credentials.put(SERVER, LOGIN)
    credentials.path.write_bytes(content)
    with pytest.raises(Usage, match="sign in again"):
        credentials.get(SERVER)


def test_default_path_follows_xdg() -> None:
    assert default_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/lpmos/credentials.json")
    assert default_path({}).name == "credentials.json"
