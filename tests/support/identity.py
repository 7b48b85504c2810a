"""Users, sessions and tokens over an embedded store, with a clock that is moved by hand."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from argon2 import PasswordHasher

from lpmos.core.documents import Held
from lpmos.core.identity.callers import Identity
from lpmos.core.identity.passwords import Passwords
from lpmos.model.access import Principal, Role
from lpmos.model.audit import SYSTEM
from lpmos.model.user import Caller, Session, User, new_id
from lpmos.store import keys
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import make_user
from tests.support.clocks import HandClock
from tests.support.faulty_store import FaultyStore
from tests.support.following import following

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"
CALLER = Caller(address="192.0.2.1", user_agent="test")
TIMEOUT_S = 30.0


class IdentityWorld:
    """One control plane's identity; several of them may share a store."""

    def __init__(self, store: FaultyStore, clock: HandClock) -> None:
        self.store = store
        self.clock = clock
        self.mirror = Mirror(store, keys.ROOT)
        self.identity = Identity(store, self.mirror, clock, Passwords(CHEAP))
        self.users = self.identity.users
        self.sessions = self.identity.sessions
        self.tokens = self.identity.tokens

    async def user(
        self, name: str = "alice", roles: Iterable[Role] = (Role.VIEWER,), **fields: object
    ) -> Held[User]:
        """A stored user."""
        user = make_user(name=name, roles=tuple(roles), **fields)
        return await self.users.documents.create(name, user, by=SYSTEM)

    async def signed_in(self, user: User, refresh_sha256: str | None = None) -> Held[Session]:
        """A session of a user."""
        return await self.identity.open(new_id(), user, CALLER, refresh_sha256=refresh_sha256)

    async def of(self, session: Held[Session]) -> Principal:
        """Who has the session."""
        return await self.identity.by_session(session.name, session.document.user)

    async def events(self) -> list[bytes]:
        """What was told and not taken into the audit log yet."""
        return [kv.value for kv in (await self.store.range(keys.EVENTS)).kvs]


@asynccontextmanager
async def identity_worlds(directory: Path, count: int = 1) -> AsyncIterator[list[IdentityWorld]]:
    """Control planes' identities over one new store."""
    store = await SqliteStore.open(directory / "store.db")
    clock = HandClock()
    worlds = [IdentityWorld(FaultyStore(store), clock) for _ in range(count)]
    async with following(*(world.mirror for world in worlds)):
        yield worlds
    await store.close()
