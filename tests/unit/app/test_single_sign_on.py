"""The settings of an identity provider: each on its own, and as a whole."""

from pathlib import Path

import pytest

from lpmos.app import single_sign_on
from lpmos.app.settings import Settings, load
from lpmos.app.settings_table import CONTROL
from lpmos.model.access import Role
from lpmos.model.errors import SettingsError

WHOLE = {
    "oidc_issuer": "https://sso.example.com/realms/lpmos/",
    "oidc_client_id": "lpmos",
    "oidc_roles": "lpmos-admins=admin, noc=operator,noc=approver,cn=x=viewer",
    "public_url": "https://lpmos.example.com/",
}


def settings(**flags: str) -> Settings:
    return load(CONTROL, flags, {})


def test_provider_is_as_the_settings_say(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the client\n")
    config = single_sign_on.provider_from(settings(**WHOLE, oidc_client_secret_file=str(file)))
    assert config is not None
    assert config.issuer == "https://sso.example.com/realms/lpmos/"  # as the provider writes it
    assert config.client_secret == "of the client"
    assert config.roles == (
        ("lpmos-admins", Role.ADMIN),
        ("noc", Role.OPERATOR),
        ("noc", Role.APPROVER),
        ("cn=x", Role.VIEWER),
    )
    assert (config.roles_claim, config.name_claim) == ("groups", "preferred_username")
    assert config.tenant_claim is None
    assert "of the client" not in repr(config)


def test_nothing_given_is_no_provider() -> None:
    assert single_sign_on.provider_from(settings()) is None


@pytest.mark.parametrize("name", ["oidc_client_id", "oidc_roles", "public_url"])
def test_provider_without_what_it_needs_is_refused(name: str) -> None:
    given = {each: value for each, value in WHOLE.items() if each != name}
    with pytest.raises(SettingsError, match=f"needs {name} as well"):
        single_sign_on.provider_from(settings(**given))


def test_what_does_nothing_without_a_provider_is_refused() -> None:
    with pytest.raises(SettingsError, match="oidc_roles do nothing without oidc_issuer"):
        single_sign_on.provider_from(settings(oidc_roles="noc=operator"))


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"two\nlines", b"\xff\xfe", "schlüssel".encode()]
)
def test_secret_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match="secret"):
        single_sign_on.provider_from(settings(**WHOLE, oidc_client_secret_file=str(file)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oidc_issuer", "http://sso.example.com"),
        ("oidc_issuer", "https://"),
        ("oidc_issuer", "sso.example.com"),
        ("oidc_issuer", "https://sso.example.com/?tenant=1"),
        ("oidc_roles", "lpmos-admins"),
        ("oidc_roles", "lpmos-admins=root"),
        ("oidc_roles", "=admin"),
        ("oidc_roles", "noc=operator,staff"),
    ],
)
def test_wrong_value_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.replace("_", "-")):
        settings(**{name: value})


def test_provider_of_this_machine_may_speak_plain_http() -> None:
    assert settings(oidc_issuer="http://localhost:8443").oidc_issuer == "http://localhost:8443"
