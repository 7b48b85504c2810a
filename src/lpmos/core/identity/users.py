"""The users of the control plane: made, changed and deleted, by whom it may be.

Nobody gives what they have not got themselves, a tenant's administrator meets that tenant's users
only, and there is always an enabled administrator of the provider: a change that takes one away
holds only if another one is still there in the same transaction.
"""

from collections.abc import Callable, Sequence

import msgspec
import structlog
from msgspec import UNSET

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.identity.passwords import Passwords
from lpmos.model.access import Permission, Principal, Role, permits, sees
from lpmos.model.audit import SYSTEM, Actor
from lpmos.model.errors import Conflict, FieldProblem, Forbidden, InvalidInput, NotFound
from lpmos.model.user import (
    Caller,
    ExternalIdentity,
    NewUser,
    User,
    UserChange,
    new_id,
    ordered,
    parse_user_name,
    password_problems,
)
from lpmos.store import keys
from lpmos.store.api import Ambiguous, CasConflict, Compare, Store
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

ATTEMPTS = 10
FIRST_ADMIN = "admin"


class Users:
    """The use cases; memory has every user."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock, passwords: Passwords) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self.documents = Documents(
            store, mirror, clock, prefix=keys.control("users"), kind=User, noun="user"
        )

    async def find(self, name: str, tenant: str | None) -> Held[User]:
        """One user.

        Args:
            name: the user's.
            tenant: of who asks; to a tenant only its own users are there.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        held = await self.documents.read(name)
        if not sees(tenant, held.document.tenant):
            raise NotFound(f"there is no user {name[:64]}")
        return held

    def all(self, tenant: str | None) -> list[Held[User]]:
        """Everyone that a tenant's user sees, by name."""
        return [held for held in self.documents.all() if sees(tenant, held.document.tenant)]

    async def create(self, new: NewUser, *, caller: Principal, by: Actor) -> Held[User]:
        """Make a user.

        Args:
            new: as `check_new_user` lets it pass.
            caller: whose rights bound the new user's; a tenant's makes users of that tenant.
            by: the same, as the audit names it.

        Raises:
            Forbidden: it would have more than the caller.
            Conflict: there is one of this name.
        """
        user = User(
            name=new.name,
            user_id=new_id(),
            generation=new_id(),
            roles=ordered(new.roles),
            tenant=new.tenant if new.tenant is not None else caller.tenant,
            disabled=new.disabled,
            display_name=new.display_name,
            created_at=self._clock(),
        )
        _check_within(caller, user)
        if new.password is not None:
            password_hash = await self._passwords.hash(new.password)
            user = msgspec.structs.replace(user, password_hash=password_hash)
        return await self.documents.create(user.name, user, by=by)

    async def change(
        self,
        name: str,
        change: UserChange,
        *,
        caller: Principal,
        by: Actor,
        at_revision: int | None = None,
    ) -> Held[User]:
        """Change what `change` names.

        Raises:
            NotFound: as `find`.
            Forbidden: the user has or would have more than the caller.
            Conflict: it is the last enabled administrator of the provider; or the user's roles
                are its identity provider's business.
            CasConflict: the user is not at `at_revision`.
        """

        def changed(user: User) -> User:
            if not sees(caller.tenant, user.tenant):
                raise NotFound(f"there is no user {name[:64]}")
            after = _changed(user, change)
            _check_within(caller, user)
            _check_within(caller, after)
            return after

        return await self._change(name, changed, by=by, at_revision=at_revision)

    async def set_password(
        self, name: str, password: str, *, caller: Principal, by: Actor
    ) -> Held[User]:
        """Give the user a new password, which ends all of its sessions.

        Raises:
            NotFound, Forbidden: as `change`.
            Conflict: the user signs in elsewhere.
            InvalidInput: the password is against the rules.
        """
        held = await self.find(name, caller.tenant)
        if held.document.source != "local":
            raise Conflict(f"{name} signs in at an identity provider and has no password here")
        if problems := password_problems(password, name):
            raise InvalidInput(*problems)
        password_hash = await self._passwords.hash(password)

        def changed(user: User) -> User:
            if caller.subject != user.name:
                _check_within(caller, user)
            return msgspec.structs.replace(user, password_hash=password_hash, generation=new_id())

        return await self._change(name, changed, by=by, verb="password-changed")

    async def rehash(self, user: User, password_hash: str) -> None:
        """Store the same password under new parameters, unless it was changed meanwhile."""

        def changed(now: User) -> User:
            if now.password_hash != user.password_hash:
                return now
            return msgspec.structs.replace(now, password_hash=password_hash)

        await self.documents.change(user.name, changed, by=SYSTEM, verb="")

    async def end_sessions(self, name: str, *, by: Actor) -> Held[User]:
        """End every session of the user at once, on every control plane."""

        def changed(user: User) -> User:
            return msgspec.structs.replace(user, generation=new_id())

        return await self._change(name, changed, by=by, verb="sessions-ended")

    async def delete(
        self, name: str, *, caller: Principal, by: Actor, at_revision: int | None = None
    ) -> None:
        """Delete a user, whose sessions and tokens end with it; raises as `change`."""
        for attempt in range(ATTEMPTS):
            held = await self._stored(name, caller.tenant)
            _check_within(caller, held.document)
            try:
                await self.documents.delete(
                    name,
                    by=by,
                    at_revision=at_revision if at_revision is not None else held.revision,
                    only_if=self._another_admin(held.document, None),
                )
            except CasConflict:
                if at_revision is not None or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    async def any(self) -> bool:
        """Whether the store has a user at all."""
        return bool((await self._store.range(keys.control("users"), limit=1, keys_only=True)).kvs)

    async def first_admin(self, password: str) -> User:
        """The first administrator, not stored yet."""
        return User(
            name=FIRST_ADMIN,
            user_id=new_id(),
            generation=new_id(),
            roles=(Role.ADMIN,),
            password_hash=await self._passwords.hash(password),
            created_at=self._clock(),
        )

    async def make_first(self, user: User) -> bool:
        """Store the first administrator where there is no user; whether this one is the first.

        Of two control planes that start at once one makes it. It may be called again after a lost
        answer.
        """
        if not await self.any():
            try:
                await self.documents.create(user.name, user, by=SYSTEM)
            except (Conflict, Ambiguous):
                log.info("somebody else may have made the first administrator", name=user.name)
        held = await self.documents.fresh(user.name)
        return held is not None and held.document.user_id == user.user_id

    async def admit(self, identity: ExternalIdentity, caller: Caller | None = None) -> Held[User]:
        """The user that an identity provider vouches for, made or brought up to date.

        It keeps the name that it had first, whatever it is called there now.

        Raises:
            InvalidInput: nobody can have its name.
            Conflict: the name is another's: of a local user, or of another external identity; or
                it is the last administrator of the provider and would be none any more.
        """
        known = self.vouched_by(identity.external_id)
        name = known.name if known else parse_user_name(identity.name)
        by = _vouched(name, identity.tenant, caller)
        held = await self.documents.fresh(name)
        if held is None:
            user = User(
                name=name,
                user_id=new_id(),
                generation=new_id(),
                roles=ordered(identity.roles),
                tenant=identity.tenant,
                source="oidc",
                external_id=identity.external_id,
                display_name=identity.display_name,
                created_at=self._clock(),
            )
            return await self.documents.create(name, user, by=by)

        def changed(user: User) -> User:
            if user.external_id != identity.external_id:
                raise Conflict(f"the name {name} is taken by another user; ask an administrator")
            after = msgspec.structs.replace(
                user,
                roles=ordered(identity.roles),
                tenant=identity.tenant,
                display_name=identity.display_name,
            )
            return user if after == user else after

        return await self._change(name, changed, by=by)

    def vouched_by(self, external_id: str) -> Held[User] | None:
        """The user whom an identity provider knows by this id."""
        return next(
            (held for held in self.documents.all() if held.document.external_id == external_id),
            None,
        )

    async def withdraw(self, external_id: str, caller: Caller) -> None:
        """Take all roles from the user whom its provider gives none any more.

        Its sessions and tokens then may do nothing, until it is given roles there again.

        Raises:
            Conflict: it is the last enabled administrator of the provider.
        """
        held = self.vouched_by(external_id)
        if held is None or not held.document.roles:
            return

        def changed(user: User) -> User:
            return msgspec.structs.replace(user, roles=())

        by = _vouched(held.name, held.document.tenant, caller)
        await self._change(held.name, changed, by=by)

    async def _change(
        self,
        name: str,
        changed: Callable[[User], User],
        *,
        by: Actor,
        at_revision: int | None = None,
        verb: str = "changed",
    ) -> Held[User]:
        """Change a user on what the store has, with another administrator where one is needed."""
        attempt = 0
        while True:
            attempt += 1
            held = await self._stored(name, None)
            try:
                return await self.documents.change(
                    name,
                    changed,
                    by=by,
                    at_revision=at_revision if at_revision is not None else held.revision,
                    verb=verb,
                    only_if=self._another_admin(held.document, changed(held.document)),
                )
            except CasConflict:
                if at_revision is not None or attempt == ATTEMPTS:
                    raise

    async def _stored(self, name: str, tenant: str | None) -> Held[User]:
        held = await self.documents.fresh(name)
        if held is None or not sees(tenant, held.document.tenant):
            raise NotFound(f"there is no user {name[:64]}")
        return held

    def _another_admin(self, before: User, after: User | None) -> Sequence[Compare]:
        """What must hold for a change that takes an administrator away: that another one stays."""
        if not _is_admin(before) or (after is not None and _is_admin(after)):
            return ()
        for held in self.documents.all():
            if held.name != before.name and _is_admin(held.document):
                return (Compare(keys.control("users", held.name), "mod", "=", held.revision),)
        raise Conflict(f"{before.name} is the last enabled administrator; make another one first")


