"""The identity provider that the settings name, checked as a whole before anything starts."""

from pathlib import Path

from lpmos.app.settings import Settings
from lpmos.control.config import OidcConfig
from lpmos.model.errors import SettingsError

NEEDED = ("oidc_client_id", "oidc_roles", "public_url")
USELESS_ALONE = ("oidc_client_id", "oidc_client_secret_file", "oidc_ca", "oidc_roles")


def provider_from(settings: Settings) -> OidcConfig | None:
    """The provider, where there is one.

    Raises:
        SettingsError: something that it needs is missing, or the secret cannot be read.
    """
    if settings.oidc_issuer is None:
        if given := [name for name in USELESS_ALONE if getattr(settings, name)]:
            raise SettingsError(f"{' and '.join(given)} do nothing without oidc_issuer")
        return None
    if missing := [name for name in NEEDED if not getattr(settings, name)]:
        raise SettingsError(f"oidc_issuer needs {' and '.join(missing)} as well")
    return OidcConfig(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=_secret(settings.oidc_client_secret_file),
        ca=settings.oidc_ca,
        roles=settings.oidc_roles,
        roles_claim=settings.oidc_roles_claim,
        tenant_claim=settings.oidc_tenant_claim,
        name_claim=settings.oidc_name_claim,
    )


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"oidc_client_secret_file cannot be read: {error}") from error
    if not secret.isascii() or not secret.isprintable() or not secret:
        raise SettingsError(f"{path} must hold the client's secret: one line of ASCII text")
    return secret
