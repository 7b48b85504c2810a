"""Exactly one of several leads; what fails ends its term and not the process."""

import asyncio

import pytest

from lpmos.core.duties import Duties, identity_of_this_process
from lpmos.store.api import Leadership, Unavailable
from tests.support.faulty_store import FaultyStore
from tests.support.polling import until

TIMEOUT_S = 30.0
RETRY_S = 0.02


class Recording:
    """A duty that says when it begins and ends; its first term ends with `error`, if any."""

    def __init__(self, error: Exception | None = None) -> None:
        self.terms: list[Leadership] = []
        self.ended = 0
        self._error = error

    async def lead(self, leadership: Leadership) -> None:
        self.terms.append(leadership)
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            await asyncio.Event().wait()
        finally:
            self.ended += 1

    async def begun(self, terms: int) -> None:
        async def enough() -> bool:
            return len(self.terms) >= terms

        await until(enough, TIMEOUT_S)


class Candidate:
    """One process that stands for election with one duty."""

    def __init__(self, store: FaultyStore, name: str, error: Exception | None = None) -> None:
        self.duty = Recording(error)
        self.duties = Duties(store, name, [self.duty], retry_s=RETRY_S)
        self.task = asyncio.create_task(self.duties.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_one_of_two_leads_and_the_other_follows_at_once(store: FaultyStore) -> None:
    first = Candidate(store, "first")
    await first.duty.begun(1)
    second = Candidate(store, "second")
    assert first.duties.leading
    await first.stop()
    await second.duty.begun(1)
    assert second.duties.leading
    assert not first.duties.leading
    assert first.duty.ended == 1
    await second.stop()
    assert not (await store.range("/os-election/")).kvs


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a fault of the duty's own")])
async def test_duty_that_fails_ends_the_term_and_leads_again(
    store: FaultyStore, error: Exception
) -> None:
    candidate = Candidate(store, "first", error)
    await candidate.duty.begun(2)
    assert candidate.duties.leading
    assert candidate.duty.terms[0].fence != candidate.duty.terms[1].fence
    await candidate.stop()


async def test_duties_of_a_term_end_with_it(store: FaultyStore) -> None:
    failing, other = Recording(), Recording()
    running = asyncio.create_task(Duties(store, "me", [failing, other]).run())
    await other.begun(1)
    await failing.begun(1)
    first = failing.terms[0]
    await first.resign()  # as if the lease had ended
    await other.begun(2)
    assert (failing.ended, other.ended) == (1, 1)
    assert failing.terms[1].fence != first.fence
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_store_that_is_away_at_first_is_waited_for(store: FaultyStore) -> None:
    store.away = True
    candidate = Candidate(store, "first")
    await asyncio.sleep(0)
    store.away = False
    await candidate.duty.begun(1)
    await candidate.stop()


def test_identity_names_host_and_process() -> None:
    host, _, pid = identity_of_this_process().rpartition(":")
    assert host
    assert pid.isdecimal()
