"""What is looked at when: each thing once, what is new now, what failed later."""

import asyncio

import pytest

from lpmos.core.rules.agenda import Agenda, Waiting

ONE = Waiting("task", ("one",))
TWO = Waiting("report", ("dc1", "two"))
NEVER_S = 3600.0
SOON_S = 0.01
TIMEOUT_S = 30.0


async def next_of(agenda: Agenda) -> Waiting:
    async with asyncio.timeout(TIMEOUT_S):
        return await agenda.next()


async def is_idle(agenda: Agenda) -> bool:
    try:
        async with asyncio.timeout(0):
            await agenda.next()
    except TimeoutError:
        return True
    return False


async def test_agenda_gives_what_was_added_twice_once() -> None:
    agenda = Agenda(NEVER_S, NEVER_S)
    agenda.add(ONE)
    agenda.add(ONE)
    agenda.add(TWO)

    assert {await next_of(agenda), await next_of(agenda)} == {ONE, TWO}
    assert await is_idle(agenda)


async def test_agenda_waits_before_it_gives_what_failed() -> None:
    agenda = Agenda(NEVER_S, NEVER_S)
    agenda.add(ONE)
    agenda.later(await next_of(agenda))

    assert await is_idle(agenda)


async def test_agenda_gives_what_failed_again() -> None:
    agenda = Agenda(SOON_S, SOON_S)
    agenda.later(ONE)

    assert await next_of(agenda) == ONE


async def test_agenda_gives_at_once_what_failed_and_is_new_again() -> None:
    agenda = Agenda(NEVER_S, NEVER_S)
    agenda.later(ONE)
    agenda.add(ONE)

    assert await next_of(agenda) == ONE


async def test_agenda_keeps_what_came_while_it_was_looked_at() -> None:
    agenda = Agenda(NEVER_S, NEVER_S)
    agenda.add(ONE)
    item = await next_of(agenda)
    agenda.add(ONE)
    agenda.later(item)

    assert await next_of(agenda) == ONE


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 1.0), (2, 2.0), (5, 16.0), (2000, 300.0)])
async def test_agenda_waits_longer_each_time_up_to_a_bound(failures: int, wait_s: float) -> None:
    agenda = Agenda(1.0, 300.0)

    assert [agenda.wait_s(each) for each in range(1, failures + 1)][-1] == wait_s


async def test_agenda_wakes_for_news_while_it_waits_for_a_retry() -> None:
    agenda = Agenda(NEVER_S, NEVER_S)
    agenda.later(ONE)
    coming = asyncio.create_task(agenda.next())
    await asyncio.sleep(0)
    agenda.add(TWO)

    async with asyncio.timeout(TIMEOUT_S):
        assert await coming == TWO
