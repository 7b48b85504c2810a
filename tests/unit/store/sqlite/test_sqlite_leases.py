"""When leases are renewed and when they end, by a clock that the test turns."""

import pytest

from lpmos.store.sqlite.leases import HeldLease, LeaseTimes

TTL_S = 30


async def _revoked(id_: int) -> None:
    raise AssertionError("not in these tests")


def _held(times: LeaseTimes, now: float, id_: int = 1) -> HeldLease:
    lease = HeldLease(id_, TTL_S, now + TTL_S, _revoked)
    times.hold(lease)
    return lease


async def test_lease_held_is_renewed_at_a_third_of_its_ttl() -> None:
    times = LeaseTimes({}, 100.0)
    lease = _held(times, 100.0)
    assert times.next_due(100.0) == pytest.approx(10.0)
    times.renew(109.0)
    assert lease.deadline == 130.0
    times.renew(110.0)
    assert lease.deadline == 140.0
    assert times.ended(139.0) == []


async def test_lease_not_renewed_in_time_is_lost_and_never_comes_back() -> None:
    times = LeaseTimes({}, 0.0)
    lease = _held(times, 0.0)
    times.renew(30.0)
    assert times.ended(30.0) == [1]
    assert lease.lost.is_set()
    times.renew(30.0)
    assert lease.deadline == 30.0


async def test_lease_ended_is_named_until_it_is_forgotten() -> None:
    times = LeaseTimes({}, 0.0)
    _held(times, 0.0)
    assert times.ended(31.0) == [1]
    assert times.ended(32.0) == [1]
    times.forget(1)
    assert times.ended(33.0) == []


async def test_lease_restored_ends_one_ttl_after_the_start() -> None:
    times = LeaseTimes({7: 5, 8: 50}, 1000.0)
    times.renew(1004.0)
    assert times.next_due(1004.0) == pytest.approx(1.0)
    assert times.ended(1004.9) == []
    assert times.ended(1005.0) == [7]


async def test_lease_forgotten_is_lost_to_its_holder() -> None:
    times = LeaseTimes({}, 0.0)
    lease = _held(times, 0.0)
    times.forget(1)
    assert lease.lost.is_set()
    times.forget(1)


async def test_leases_at_the_end_of_the_store_are_lost_but_not_ended() -> None:
    times = LeaseTimes({}, 0.0)
    leases = [_held(times, 0.0, id_) for id_ in (1, 2)]
    times.end_all()
    assert all(lease.lost.is_set() for lease in leases)
    assert times.ended(1000.0) == []


async def test_next_due_without_leases_is_a_bounded_wait() -> None:
    assert 0.0 < LeaseTimes({}, 0.0).next_due(0.0) <= 1.0
