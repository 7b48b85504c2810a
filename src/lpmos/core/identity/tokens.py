"""Tokens that outlast a session: personal API tokens, and those signed with the key (break-glass).

An API token is `lpmos_ID_SECRET`; of the secret only the SHA-256 is stored. A token signed with the
key is worth what it says; it is written down here when it is first used, so that it is seen and can
be revoked by its id.
"""

import asyncio
import hmac
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.identity.owned import Owned
from lpmos.model.access import Role
from lpmos.model.audit import SYSTEM, Actor
from lpmos.model.errors import Conflict, Forbidden, NotFound, Unauthenticated
from lpmos.model.user import ApiToken, KeyToken, NewApiToken, User, digest, new_id, ordered
from lpmos.store import keys
from lpmos.store.api import Store, StoreError, Unavailable
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

PREFIX = "lpmos_"
TOKENS_OF_ONE = 50
KEY_TOKEN_LIFETIME = timedelta(hours=24)
"""The longest that a token signed with the key may last."""

USE_WRITTEN_EVERY = timedelta(hours=1)
WRITE_TIMEOUT_S = 2.0


class Made(NamedTuple):
    """A new token; `secret` is the whole token, which is nowhere else."""

    held: Held[ApiToken]
    secret: str


class ApiTokens:
    """The personal tokens of every user; memory has them all."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock) -> None:
        self._clock = clock
        self.documents = Documents(
            store, mirror, clock, prefix=keys.control("tokens"), kind=ApiToken, noun="token"
        )
        self._owned = Owned(self.documents)
        self._tried: dict[str, datetime] = {}
        self.documents.subscribe(self._forget)

    def of(self, user: User) -> list[Held[ApiToken]]:
        """The user's tokens that are not over, oldest first."""
        now = self._clock()
        held = [
            each
            for each in self._owned.of(user.name)
            if each.document.user_id == user.user_id and each.document.expires_at > now
        ]
        return sorted(held, key=lambda each: each.document.created_at)

    async def create(
        self, user: User, new: NewApiToken, *, within: tuple[Role, ...] | None, by: Actor
    ) -> Made:
        """Make a token.

        Args:
            user: whose it is.
            new: as `check_new_api_token` lets it pass.
            within: the roles that the caller may give; None: any of the user's.
            by: who makes it.

        Raises:
            Forbidden: a role that the user, or the caller, has not got.
            Conflict: the user has too many.
        """
        roles = ordered(new.roles if new.roles is not None else user.roles)
        allowed = set(user.roles) if within is None else set(user.roles) & set(within)
        if not allowed.issuperset(roles):
            raise Forbidden("a token has no roles beyond its user's and beyond who makes it")
        if len(self.of(user)) >= TOKENS_OF_ONE:
            raise Conflict(f"{user.name} has {TOKENS_OF_ONE} tokens; revoke one first")
        token_id, secret = new_id(), secrets.token_urlsafe(32)
        now = self._clock()
        token = ApiToken(
            user=user.name,
            user_id=user.user_id,
            tenant=user.tenant,
            name=new.name,
            roles=roles,
            sha256=digest(secret),
            created_at=now,
            expires_at=now + timedelta(days=new.lifetime_days),
        )
        held = await self.documents.create(token_id, token, by=by)
        return Made(held, f"{PREFIX}{token_id}_{secret}")

    async def revoke(self, user: User, token_id: str, *, by: Actor) -> None:
        """Delete a token of this user, which ends it at once.

        Raises:
            NotFound: the user has no such token.
        """
        held = await self.documents.read(token_id)
        if held.document.user_id != user.user_id:
            raise NotFound(f"there is no token {token_id[:64]}")
        await self.documents.delete(token_id, by=by, verb="revoked")

    async def note_use(self, held: Held[ApiToken]) -> None:
        """Write down that a token is in use, once an hour, without much waiting for the store."""
        now = self._clock()
        last = self._tried.get(held.name) or held.document.last_used_at
        if last is not None and now - last < USE_WRITTEN_EVERY:
            return
        self._tried[held.name] = now

        def used(token: ApiToken) -> ApiToken:
            return msgspec.structs.replace(token, last_used_at=now)

        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self.documents.change(held.name, used, by=SYSTEM, verb="")
        except (StoreError, NotFound, TimeoutError) as error:
            log.warning("the use of a token was not written", token=held.name, reason=str(error))

    def _forget(self, name: str, after: Held[ApiToken] | None) -> None:
        if after is None:
            self._tried.pop(name, None)


def split(token: str) -> tuple[str, str]:
    """Id and secret of an API token.

    Raises:
        Unauthenticated: it has not the form of one.
    """
    token_id, _, secret = token.removeprefix(PREFIX).partition("_")
    if len(token_id) != 32 or not set(token_id) <= set("0123456789abcdef") or not secret:
        raise Unauthenticated("the token is not valid")
    return token_id, secret


def is_secret_of(token: ApiToken, secret: str) -> bool:
    """Whether this is the token's secret, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(token.sha256, digest(secret))


class KeyTokens:
    """The tokens signed with the key that were seen, or revoked before."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock) -> None:
        self._mirror = mirror
        self._clock = clock
        self.documents = Documents(
            store, mirror, clock, prefix=keys.control("key-tokens"), kind=KeyToken, noun="key-token"
        )

    async def seen(self, token_id: str, token: KeyToken, *, by: Actor) -> KeyToken:
        """What is known of a token that came in; the first time it is written down.

        Where the store is away, what memory has decides: such a token is for the day when other
        things do not work.

        Raises:
            Unavailable: the store was never read by this control plane.
        """
        known = self.documents.get(token_id)
        if known is not None:
            return known.document
        if not self._mirror.revision:
            raise Unavailable("the store was not read yet; try again")
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S if self._mirror.connected else 0):
                return await self._written(token_id, token, by)
        except (StoreError, TimeoutError):
            log.warning("the use of a key token was not written", token=token_id, by=by.name)
            return token

    async def _written(self, token_id: str, token: KeyToken, by: Actor) -> KeyToken:
        try:
            held = await self.documents.create(token_id, token, by=by, verb="used")
        except Conflict:
            held = await self.documents.read(token_id)
        return held.document

    async def revoke(self, token_id: str, *, by: Actor) -> None:
        """Let a token be valid no more, seen before or not."""

        def revoked(token: KeyToken) -> KeyToken:
            return token if token.revoked else msgspec.structs.replace(token, revoked=True)

        unseen = KeyToken(
            subject="unknown",
            roles=(),
            expires_at=self._clock() + KEY_TOKEN_LIFETIME,
            revoked=True,
        )
        try:
            await self.documents.change(token_id, revoked, by=by, verb="revoked")
        except NotFound:
            await self.documents.create(token_id, unseen, by=by, verb="revoked")
