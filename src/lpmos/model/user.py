"""Users, their sessions and API tokens: what is stored of them, and what may be asked for.

Nothing here holds a secret that could be used: passwords as their argon2id hash, tokens as their
SHA-256. What the audit log may have of each is `audited()`.
"""

import hashlib
import re
import secrets
import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lpmos.model.access import Role
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.machine import parse_tenant

PASSWORD_CHARACTERS = (12, 128)
USER_AGENT_CHARACTERS = 200
RESERVED_NAMES = frozenset({"system"})
"""Names under which the audit log knows others than people."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._@+-]{0,63}$"
_NAME = re.compile(NAME_PATTERN[1:-1])

UserName = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        examples=["alice"],
        extra_json_schema={"not": {"enum": sorted(RESERVED_NAMES)}},
    ),
]
TenantName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", examples=["team-a"])]
DisplayName = Annotated[
    str, Meta(max_length=100, examples=["Alice Miller"], extra_json_schema={"format": "printable"})
]
Roles = Annotated[tuple[Role, ...], Meta(min_length=1, max_length=len(Role))]
NewPassword = Annotated[
    str,
    Meta(
        min_length=PASSWORD_CHARACTERS[0],
        max_length=PASSWORD_CHARACTERS[1],
        examples=["correct horse battery"],
        extra_json_schema={"format": "password"},
    ),
]
Label = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        examples=["nightly build"],
        extra_json_schema={"format": "printable", "pattern": r"\S"},
    ),
]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Someone, or a program, that may sign in.

    `generation` changes whenever all of the user's sessions end; a session of another one is over.
    `user_id` tells the user from an earlier one of the same name. `external_id` says who vouches
    for a user of the source `oidc`.
    """

    name: str
    user_id: str
    generation: str
    roles: tuple[Role, ...]
    tenant: str | None = None
    disabled: bool = False
    source: Literal["local", "oidc"] = "local"
    external_id: str | None = None
    display_name: str = ""
    password_hash: str | None = None
    created_at: datetime

    def audited(self) -> dict[str, Any]:
        """All but what proves who it is."""
        return {
            "roles": [role.value for role in self.roles],
            "tenant": self.tenant,
            "disabled": self.disabled,
            "source": self.source,
            "display_name": self.display_name,
        }


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody signed in, until when, from where.

    `via` names the token that it was opened with (`token:ID`, `key:ID`): the session has what that
    has, and ends with it. Otherwise `generation` is the user's. `refresh_sha256` is of the one
    refresh token that is valid; a browser's session has none.
    """

    user: str
    tenant: str | None = None
    generation: str = ""
    via: str | None = None
    created_at: datetime
    expires_at: datetime
    refresh_sha256: str | None = None
    address: str = ""
    user_agent: str = ""

    def audited(self) -> dict[str, Any]:
        """Whose it is and from where."""
        shown = {"user": self.user, "address": self.address, "via": self.via}
        return {name: value for name, value in shown.items() if value}


class ApiToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A personal token for programs; it is worth what its user is, within its own roles."""

    user: str
    user_id: str
    tenant: str | None = None
    name: str
    roles: tuple[Role, ...]
    sha256: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None

    def audited(self) -> dict[str, Any]:
        """All but the digest."""
        return {
            "user": self.user,
            "name": self.name,
            "roles": [role.value for role in self.roles],
            "expires_at": self.expires_at.isoformat(),
        }


class KeyToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token that was signed on a machine with the control plane's key, once it was seen here."""

    subject: str
    roles: tuple[Role, ...]
    expires_at: datetime
    first_used_at: datetime | None = None
    address: str = ""
    revoked: bool = False
    tenant: str | None = None

    def audited(self) -> dict[str, Any]:
        """Everything: none of it is secret."""
        return {
            "subject": self.subject,
            "roles": [role.value for role in self.roles],
            "expires_at": self.expires_at.isoformat(),
            "address": self.address,
            "revoked": self.revoked,
        }


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody who signs in comes from."""

    address: str
    user_agent: str = ""
    request_id: str | None = None


class ExternalIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an identity provider vouches for; `subject` is unique and lasting at the `issuer`."""

    issuer: str
    subject: str
    name: UserName
    roles: Roles
    tenant: str | None = None
    display_name: str = ""

    @property
    def external_id(self) -> str:
        """Who it is, whatever the name becomes."""
        return f"{self.issuer} {self.subject}"


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a user; one without a password signs in by API tokens alone."""

    name: UserName
    roles: Roles
    password: NewPassword | None = None
    tenant: TenantName | None = None
    display_name: DisplayName = ""
    disabled: bool = False


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be otherwise of a user; what is not named stays."""

    roles: Roles | UnsetType = UNSET
    tenant: TenantName | UnsetType | None = UNSET
    display_name: DisplayName | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class NewApiToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes an API token; without roles it has all of its user's."""

    name: Label
    roles: Roles | None = None
    lifetime_days: Annotated[int, Meta(ge=1, le=366)] = 90


def check_new_user(new: NewUser) -> NewUser:
    """The input with its values checked beyond their types.

    Raises:
        InvalidInput: names every wrong field.
    """
    problems = _name_problems(new.name) + _shown_problems(new.tenant, new.display_name)
    if new.password is not None:
        problems += password_problems(new.password, new.name)
    if problems:
        raise InvalidInput(*problems)
    return new


def check_user_change(change: UserChange) -> UserChange:
    """The input with its values checked; raises as `check_new_user`."""
    tenant = None if change.tenant is UNSET else change.tenant
    display_name = "" if change.display_name is UNSET else change.display_name
    if problems := _shown_problems(tenant, display_name):
        raise InvalidInput(*problems)
    return change


def check_new_api_token(new: NewApiToken) -> NewApiToken:
    """The input with its values checked; raises as `check_new_user`."""
    if not new.name.isprintable() or not new.name.strip():
        raise InvalidInput(FieldProblem("name", "must be printable text"))
    return new


def parse_user_name(text: str, field: str = "name") -> str:
    """The name that somebody typed, in the one way that it is written: lower case.

    Raises:
        InvalidInput: no user can have that name.
    """
    name = text.strip().lower()
    if problems := _name_problems(name, field):
        raise InvalidInput(*problems)
    return name


def password_problems(password: str, name: str, field: str = "password") -> list[FieldProblem]:
    """What keeps a password from being the user's; nothing of it is repeated."""
    shortest, longest = PASSWORD_CHARACTERS
    if not shortest <= len(password) <= longest:
        return [FieldProblem(field, f"must have {shortest} to {longest} characters")]
    if not password.casefold().replace(name.casefold(), "").strip():
        return [FieldProblem(field, "must be something else than the user's name")]
    try:
        password.encode()
    except UnicodeEncodeError:
        return [FieldProblem(field, "has characters that are no text")]
    return []


def normalised(password: str) -> str:
    """The password as it is hashed: the same whatever keyboard it was typed on (RFC 8265, NFC)."""
    return unicodedata.normalize("NFC", password)


def ordered(roles: tuple[Role, ...]) -> tuple[Role, ...]:
    """Each role once, in the order of `Role`."""
    return tuple(role for role in Role if role in roles)


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


def digest(secret: str) -> str:
    """SHA-256 of a secret of full entropy, as it is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _name_problems(name: str, field: str = "name") -> list[FieldProblem]:
    if not _NAME.fullmatch(name):
        text = "must be 1 to 64 of a-z, 0-9, '.', '_', '@', '+', '-', a letter or digit first"
        return [FieldProblem(field, text)]
    if name in RESERVED_NAMES:
        return [FieldProblem(field, f"{name} is reserved")]
    return []


def _shown_problems(tenant: str | None, display_name: str) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    if tenant is not None:
        try:
            parse_tenant(tenant)
        except InvalidInput as error:
            problems += error.problems
    if not display_name.isprintable():
        problems.append(FieldProblem("display_name", "has control characters"))
    return problems
