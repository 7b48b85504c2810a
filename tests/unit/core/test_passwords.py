"""Passwords: hashed as argon2id, checked alike for nobody, in a bounded number of threads."""

import asyncio
from typing import Literal

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from lpmos.core.identity.passwords import AT_ONCE, HASHER, WAITING, Passwords
from lpmos.model.errors import TooBusy

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"


class CountingHasher(PasswordHasher):
    """Counts what is verified."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def verify(self, stored: str | bytes, password: str | bytes) -> Literal[True]:
        self.verified.append(str(stored))
        return super().verify(stored, password)


async def test_hash_is_argon2id_with_a_salt_of_its_own() -> None:
    passwords = Passwords()
    one, other = await passwords.hash(PASSWORD), await passwords.hash(PASSWORD)
    assert one != other and PASSWORD not in one
    parameters = extract_parameters(one)
    assert parameters.type is Type.ID
    assert parameters.memory_cost >= 19_456 and parameters.time_cost >= 2
    assert HASHER.check_needs_rehash(one) is False


async def test_check_of_the_right_and_of_a_wrong_password() -> None:
    passwords = Passwords(CHEAP)
    stored = await passwords.hash(PASSWORD)
    assert await passwords.check(stored, PASSWORD) == (True, None)
    assert await passwords.check(stored, PASSWORD + " ") == (False, None)


async def test_check_of_another_composition_of_the_same_letters_is_right() -> None:
    passwords = Passwords(CHEAP)
    stored = await passwords.hash("Zu\u0308richer Kantonalbank")
    assert (await passwords.check(stored, "Z\u00fcricher Kantonalbank"))[0]


async def test_check_under_older_parameters_gives_the_hash_to_be_stored() -> None:
    stored = await Passwords(CHEAP).hash(PASSWORD)
    newer = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    right, rehashed = await newer.check(stored, PASSWORD)
    assert right and rehashed is not None
    assert await newer.check(rehashed, PASSWORD) == (True, None)
    assert await newer.check(stored, "wrong") == (False, None)


async def test_check_of_nobody_does_the_same_work_and_is_never_right() -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    stored = await passwords.hash(PASSWORD)
    await passwords.check(stored, "wrong")
    await passwords.check(None, "wrong")
    assert len(hasher.verified) == 2
    one, other = (extract_parameters(each) for each in hasher.verified)
    assert one == other
    assert await passwords.check(None, "nobody's password") == (False, None)


@pytest.mark.parametrize("stored", ["", "rubbish", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
async def test_check_of_a_damaged_hash_is_no(stored: str) -> None:
    assert await Passwords(CHEAP).check(stored, PASSWORD) == (False, None)


async def test_more_than_can_wait_are_refused_and_the_rest_are_served() -> None:
    passwords = Passwords(CHEAP)
    asked = AT_ONCE + WAITING + 5
    results = await asyncio.gather(
        *(passwords.hash(PASSWORD) for _ in range(asked)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, TooBusy)]
    assert len(refused) == 5
    assert (await passwords.hash(PASSWORD)).startswith("$argon2id$")
