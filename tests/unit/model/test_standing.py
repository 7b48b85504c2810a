"""Who answers machines: every row of the rule, and what holds in all of them."""

import itertools

import pytest

from lpmos.model.standing import Standing, View, standing

ACTIVE, STANDBY = Standing.ACTIVE, Standing.STANDBY


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        # elected
        (View(leads=True), ACTIVE),
        (View(leads=True, store_answers=False), ACTIVE),
        (View(leads=True, predecessor_answers=True), STANDBY),
        (View(leads=True, serving=True, predecessor_answers=True), ACTIVE),
        # not elected, and the store answers
        (View(), STANDBY),
        (View(alone=True), STANDBY),
        (View(serving=True), STANDBY),
        (View(serving=True, alone=True), ACTIVE),
        (View(serving=True, alone=True, other_leads=True), STANDBY),
        # the store is away
        (View(store_answers=False), STANDBY),
        (View(store_answers=False, serving=True), STANDBY),
        (View(store_answers=False, serving=True, alone=True), ACTIVE),
        (View(store_answers=False, alone=True), ACTIVE),
        (View(store_answers=False, alone=True, predecessor_answers=True), STANDBY),
        # by promise of all others
        (View(store_answers=False, serving=True, holds=True), ACTIVE),
        (View(store_answers=False, holds=True), ACTIVE),
        (View(store_answers=False, holds=True, predecessor_answers=True), STANDBY),
        (View(serving=True, holds=True), ACTIVE),
        (View(serving=True, holds=True, other_leads=True), ACTIVE),
        (View(holds=True), STANDBY),
    ],
)
def test_standing_is_what_the_rule_says(view: View, expected: Standing) -> None:
    assert standing(view) is expected


def test_standing_of_one_that_has_promised_is_never_active() -> None:
    for values in itertools.product((False, True), repeat=len(View.__struct_fields__) - 1):
        names = [name for name in View.__struct_fields__ if name != "promised"]
        view = View(promised=True, **dict(zip(names, values, strict=True)))
        assert standing(view) is STANDBY


def test_standing_of_one_that_does_not_serve_is_never_active_beside_another_that_answers() -> None:
    for leads, answers, alone, other in itertools.product((False, True), repeat=4):
        view = View(
            leads=leads,
            store_answers=answers,
            alone=alone,
            other_leads=other,
            predecessor_answers=True,
        )
        assert standing(view) is STANDBY


def test_standing_without_leadership_is_active_only_where_nobody_can_have_taken_over() -> None:
    for serving, answers, other in itertools.product((False, True), repeat=3):
        view = View(serving=serving, store_answers=answers, other_leads=other)
        assert standing(view) is STANDBY
