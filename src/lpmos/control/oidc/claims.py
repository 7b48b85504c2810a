"""What the claims of an identity provider mean here: a name, roles, and a tenant.

Nothing is given by default. An account has the roles that its groups are mapped to and no others;
where tenants come from the provider, an account has one or says that it has none (`STAFF`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from lpmos.control.config import OidcConfig
from lpmos.model.errors import InvalidInput
from lpmos.model.machine import parse_tenant
from lpmos.model.user import ExternalIdentity, parse_user_name

STAFF = "*"
"""The value of the tenant claim that is no tenant's name: the provider's own staff, who see all."""

NAME_CHARACTERS = 100
GROUPS_SHOWN = 10
GROUP_CHARACTERS = 64


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the provider vouches for; `lacking` says why that gives no access here."""

    identity: ExternalIdentity
    lacking: str | None = None


def claim(claims: Mapping[str, Any], name: str) -> object:
    """One claim: by its exact name, or where dots lead into it (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    first, dot, rest = name.partition(".")
    inner = claims.get(first)
    return claim(inner, rest) if dot and isinstance(inner, Mapping) else None


def vouched(claims: Mapping[str, Any], config: OidcConfig) -> Vouched:
    """What verified claims say; who lacks something has no roles."""
    name, lacking = _name(config.name_claim, claim(claims, config.name_claim))
    groups = _words(claim(claims, config.roles_claim))
    roles = tuple(role for group, role in config.roles if group in groups)
    if not roles:
        lacking = lacking or _unmapped(config.roles_claim, groups)
    tenant = None
    if config.tenant_claim is not None and lacking is None:
        tenant, lacking = _tenant(config.tenant_claim, claim(claims, config.tenant_claim))
    identity = ExternalIdentity(
        issuer=config.issuer,
        subject=str(claims["sub"]),
        name=name,
        roles=() if lacking else roles,
        tenant=tenant,
        display_name=_display_name(claims.get("name")),
    )
    return Vouched(identity=identity, lacking=lacking)


def _words(value: object) -> tuple[str, ...]:
    """A claim of one text or of several."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(each for each in value if isinstance(each, str))
    return ()


def _unmapped(name: str, groups: tuple[str, ...]) -> str:
    if not groups:
        return f"the identity provider says nothing in the claim {name!r}, which roles come from"
    return f"none of its groups has a role here ({name}: {_shown(groups)})"


def _tenant(name: str, value: object) -> tuple[str | None, str | None]:
    """The tenant, and what is wrong with it."""
    words = _words(value)
    if len(words) != 1:
        return None, f"the claim {name!r} must name one tenant; it names {len(words)}"
    if words[0] == STAFF:
        return None, None
    try:
        return parse_tenant(words[0], name), None
    except InvalidInput as error:
        return None, str(error)


def _name(name: str, value: object) -> tuple[str, str | None]:
    """The user's name, and what is wrong with it."""
    if not isinstance(value, str):
        return "", f"the identity provider says no name in the claim {name!r}"
    try:
        return parse_user_name(value), None
    except InvalidInput as error:
        return "", f"{_shown([value])!r} cannot be a user's name here: {error}"


def _display_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(each for each in text if each.isprintable())[:NAME_CHARACTERS]


def _shown(words: Iterable[str]) -> str:
    """Foreign words, as they can stand in a sentence."""
    printable = ["".join(each for each in word if each.isprintable()) for word in words]
    shown = [word[:GROUP_CHARACTERS] for word in printable[:GROUPS_SHOWN]]
    return ", ".join([*shown, "…"] if len(printable) > GROUPS_SHOWN else shown)
