"""Who somebody is: by name and password, by a session, by a token, by another's word.

Roles, tenant and whether a user is enabled are looked up in memory at every request, so a change or
a revocation counts at once on every control plane. A session or token that is not known here yet is
looked for in the store: another control plane may have made it (F7). Every answer to who is not let
in is the same, and takes as long.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.identity.limits import FailedLogins, site_of
from lpmos.core.identity.passwords import Passwords
from lpmos.core.identity.sessions import OVER, SESSION_LIFETIME, Sessions
from lpmos.core.identity.tokens import ApiTokens, KeyTokens, is_secret_of, split
from lpmos.core.identity.users import Users, wrong_password
from lpmos.model.access import Principal
from lpmos.model.audit import Actor
from lpmos.model.errors import InvalidInput, NotFound, Unauthenticated
from lpmos.model.user import (
    USER_AGENT_CHARACTERS,
    ApiToken,
    Caller,
    ExternalIdentity,
    KeyToken,
    Session,
    User,
    parse_user_name,
)
from lpmos.store.api import Store, Unavailable
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

VISIBLE_TIMEOUT_S = 2.0
GUESSES_OF_ONE_ADDRESS = 10
GUESSES_AT_ONE_NAME = 20

WRONG = "the user name or the password is wrong"
INVALID = "the token is not valid"


class Identity:
    """Turns what a caller shows into the `Principal` that it is at this moment."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock, passwords: Passwords) -> None:
        self._mirror = mirror
        self._clock = clock
        self._passwords = passwords
        self.users = Users(store, mirror, clock, passwords)
        self.sessions = Sessions(store, mirror, clock)
        self.tokens = ApiTokens(store, mirror, clock)
        self.key_tokens = KeyTokens(store, mirror, clock)
        self.guesses = FailedLogins(clock, limit=GUESSES_OF_ONE_ADDRESS)
        self._names = FailedLogins(clock, limit=GUESSES_AT_ONE_NAME)

    async def authenticate(self, name: str, password: str, caller: Caller) -> Held[User]:
        """The user with this name and password.

        Raises:
            Unauthenticated: there is none, it is disabled, or signs in elsewhere.
            TooBusy: too many wrong ones came from there, or for this name.
        """
        try:
            name = parse_user_name(name)
        except InvalidInput:
            name = ""
        with (
            self.guesses.attempt(site_of(caller.address), Unauthenticated),
            self._names.attempt(name, Unauthenticated),
        ):
            held = await self.users.documents.fresh(name) if name else None
            user = held.document if held and not held.document.disabled else None
            stored = user.password_hash if user else None
            right, rehashed = await self._passwords.check(stored, password)
            if held is None or user is None or not right:
                known = held.name if held else None
                log.warning("refused a login", user=known, address=caller.address)
                raise Unauthenticated(WRONG)
        if rehashed:
            await self.users.rehash(user, rehashed)
        return held

    async def check_password(self, user: User, password: str) -> None:
        """Make sure that somebody who is signed in knows the user's password.

        Raises:
            InvalidInput: it is another one.
            TooBusy: too many wrong ones came for this name.
        """
        with self._names.attempt(user.name, InvalidInput):
            right, _ = await self._passwords.check(user.password_hash, password)
            if not right:
                raise wrong_password("old_password")

    async def admit(self, identity: ExternalIdentity, caller: Caller | None = None) -> Held[User]:
        """The user that an identity provider has just vouched for.

        It is made or brought up to date; `open` then opens the session.

        Raises:
            Unauthenticated: the user is disabled here.
            InvalidInput, Conflict: as `Users.admit`.
        """
        held = await self.users.admit(identity, caller)
        if held.document.disabled:
            raise Unauthenticated(f"{held.name} is disabled; ask an administrator")
        return held

    async def open(
        self,
        session_id: str,
        user: User,
        caller: Caller,
        *,
        refresh_sha256: str | None = None,
    ) -> Held[Session]:
        """Open a session of a user who has proved who it is.

        Args:
            session_id: a new one (`model.user.new_id`).
            user: as `authenticate` or `admit` gave it.
            caller: from where.
            refresh_sha256: of the refresh token; None for a browser, which has none.
        """
        now = self._clock()
        session = Session(
            user=user.name,
            tenant=user.tenant,
            generation=user.generation,
            created_at=now,
            expires_at=now + SESSION_LIFETIME,
            refresh_sha256=refresh_sha256,
            address=caller.address,
            user_agent=_shown(caller.user_agent),
        )
        by = _actor(user.name, user.tenant, f"session:{session_id}", caller)
        return await self.sessions.open(session_id, session, by=by)

    async def open_via(
        self, session_id: str, principal: Principal, caller: Caller
    ) -> Held[Session]:
        """Open a browser's session for who has shown a token; it ends with that at the latest."""
        now = self._clock()
        session = Session(
            user=principal.subject,
            tenant=principal.tenant,
            via=principal.credential,
            created_at=now,
            expires_at=min(now + SESSION_LIFETIME, principal.expires_at),
            address=caller.address,
            user_agent=_shown(caller.user_agent),
        )
        by = _actor(principal.subject, principal.tenant, principal.credential, caller)
        return await self.sessions.open(session_id, session, by=by)

    async def by_session(
        self, session_id: str, subject: str, expires_at: datetime | None = None
    ) -> Principal:
        """Who has this session.

        Args:
            session_id: as the caller's signed token says.
            subject: whose it is, as that says.
            expires_at: when that ends; the session's end where it is missing.

        Raises:
            Unauthenticated: it is over, or another's, or its user may not be here any more.
            Unavailable: it is not known here, and the store is away.
        """
        await self._learn(self.sessions.documents, session_id, OVER)
        principal = self._of_session(session_id)
        if principal.subject != subject:
            raise Unauthenticated(INVALID)
        return _until(principal, expires_at)

    async def by_api_token(self, token: str, address: str) -> Principal:
        """Who has this personal token; raises as `by_session`, and:

        Raises:
            TooBusy: too many wrong ones came from there, and this one is not known here.
        """
        token_id, secret = split(token)
        if self.tokens.documents.get(token_id) is None:
            self.guesses.check(site_of(address))
        try:
            held = await self._checked(token_id, secret)
        except Unauthenticated:
            self.guesses.failed(site_of(address))
            raise
        principal = self._of_api_token(token_id)
        await self.tokens.note_use(held)
        return principal

    def holder(self, token: str) -> Held[ApiToken] | None:
        """The personal token that this is, good or not any more; None where memory has none."""
        try:
            token_id, secret = split(token)
        except Unauthenticated:
            return None
        held = self.tokens.documents.get(token_id)
        return held if held and is_secret_of(held.document, secret) else None

    async def by_key_token(self, token_id: str, token: KeyToken) -> Principal:
        """Who has this token, which was signed with the key: what it says, unless it was revoked.

        Raises:
            Unauthenticated: it was revoked.
            Unavailable: the store was never read by this control plane.
        """
        now = self._clock()
        by = Actor(name=token.subject, credential=f"key:{token_id}", address=token.address)
        token = msgspec.structs.replace(token, first_used_at=now)
        known = await self.key_tokens.seen(token_id, token, by=by)
        if known.revoked:
            raise Unauthenticated("the token was revoked")
        return _of_key_token(token_id, token)

    def stands(self, principal: Principal) -> bool:
        """Whether who was let in would be let in again as the same, by what memory has now.

        It is for connections that stay open; see `subscribe`.
        """
        kind, _, name = principal.credential.partition(":")
        if kind == "key":
            known = self.key_tokens.documents.get(name)
            return known is None or not known.document.revoked
        try:
            now = self._of_session(name) if kind == "session" else self._of_api_token(name)
        except Unauthenticated:
            return False
        return (now.roles, now.tenant) == (principal.roles, principal.tenant)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever `stands` may answer otherwise; the result unsubscribes."""
        collections: tuple[Documents[Any], ...] = (
            self.users.documents,
            self.sessions.documents,
            self.tokens.documents,
            self.key_tokens.documents,
        )
        subscribed = [each.subscribe(lambda name, after: listener()) for each in collections]

        def unsubscribe() -> None:
            for each in subscribed:
                each()

        return unsubscribe

    async def _checked(self, token_id: str, secret: str) -> Held[ApiToken]:
        await self._learn(self.tokens.documents, token_id, INVALID)
        held = self.tokens.documents.get(token_id)
        if held is None or not is_secret_of(held.document, secret):
            raise Unauthenticated(INVALID)
        return held

    def _of_session(self, session_id: str) -> Principal:
        held = self.sessions.documents.get(session_id)
        if held is None or held.document.expires_at <= self._clock():
            raise Unauthenticated(OVER)
        session = held.document
        if session.via is not None:
            return _until(self._of_token(session.via), session.expires_at)
        user = self._enabled(session.user)
        if user is None or user.generation != session.generation:
            raise Unauthenticated(OVER)
        return Principal(
            subject=user.name,
            roles=user.roles,
            tenant=user.tenant,
            expires_at=session.expires_at,
            credential=f"session:{session_id}",
        )

    def _of_token(self, credential: str) -> Principal:
        """Who has the token that a session was opened with; that memory has it, if it is there."""
        kind, _, name = credential.partition(":")
        if kind == "session":
            return self._of_session(name)
        if kind == "token":
            return self._of_api_token(name)
        held = self.key_tokens.documents.get(name)
        if held is None or held.document.revoked or held.document.expires_at <= self._clock():
            raise Unauthenticated(OVER)
        return _of_key_token(name, held.document)

    def _of_api_token(self, token_id: str) -> Principal:
        held = self.tokens.documents.get(token_id)
        if held is None:
            raise Unauthenticated(INVALID)
        token = held.document
        user = self._enabled(token.user)
        if user is None or user.user_id != token.user_id or token.expires_at <= self._clock():
            raise Unauthenticated(INVALID)
        return Principal(
            subject=user.name,
            roles=tuple(role for role in token.roles if role in user.roles),
            tenant=user.tenant,
            expires_at=token.expires_at,
            credential=f"token:{token_id}",
        )

    def _enabled(self, name: str) -> User | None:
        held = self.users.documents.get(name)
        return None if held is None or held.document.disabled else held.document

    async def _learn(self, documents: Documents[Any], name: str, unknown: str) -> None:
        """Have memory know a document that the store has, and all that is older.

        Raises:
            Unauthenticated: the store has none; it says `unknown`.
            Unavailable: memory does not follow the store now.
        """
        if documents.get(name) is not None:
            return
        try:
            held = await documents.read(name)
            async with asyncio.timeout(VISIBLE_TIMEOUT_S):
                await self._mirror.wait_for(held.revision)
        except NotFound:
            raise Unauthenticated(unknown) from None
        except TimeoutError:
            raise Unavailable("the store is not followed now; try again") from None


def _until(principal: Principal, expires_at: datetime | None) -> Principal:
    """The principal, known for no longer than that."""
    if expires_at is None or expires_at >= principal.expires_at:
        return principal
    return msgspec.structs.replace(principal, expires_at=expires_at)


def _of_key_token(token_id: str, token: KeyToken) -> Principal:
    return Principal(
        subject=token.subject,
        roles=token.roles,
        tenant=token.tenant,
        expires_at=token.expires_at,
        credential=f"key:{token_id}",
    )


def _actor(name: str, tenant: str | None, credential: str | None, caller: Caller) -> Actor:
    return Actor(
        name=name,
        tenant=tenant,
        credential=credential,
        address=caller.address,
        request_id=caller.request_id,
    )


def _shown(user_agent: str) -> str:
    """What a browser says of itself, as it can stand in a list."""
    line = "".join(each if each.isprintable() else " " for each in user_agent)
    return line[:USER_AGENT_CHARACTERS]
