"""Every pair of state and event, and the page drawn from the table."""

from itertools import product
from pathlib import Path

import pytest

from lpmos.model.errors import ImpossibleTransition
from lpmos.model.lifecycle import FINAL, MEANING, TRANSITIONS, Event, Status, advance, diagram


@pytest.mark.parametrize(("status", "event"), list(product(Status, Event)))
def test_advance_every_pair_is_in_the_table_or_refused(status: Status, event: Event) -> None:
    if (status, event) in TRANSITIONS:
        assert advance(status, event) is TRANSITIONS[status, event]
    else:
        with pytest.raises(ImpossibleTransition, match=status.value):
            advance(status, event)


@pytest.mark.parametrize("status", Status)
def test_final_states_are_those_without_a_way_out(status: Status) -> None:
    ways = [event for event in Event if (status, event) in TRANSITIONS]
    assert (not ways) == (status in FINAL)


def test_installing_is_reached_only_from_approved() -> None:
    before = {b for (b, _), after in TRANSITIONS.items() if after is Status.INSTALLING}
    assert before == {Status.APPROVED, Status.INSTALLING}


def test_approved_is_reached_only_by_an_approval() -> None:
    ways = {(b, e) for (b, e), after in TRANSITIONS.items() if after is Status.APPROVED is not b}
    assert ways == {(Status.PENDING_APPROVAL, Event.APPROVE)}


@pytest.mark.parametrize("status", [s for s in Status if s not in FINAL])
def test_every_waiting_state_can_be_cancelled_and_can_fail(status: Status) -> None:
    assert advance(status, Event.CANCEL) is Status.CANCELLED
    assert advance(status, Event.FAIL) is Status.FAILED


def test_every_state_is_reachable_and_has_a_meaning() -> None:
    reached = {Status.PENDING}
    while more := {after for (b, _), after in TRANSITIONS.items() if b in reached} - reached:
        reached |= more
    assert reached == set(Status) == set(MEANING)


def test_diagram_in_the_docs_is_the_table() -> None:
    page = Path(__file__).parents[3] / "docs/reference/lifecycle.md"
    assert diagram() in page.read_text(), "run `make docs`"
