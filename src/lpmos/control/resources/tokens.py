"""The calls about tokens: personal ones, and those that were signed with the key."""

import re
from datetime import datetime

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from lpmos.control.access import CallerRequest, actor, check_own, needs, needs_for_others
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.documents import Held
from lpmos.core.identity.callers import Identity
from lpmos.model.access import Permission, Role
from lpmos.model.errors import Forbidden, NotFound
from lpmos.model.user import ApiToken, NewApiToken, User, check_new_api_token

_KEY_TOKEN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """An API token, without its secret."""

    id: str
    user: str
    name: str
    roles: tuple[Role, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class CreatedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new API token; `token` is shown this once and kept nowhere."""

    id: str
    token: str
    user: str
    name: str
    roles: tuple[Role, ...]
    expires_at: datetime


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    """The API tokens of one user, oldest first."""

    tokens: list[TokenView]


class KeyTokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was signed with the key, since it was seen here first."""

    id: str
    subject: str
    roles: tuple[Role, ...]
    first_used_at: datetime | None
    address: str
    expires_at: datetime
    revoked: bool


class KeyTokenList(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens signed with the key that are not over."""

    key_tokens: list[KeyTokenView]


@get("/tokens", responses=PROBLEMS, opt=needs_for_others(Permission.USER_READ))
async def list_tokens(
    request: CallerRequest,
    identity: NamedDependency[Identity],
    user: FromQuery[str | None] = None,
) -> TokenList:
    """The caller's API tokens, or another user's."""
    owner = await _owner(request, identity, user)
    return TokenList(tokens=[_view(held) for held in identity.tokens.of(owner)])


@post(
    "/tokens",
    responses=PROBLEMS,
    opt=needs_for_others(Permission.USER_WRITE, **{CHECK: check_new_api_token}),
)
async def create_token(
    data: JSONBody[NewApiToken],
    request: CallerRequest,
    identity: NamedDependency[Identity],
    user: FromQuery[str | None] = None,
) -> Response[CreatedToken]:
    """Make an API token with no role beyond its user's; the answer shows it, this once."""
    if request.user.credential.startswith("token:"):
        raise Forbidden("an API token makes no others; sign in with a password")
    owner = await _owner(request, identity, user)
    within = request.user.roles if owner.name == request.user.subject else None
    made = await identity.tokens.create(owner, data, within=within, by=actor(request))
    token = made.held.document
    view = CreatedToken(
        id=made.held.name,
        token=made.secret,
        user=token.user,
        name=token.name,
        roles=token.roles,
        expires_at=token.expires_at,
    )
    return Response(view, status_code=201)


@delete("/tokens/{token_id:str}", responses=PROBLEMS, opt=needs_for_others(Permission.USER_WRITE))
async def revoke_token(
    token_id: FromPath[str],
    request: CallerRequest,
    identity: NamedDependency[Identity],
    user: FromQuery[str | None] = None,
) -> None:
    """Revoke an API token of the caller, or of another user; it ends at once."""
    owner = await _owner(request, identity, user)
    await identity.tokens.revoke(owner, token_id, by=actor(request))


@get("/key-tokens", responses=PROBLEMS, opt=needs(Permission.BREAK_GLASS))
async def list_key_tokens(identity: NamedDependency[Identity]) -> KeyTokenList:
    """The tokens signed with the key that were used or revoked, and are not over."""
    known = [
        KeyTokenView(
            id=held.name,
            subject=held.document.subject,
            roles=held.document.roles,
            first_used_at=held.document.first_used_at,
            address=held.document.address,
            expires_at=held.document.expires_at,
            revoked=held.document.revoked,
        )
        for held in identity.key_tokens.documents.all()
    ]
    return KeyTokenList(key_tokens=known)


@delete(
    "/key-tokens/{key_token_id:str}",
    responses=PROBLEMS,
    opt=needs(Permission.BREAK_GLASS),
)
async def revoke_key_token(
    key_token_id: FromPath[str], request: CallerRequest, identity: NamedDependency[Identity]
) -> None:
    """Revoke a token signed with the key, used before or not."""
    if not _KEY_TOKEN_ID.fullmatch(key_token_id):
        raise NotFound(f"there is no key token {key_token_id[:64]}")
    await identity.key_tokens.revoke(key_token_id, by=actor(request))


async def _owner(request: CallerRequest, identity: Identity, user: str | None) -> User:
    """Whose tokens a call is about.

    Raises:
        Forbidden: another's, and the caller may not do this for others.
        NotFound: there is no such user, or it is another tenant's.
    """
    name = user if user is not None else request.user.subject
    check_own(request, name)
    return (await identity.users.find(name, request.user.tenant)).document


def _view(held: Held[ApiToken]) -> TokenView:
    token = held.document
    return TokenView(
        id=held.name,
        user=token.user,
        name=token.name,
        roles=token.roles,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
    )


TOKEN_CALLS = (list_tokens, create_token, revoke_token, list_key_tokens, revoke_key_token)
