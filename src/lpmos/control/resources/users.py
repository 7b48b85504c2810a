"""The calls about users, their passwords and their sessions."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from lpmos.control.access import CallerRequest, actor, check_own, needs, needs_for_others
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.conditional import ETAG, LOCATION, IfMatch, named_revision, tagged
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.resources.session import TypedPassword
from lpmos.core.documents import Held
from lpmos.core.identity.callers import Identity
from lpmos.model.access import Permission, Role, sees
from lpmos.model.errors import FieldProblem, InvalidInput, NotFound
from lpmos.model.user import (
    NewPassword,
    NewUser,
    Session,
    User,
    UserChange,
    check_new_user,
    check_user_change,
)


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A user; what proves who it is, is never shown."""

    name: str
    display_name: str
    roles: tuple[Role, ...]
    tenant: str | None
    disabled: bool
    source: Literal["local", "oidc"]
    has_password: bool
    created_at: datetime
    revision: int


class UserList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the users, by name."""

    users: list[UserView]
    total: int
    limit: int
    offset: int


class SetPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new password; who changes its own says the old one."""

    password: NewPassword
    old_password: TypedPassword | None = None


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a user is signed in; `current` is the session of this very call."""

    id: str
    kind: Literal["browser", "program"]
    created_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    current: bool


class SessionInfos(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of one user, oldest first."""

    sessions: list[SessionInfo]


@get("/users", responses=PROBLEMS, opt=needs(Permission.USER_READ))
async def list_users(
    request: CallerRequest,
    identity: NamedDependency[Identity],
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    offset: Annotated[int, QueryParameter(ge=0, le=10_000_000)] = 0,
) -> UserList:
    """One page of the users; a tenant's administrator sees that tenant's."""
    known = identity.users.all(request.user.tenant)
    page = [_view(held) for held in known[offset : offset + limit]]
    return UserList(users=page, total=len(known), limit=limit, offset=offset)


@post(
    "/users",
    responses=PROBLEMS,
    response_headers=[ETAG, LOCATION],
    opt=needs(Permission.USER_WRITE, **{CHECK: check_new_user}),
)
async def create_user(
    data: JSONBody[NewUser], request: CallerRequest, identity: NamedDependency[Identity]
) -> Response[UserView]:
    """Make a user; a tenant's administrator makes users of that tenant."""
    held = await identity.users.create(data, caller=request.user, by=actor(request))
    answer = tagged(_view(held), held.revision, status_code=201)
    answer.headers["Location"] = f"/api/v1/users/{held.name}"
    return answer


@get(
    "/users/{name:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs_for_others(Permission.USER_READ),
)
async def show_user(
    name: FromPath[str], request: CallerRequest, identity: NamedDependency[Identity]
) -> Response[UserView]:
    """One user; everybody sees itself."""
    check_own(request, name)
    held = await identity.users.find(name, request.user.tenant)
    return tagged(_view(held), held.revision)


@patch(
    "/users/{name:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.USER_WRITE, **{CHECK: check_user_change}),
)
async def change_user(
    name: FromPath[str],
    data: JSONBody[UserChange],
    request: CallerRequest,
    identity: NamedDependency[Identity],
    if_match: IfMatch = None,
) -> Response[UserView]:
    """Change what is named of a user; it counts from the user's next request on."""
    held = await identity.users.change(
        name,
        data,
        caller=request.user,
        by=actor(request),
        at_revision=named_revision(if_match),
    )
    return tagged(_view(held), held.revision)


@delete("/users/{name:str}", responses=PROBLEMS, opt=needs(Permission.USER_WRITE))
async def delete_user(
    name: FromPath[str],
    request: CallerRequest,
    identity: NamedDependency[Identity],
    if_match: IfMatch = None,
) -> None:
    """Delete a user; its sessions and tokens end with it."""
    await identity.users.delete(
        name, caller=request.user, by=actor(request), at_revision=named_revision(if_match)
    )


