"""The rule of handing in: whole, and true to the sentences that it follows from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.handin import REASONS, RULES, Found, Verdict, Word, found
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Intent, Task
from tests.support.builders import NOW, make_task

RUN, OTHER = "run-1", "run-2"
DECIDED = (Found.CANCELLED, Found.REJECTED, Found.SUPERSEDED)
OF_MACHINES = (Word.REPORTED, Word.CLAIMED, Word.PROGRESSED, Word.HANDED_OVER, Word.CAME_UP)


def test_rules_have_a_verdict_for_every_word_and_every_state() -> None:
    assert set(RULES) == {(word, place) for word in Word for place in Found}
    assert set(REASONS) == set(Found)


@pytest.mark.parametrize("place", DECIDED)
@pytest.mark.parametrize("word", list(Word))
def test_rules_never_undo_what_people_decided(word: Word, place: Found) -> None:
    assert RULES[word, place] is not Verdict.APPLY


@pytest.mark.parametrize("word", [Word.CLAIMED, Word.PROGRESSED, Word.HANDED_OVER, Word.CAME_UP])
def test_rules_never_assume_an_approval(word: Word) -> None:
    assert RULES[word, Found.UNDECIDED] is Verdict.REFUSE


@pytest.mark.parametrize(
    "word", [Word.CLAIMED, Word.PROGRESSED, Word.FAILED, Word.HANDED_OVER, Word.CAME_UP]
)
def test_rules_let_one_run_install(word: Word) -> None:
    assert RULES[word, Found.OTHER_RUN] is Verdict.REFUSE


@pytest.mark.parametrize("place", DECIDED)
@pytest.mark.parametrize("word", OF_MACHINES)
def test_rules_tell_of_all_that_a_machine_did_against_a_decision(word: Word, place: Found) -> None:
    assert RULES[word, place] is Verdict.REFUSE


claimed_by = st.sampled_from([None, RUN, OTHER])
tasks = st.builds(
    make_task,
    status=st.sampled_from(Status),
    task_id=st.sampled_from(["a", "b"]),
    intent=st.none() | st.builds(Intent, intent_id=st.just("i"), claimed_by=claimed_by),
)


@given(task=st.none() | tasks, own=st.booleans(), agent_id=st.sampled_from(["", RUN]))
def test_found_says_open_only_of_an_open_task_of_this_machine_and_run(
    task: Task | None, own: bool, agent_id: str
) -> None:
    place = found(task, task_id="a", own=own, agent_id=agent_id, said_at=NOW)
    is_open = place in (Found.UNDECIDED, Found.APPROVED, Found.INSTALLING)
    if task is None or task.task_id != "a" or not own or task.status in FINAL:
        assert not is_open
    if place is Found.INSTALLING and agent_id and task is not None:
        assert task.intent is not None
        assert task.intent.claimed_by == agent_id
    if place is Found.APPROVED:
        assert task is not None
        assert task.status is Status.APPROVED
