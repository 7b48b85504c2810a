"""A chain that is not whole is found out, page by page and against saved log lines."""

import json
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.audit import Anchor, AuditEntry, Head, chained, trimmed
from lpmos.model.auditcheck import Break, ChainPage, SavedStream, verify
from tests.support.audit import make_chain, make_event, pages_of
from tests.support.builders import NOW

Entries = list[AuditEntry]


def chain(count: int = 10) -> Entries:
    return make_chain([make_event(target=f"user/{number}") for number in range(count)])


def found(pages: Sequence[ChainPage], saved: SavedStream | None = None) -> list[tuple[int, str]]:
    return [(each.seq, each.why) for each in verify(pages, saved)]


def saved_stream(entries: Entries, form: Callable[[AuditEntry], str] | None = None) -> SavedStream:
    stream = SavedStream()
    for entry in entries:
        assert stream.add((form or line)(entry)) is None
    return stream


def line(entry: AuditEntry) -> str:
    shown = {"entry": msgspec.to_builtins(entry), "logger": "audit", "level": "info"}
    return json.dumps(shown)


def rewritten(entries: Entries, at: int) -> Entries:
    """The chain as somebody makes it who changes one entry and chains all later ones anew."""
    events = [entry.event for entry in entries]
    events[at] = msgspec.structs.replace(events[at], target="user/innocent")
    return make_chain(events)


@pytest.mark.parametrize("size", [1, 3, 10, 100])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_whole_chain_has_no_break(count: int, size: int) -> None:
    assert found(pages_of(chain(count), size=size)) == []


def test_changed_entry_is_found() -> None:
    entries = chain()
    entries[4] = msgspec.structs.replace(entries[4], event=make_event(target="user/innocent"))
    assert found(pages_of(entries)) == [(5, "was changed after it was written")]


def test_changed_entry_with_a_new_digest_is_found_by_the_next() -> None:
    entries = chain()
    entries[4] = chained(make_event(target="user/innocent"), 5, entries[4].previous)
    assert found(pages_of(entries)) == [(6, "does not go on from the entry before")]


def test_missing_entries_are_found() -> None:
    entries = chain()
    del entries[3:6]
    assert found(pages_of(entries)) == [(7, "4 to 6 missing before it")]


def test_missing_first_entry_is_found() -> None:
    assert found(pages_of(chain()[1:])) == [(2, "1 missing before it")]


def test_entries_cut_off_at_the_end_are_found() -> None:
    entries = chain()
    pages = pages_of(entries)
    last = msgspec.structs.replace(pages[-1], entries=())
    assert found([*pages[:-1], last]) == [(10, "the chain ends with 9, its head says 10")]


def test_another_digest_of_the_head_is_found() -> None:
    pages = [
        msgspec.structs.replace(page, head=Head(seq=10, digest="1" * 64))
        for page in pages_of(chain())
    ]
    assert found(pages) == [(10, "the head has another digest than the last entry")]


def test_entries_out_of_order_are_found() -> None:
    entries = chain()
    entries[3], entries[4] = entries[4], entries[3]
    assert (4, "out of order") in found(pages_of(entries))


@given(st.data())
def test_any_change_to_any_entry_is_found(data: st.DataObject) -> None:
    entries = chain(6)
    at = data.draw(st.integers(0, 5))
    change = data.draw(st.sampled_from(["drop", "twice", "digest", "previous", "event", "seq"]))
    if change == "drop":
        del entries[at]
    elif change == "twice":
        entries.insert(at, entries[at])
    else:
        value = {"event": make_event(target="other"), "seq": 99}.get(change, "1" * 64)
        entries[at] = msgspec.structs.replace(entries[at], **{change: value})
    pages = pages_of(entries)
    true_head = Head(seq=6, digest=chain(6)[-1].digest)
    pages = [msgspec.structs.replace(page, head=true_head) for page in pages]
    assert found(pages)


def test_rewritten_chain_is_found_only_with_saved_lines() -> None:
    true, false = chain(), rewritten(chain(), 4)
    assert found(pages_of(false)) == []
    breaks = found(pages_of(false), saved_stream(true))
    assert [seq for seq, _ in breaks] == [5, 6, 7, 8, 9, 10]
    assert "rewritten" in breaks[0][1]


def test_chain_cut_off_with_its_head_is_found_with_saved_lines() -> None:
    true = chain()
    assert found(pages_of(true[:7]), saved_stream(true)) == [
        (10, "is in the saved log and not in the chain")
    ]


def test_part_of_the_lines_told_twice_and_with_a_journal_prefix_are_no_break() -> None:
    entries = chain()

    def form(entry: AuditEntry) -> str:
        return f"Jan 02 03:04:05 host lpmos[1]: {line(entry)}\n"

    stream = saved_stream([*entries[2:6], *entries[4:6], *entries[8:]], form)
    assert stream.count == 6
    assert found(pages_of(entries), stream) == []


def test_line_that_contradicts_another_is_a_break() -> None:
    entries = chain()
    stream = saved_stream(entries)
    assert stream.add(line(rewritten(entries, 4)[4])) == Break(
        5, "the saved log tells of it in two ways"
    )


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_other_lines_are_passed_over(text: str) -> None:
    stream = SavedStream()
    for each in (text, '{"entry"' + text, '{"entry": ' + text + "}"):
        assert stream.add(each) is None
    assert stream.count == 0


@pytest.mark.parametrize(
    "entry",
    ["1", "{}", '{"seq": 0, "digest": "00"}', '{"seq": 1, "digest": "zz"}', "[" * 100_000]
    + [f'{{"seq": {seq}, "digest": "{"11" * 32}"}}' for seq in (-1, 0, 10**12, 10**30, '"1"')],
)
def test_lines_that_are_like_entries_are_passed_over(entry: str) -> None:
    stream = SavedStream()
    assert stream.add(f'{{"entry": {entry}}}') is None
    assert stream.count == 0


def test_trimmed_chain_with_the_word_of_it_has_no_break() -> None:
    whole = chain(10)
    anchor = Anchor(first_seq=5, previous=whole[3].digest)
    kept = make_chain([*[e.event for e in whole[4:]], trimmed(anchor, 4, NOW)], anchor)
    assert found(pages_of(kept, anchor), saved_stream(whole)) == []


def test_trimmed_chain_without_the_word_of_it_is_found() -> None:
    whole = chain(10)
    anchor = Anchor(first_seq=5, previous=whole[3].digest)
    assert found(pages_of(whole[4:], anchor)) == [
        (5, "no entry tells that all before it were deleted")
    ]


def test_anchor_with_another_digest_than_the_saved_lines_is_found() -> None:
    whole = chain(10)
    anchor = Anchor(first_seq=5, previous="1" * 64)
    kept = make_chain([*[e.event for e in whole[4:]], trimmed(anchor, 4, NOW)], anchor)
    assert found(pages_of(kept, anchor), saved_stream(whole))[0][0] == 4


def test_chain_trimmed_while_it_is_read_has_no_break() -> None:
    whole = chain(10)
    anchor = Anchor(first_seq=7, previous=whole[5].digest)
    entries = make_chain([*[e.event for e in whole], trimmed(anchor, 6, NOW)])
    first = pages_of(entries[:2])[0]
    rest = pages_of(entries[6:], anchor)
    assert found([first, *rest]) == []
