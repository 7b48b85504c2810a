"""What is over is not kept: sessions and tokens past their end, or whose user is no more.

One of the duties of the elected control plane. It goes by what memory has, deletes only what is
still as it was there, and tells the audit log nothing: an end that was said beforehand is no event.
"""

import asyncio
from collections.abc import Iterator

import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Held
from lpmos.core.identity.callers import Identity
from lpmos.model.user import ApiToken, Session
from lpmos.store import keys
from lpmos.store.api import Compare, Delete, Leadership, Store, StoreError

log = structlog.get_logger()

EVERY_S = 60.0
AT_ONCE = 50

Over = tuple[str, int]
"""A key, and the revision that it was found over at."""


class IdentityRetention:
    """Deletes every `EVERY_S` what is over."""

    def __init__(self, store: Store, identity: Identity, clock: Clock) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled."""
        while True:
            try:
                await self.sweep(leadership)
            except StoreError as error:
                log.info("sessions and tokens are not swept yet", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def sweep(self, leadership: Leadership) -> None:
        """Do it once; what was changed meanwhile is looked at the next time."""
        over = list(self._over())
        for first in range(0, len(over), AT_ONCE):
            part = over[first : first + AT_ONCE]
            compare = [Compare(key, "mod", "=", revision) for key, revision in part]
            done = await self._store.txn(
                [*leadership.fence, *compare], [Delete(key) for key, _ in part]
            )
            log.debug("deleted sessions and tokens", count=len(part), done=done.succeeded)

    def _over(self) -> Iterator[Over]:
        now = self._clock()
        for session in self._identity.sessions.documents.all():
            if session.document.expires_at <= now or self._is_orphan(session):
                yield keys.control("sessions", session.name), session.revision
        for token in self._identity.tokens.documents.all():
            if token.document.expires_at <= now or self._is_left(token):
                yield keys.control("tokens", token.name), token.revision
        for key_token in self._identity.key_tokens.documents.all():
            if key_token.document.expires_at <= now:
                yield keys.control("key-tokens", key_token.name), key_token.revision

    def _is_orphan(self, session: Held[Session]) -> bool:
        if session.document.via is not None:
            return False
        user = self._identity.users.documents.get(session.document.user)
        return user is None or user.document.generation != session.document.generation

    def _is_left(self, token: Held[ApiToken]) -> bool:
        user = self._identity.users.documents.get(token.document.user)
        return user is None or user.document.user_id != token.document.user_id
