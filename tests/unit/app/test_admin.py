"""The signing key and the first token: private files, made once."""

import stat
from pathlib import Path

import pytest

from lpmos.app.admin import prepare, signer_from
from lpmos.model.errors import SettingsError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_prepare_first_start_makes_key_and_token_for_nobody_else(tmp_path: Path) -> None:
    signer = prepare(tmp_path / "state", None)
    token = tmp_path / "state/admin.token"
    assert mode(token) == mode(tmp_path / "state/auth.key") == 0o600
    assert signer.verify(token.read_text().strip()).subject == "admin"


def test_prepare_second_start_keeps_key_and_token(tmp_path: Path) -> None:
    prepare(tmp_path, None)
    token = (tmp_path / "admin.token").read_text()
    again = prepare(tmp_path, None)
    assert (tmp_path / "admin.token").read_text() == token
    assert again.verify(token.strip()).subject == "admin"


def test_prepare_two_installations_do_not_trust_each_other(tmp_path: Path) -> None:
    prepare(tmp_path / "a", None)
    other = prepare(tmp_path / "b", None)
    with pytest.raises(Exception, match="not valid"):
        other.verify((tmp_path / "a/admin.token").read_text().strip())


def test_signer_from_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "auth.key"
    key.write_bytes(bytes(32))
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        signer_from(key)


def test_signer_from_a_short_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "auth.key"
    key.touch(mode=0o600)
    with pytest.raises(SettingsError, match="32"):
        signer_from(key)


def test_prepare_a_named_key_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.key"):
        prepare(tmp_path, tmp_path / "absent.key")