def within(caller: Principal, roles: Sequence[Role], tenant: str | None) -> bool:
    """Whether the caller may do all that somebody with these roles and this tenant may."""
    return sees(caller.tenant, tenant) and all(
        permits(caller.roles, caller.tenant, permission)
        for permission in Permission
        if permits(roles, tenant, permission)
    )


def _vouched(name: str, tenant: str | None, caller: Caller | None) -> Actor:
    """A user who is brought up to date by its own login elsewhere."""
    return Actor(
        name=name,
        tenant=tenant,
        credential="oidc",
        address=caller.address if caller else None,
        request_id=caller.request_id if caller else None,
    )


def _check_within(caller: Principal, user: User) -> None:
    if not within(caller, user.roles, user.tenant):
        raise Forbidden(f"{caller.subject} may not make or change a user of these roles and tenant")


def _changed(user: User, change: UserChange) -> User:
    after = user
    if change.roles is not UNSET:
        after = msgspec.structs.replace(after, roles=ordered(change.roles))
    if change.tenant is not UNSET:
        after = msgspec.structs.replace(after, tenant=change.tenant)
    if change.display_name is not UNSET:
        after = msgspec.structs.replace(after, display_name=change.display_name)
    if change.disabled is not UNSET:
        after = msgspec.structs.replace(after, disabled=change.disabled)
    if after.disabled and not user.disabled:  # no session comes back when the user does
        after = msgspec.structs.replace(after, generation=new_id())
    managed = ("roles", "tenant", "display_name")
    if user.source != "local" and any(getattr(user, n) != getattr(after, n) for n in managed):
        raise Conflict(f"{user.name}'s identity provider says this; change it there")
    return user if after == user else after


def _is_admin(user: User) -> bool:
    return Role.ADMIN in user.roles and user.tenant is None and not user.disabled


def wrong_password(field: str) -> InvalidInput:
    """What is said of a password that is not the user's."""
    return InvalidInput(FieldProblem(field, "is not the present password"))
