"""Sessions of people and programs: opened, kept by a refresh token that is used once, ended.

A session lives `SESSION_LIFETIME`, whatever happens to it. Its refresh token is replaced at every
use; who comes with one that was used before has copied it, or was copied: the session ends.
"""

import hmac
from datetime import timedelta

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.identity.owned import Owned
from lpmos.core.journal import put
from lpmos.model.audit import SYSTEM, Actor, AuditEvent, new_event_id
from lpmos.model.errors import NotFound, Unauthenticated
from lpmos.model.user import Session
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror

SESSION_LIFETIME = timedelta(hours=12)
SESSIONS_OF_ONE = 50
"""How many sessions one user has at once; the oldest ends where there would be more."""

OVER = "the session has ended; log in again"


class Sessions:
    """The sessions of every user; memory has them all."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock) -> None:
        self._clock = clock
        self.documents = Documents(
            store, mirror, clock, prefix=keys.control("sessions"), kind=Session, noun="session"
        )
        self._owned = Owned(self.documents)

    def of(self, user: str) -> list[Held[Session]]:
        """The sessions of this user's name that are not over by time, oldest first."""
        now = self._clock()
        held = [each for each in self._owned.of(user) if each.document.expires_at > now]
        return sorted(held, key=lambda each: each.document.created_at)

    async def open(self, session_id: str, session: Session, *, by: Actor) -> Held[Session]:
        """Store a session; the oldest of its user make room."""
        opened = await self.documents.create(session_id, session, by=by, verb="opened")
        for old in self.of(session.user)[:-SESSIONS_OF_ONE]:
            await self.end(old.name, by=SYSTEM)
        return opened

    async def end(self, session_id: str, *, by: Actor) -> None:
        """End a session for good; one that is over is no error."""
        try:
            await self.documents.delete(session_id, by=by, verb="ended")
        except NotFound:
            return

    async def renew(self, session_id: str, generation: str, *, by: Actor) -> None:
        """Let a session outlive the end of all of its user's sessions."""

        def changed(session: Session) -> Session:
            return msgspec.structs.replace(session, generation=generation)

        await self.documents.change(session_id, changed, by=by, verb="")

    async def rotate(self, session_id: str, presented: str, following: str, *, by: Actor) -> None:
        """Replace the refresh token.

        Args:
            session_id: whose.
            presented: SHA-256 of the one that was sent; it is known to be one of ours.
            following: SHA-256 of the next.
            by: who sent it.

        Raises:
            Unauthenticated: it was used before, and the session has ended now; or was over.
        """

        def changed(session: Session) -> Session:
            if not hmac.compare_digest(session.refresh_sha256 or "", presented):
                raise _Reused
            return msgspec.structs.replace(session, refresh_sha256=following)

        try:
            await self.documents.change(session_id, changed, by=by, verb="")
        except NotFound:
            raise Unauthenticated(OVER) from None
        except _Reused:
            await self._end_copied(session_id, by)
            raise Unauthenticated(
                "the refresh token was used before; the session has ended"
            ) from None

    async def _end_copied(self, session_id: str, by: Actor) -> None:
        now = self._clock()
        event = AuditEvent(
            event_id=new_event_id(now),
            at=now,
            action="session.refreshed",
            actor=by,
            target=f"session/{session_id}",
            tenant=by.tenant,
            outcome="refused",
            reason="the refresh token was used before",
        )
        try:
            await self.documents.delete(session_id, by=SYSTEM, verb="ended", also=[put(event)])
        except NotFound:
            return


class _Reused(Exception):
    """The refresh token is not the present one."""
