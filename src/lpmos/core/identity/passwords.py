"""Passwords: argon2id (RFC 9106) in a few threads, so that no login holds up anything else.

Whether there is a user or not, whether it has a password or not, a wrong answer takes as long.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from lpmos.model.errors import TooBusy
from lpmos.model.user import normalised

HASHER: Final = PasswordHasher(time_cost=2, memory_cost=47_104, parallelism=1)
"""46 MiB, two passes: above the least of the OWASP Password Storage Cheat Sheet."""

T = TypeVar("T")

AT_ONCE = 2
WAITING = 32


class Passwords:
    """Makes and checks hashes, `AT_ONCE` at a time; beyond `WAITING` more, callers are refused."""

    def __init__(self, hasher: PasswordHasher = HASHER) -> None:
        self._hasher = hasher
        self._running = asyncio.Semaphore(AT_ONCE)
        self._asked = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to be stored, with its salt and parameters.

        Raises:
            TooBusy: too many wait already.
        """
        return await self._do(self._hash, password)

    async def check(self, stored: str | None, password: str) -> tuple[bool, str | None]:
        """Whether the password is the one of the stored hash, and the hash to be stored instead.

        The latter is given where it is right and the parameters have changed since. Without a
        stored hash the answer is no, after as long a time. Raises as `hash`.
        """
        if self._nobodys is None:
            self._nobodys = await self.hash("nobody's password")
        against = stored or self._nobodys
        right = await self._do(lambda text: self._is(against, text), password)
        if not right or stored is None:
            return False, None
        if not self._hasher.check_needs_rehash(stored):
            return True, None
        return True, await self.hash(password)

    async def _do(self, work: Callable[[str], T], password: str) -> T:
        if self._asked >= AT_ONCE + WAITING:
            raise TooBusy("too many are signing in at this moment; try again")
        self._asked += 1
        try:
            async with self._running:
                return await asyncio.to_thread(work, normalised(password))
        finally:
            self._asked -= 1

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def _is(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
