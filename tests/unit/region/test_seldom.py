"""What is done seldom, however often it is asked for."""

from lpmos.region.seldom import KEYS_LIMIT, Seldom


def test_each_key_is_taken_so_often_in_a_span_and_again_after_it() -> None:
    now = [0.0]
    seldom = Seldom(2, 60.0, lambda: now[0])
    assert [seldom.takes("a") for _ in range(4)] == [True, True, False, False]
    assert seldom.takes("b")
    now[0] = 59.9
    assert not seldom.takes("a")
    now[0] = 60.0
    assert seldom.takes("a")


def test_more_keys_than_there_is_room_for_are_left_out() -> None:
    seldom = Seldom(2, 60.0, lambda: 0.0)
    assert all(seldom.takes(key) for key in range(KEYS_LIMIT))
    assert not seldom.takes("one more")
    assert seldom.takes(0)
