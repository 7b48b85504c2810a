"""Ids in the order of a value, against a list that is sorted each time."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.ordered import MANY, Ordered

NUMBERS = st.lists(st.integers(0, 2 * MANY), max_size=4)
"""How many are added between two questions: few, or more than are put in place one by one."""


@given(NUMBERS, st.randoms(use_true_random=False))
def test_ordered_has_all_in_place_however_many_were_added_at_once(
    numbers: list[int], random: Random
) -> None:
    ordered = Ordered()
    model: list[tuple[int, float, str]] = []
    for turn, number in enumerate(numbers):
        for each in range(number):
            place = random.randrange(4), float(random.randrange(4)), f"{turn}-{each}"
            model.append(place)
            ordered.add(*place)
        if model and random.random() < 0.5:
            ordered.remove(*model.pop(random.randrange(len(model))))
        assert len(ordered) == len(model)
        assert list(ordered.ids()) == [each[2] for each in sorted(model, key=_newest_first)]
        rising = sorted(model, key=_newest_first)
        assert list(ordered.backwards()) == [each[2] for each in reversed(rising)]
        falling = sorted(model, key=lambda each: (-each[0], -each[1], each[2]))
        assert list(ordered.descending()) == [each[2] for each in falling]


def test_ordered_takes_out_what_was_just_added() -> None:
    ordered = Ordered()
    ordered.add("b", 1.0, "first")
    ordered.add("a", 2.0, "second")
    ordered.remove("b", 1.0, "first")
    assert list(ordered.ids()) == ["second"]


def _newest_first(place: tuple[int, float, str]) -> tuple[int, float, str]:
    value, created_s, name = place
    return value, -created_s, name