@put(
    "/users/{name:str}/password",
    responses=PROBLEMS,
    opt=needs_for_others(Permission.USER_WRITE),
    status_code=204,
)
async def set_password(
    name: FromPath[str],
    data: JSONBody[SetPassword],
    request: CallerRequest,
    identity: NamedDependency[Identity],
) -> None:
    """Set a password; all of the user's sessions end, but for the one that this comes from."""
    own = check_own(request, name)
    user = (await identity.users.find(name, request.user.tenant)).document
    if own:
        if data.old_password is None:
            raise InvalidInput(FieldProblem("old_password", "is missing"))
        await identity.check_password(user, data.old_password)
    by = actor(request)
    held = await identity.users.set_password(name, data.password, caller=request.user, by=by)
    kind, _, session_id = request.user.credential.partition(":")
    if own and kind == "session":
        await identity.sessions.renew(session_id, held.document.generation, by=by)


@get("/users/{name:str}/sessions", responses=PROBLEMS, opt=needs_for_others(Permission.USER_READ))
async def list_sessions(
    name: FromPath[str], request: CallerRequest, identity: NamedDependency[Identity]
) -> SessionInfos:
    """Where a user is signed in."""
    held = await _sessions(name, request, identity)
    return SessionInfos(sessions=[_info(each, request.user.credential) for each in held])


@delete(
    "/users/{name:str}/sessions", responses=PROBLEMS, opt=needs_for_others(Permission.USER_WRITE)
)
async def end_sessions(
    name: FromPath[str], request: CallerRequest, identity: NamedDependency[Identity]
) -> None:
    """Sign a user out everywhere, at once."""
    held = await _sessions(name, request, identity)
    by = actor(request)
    await identity.users.end_sessions(name, by=by)
    for each in held:
        if each.document.via is not None:  # these do not hang on the user's generation
            await identity.sessions.end(each.name, by=by)


@delete(
    "/users/{name:str}/sessions/{session_id:str}",
    responses=PROBLEMS,
    opt=needs_for_others(Permission.USER_WRITE),
)
async def end_session(
    name: FromPath[str],
    session_id: FromPath[str],
    request: CallerRequest,
    identity: NamedDependency[Identity],
) -> None:
    """End one session of a user for good."""
    check_own(request, name)
    await identity.users.find(name, request.user.tenant)
    session = (await identity.sessions.documents.read(session_id)).document
    if session.user != name or not sees(request.user.tenant, session.tenant):
        raise NotFound(f"there is no session {session_id[:64]}")
    await identity.sessions.end(session_id, by=actor(request))


async def _sessions(name: str, request: CallerRequest, identity: Identity) -> list[Held[Session]]:
    """The sessions of a user that the caller may see, without those that ended with others."""
    check_own(request, name)
    user = (await identity.users.find(name, request.user.tenant)).document
    return [
        each
        for each in identity.sessions.of(name)
        if sees(request.user.tenant, each.document.tenant)
        and (each.document.via is not None or each.document.generation == user.generation)
    ]


def _view(held: Held[User]) -> UserView:
    user = held.document
    return UserView(
        name=user.name,
        display_name=user.display_name,
        roles=user.roles,
        tenant=user.tenant,
        disabled=user.disabled,
        source=user.source,
        has_password=user.password_hash is not None,
        created_at=user.created_at,
        revision=held.revision,
    )


def _info(held: Held[Session], credential: str) -> SessionInfo:
    session = held.document
    return SessionInfo(
        id=held.name,
        kind="program" if session.refresh_sha256 else "browser",
        created_at=session.created_at,
        expires_at=session.expires_at,
        address=session.address,
        user_agent=session.user_agent,
        current=credential == f"session:{held.name}",
    )


USER_CALLS = (
    list_users,
    create_user,
    show_user,
    change_user,
    delete_user,
    set_password,
    list_sessions,
    end_sessions,
    end_session,
)
