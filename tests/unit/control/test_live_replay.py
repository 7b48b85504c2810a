"""The log of messages against the simplest one: a list of everything."""

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.live.messages import Told
from lpmos.control.live.replay import CHUNK_BYTES, Replay


def _told(revision: int, key: Hashable | None = None, size_bytes: int = 10) -> Told:
    text = b"%d" % revision
    return Told(key, revision, "progress", "dc1", None, None, text.ljust(size_bytes))


def _everything(_: Told) -> bool:
    return True


def _revisions(replay: Replay, since: int, present: int) -> list[int]:
    """What a client hears that reads on until there is no more."""
    found: list[int] = []
    while since < present:
        chunk = replay.after(since, present, _everything)
        assert chunk.revision > since
        found += [int(text) for text in chunk.texts]
        since = chunk.revision
    return found


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, "a", "b", "c"])), max_size=60),
    st.integers(1, 30),
    st.data(),
)
def test_replay_gives_all_that_is_newest_after_any_revision_it_covers(
    steps: list[tuple[int, str | None]], max_messages: int, data: st.DataObject
) -> None:
    replay = Replay(max_messages=max_messages)
    replay.begin(0)
    whole: list[tuple[int, str | None]] = []
    revision = 1
    for step, key in steps:
        revision += step
        replay.keep(_told(revision, key))
        whole.append((revision, key))
    since = data.draw(st.integers(0, revision))
    if replay.covers(since):
        newest = {key: place for place, (_, key) in enumerate(whole) if key is not None}
        expected = [
            at
            for place, (at, key) in enumerate(whole)
            if at > since and (key is None or newest[key] == place)
        ]
        assert _revisions(replay, since, revision) == expected
    else:
        assert any(since < at for at, _ in whole)


def test_replay_that_never_began_covers_what_comes_after_its_first_message() -> None:
    replay = Replay()
    assert not replay.covers(-1)
    replay.keep(_told(5))
    assert replay.covers(4)
    assert not replay.covers(3)


def test_replay_that_begins_anew_forgets_what_was_before() -> None:
    replay = Replay()
    replay.keep(_told(5))
    replay.begin(9)
    assert not replay.covers(8)
    assert replay.after(9, 9, _everything).texts == []


def test_replay_over_its_bound_on_bytes_lets_the_oldest_go() -> None:
    replay = Replay(max_bytes=1000)
    replay.begin(0)
    for revision in range(1, 21):
        replay.keep(_told(revision, size_bytes=100))
    assert not replay.covers(0)
    assert replay.covers(20)
    kept = _revisions(replay, 15, 20)
    assert kept == [16, 17, 18, 19, 20]


def test_replay_gives_large_amounts_in_chunks_that_never_split_a_revision() -> None:
    replay = Replay()
    replay.begin(0)
    for revision in (1, 1, 2, 2, 3, 3):
        replay.keep(_told(revision, size_bytes=CHUNK_BYTES))
    chunk = replay.after(0, 9, _everything)
    assert (len(chunk.texts), chunk.revision) == (2, 1)
    assert _revisions(replay, 0, 9) == [1, 1, 2, 2, 3, 3]


def test_replay_of_what_is_replaced_again_and_again_stays_small() -> None:
    replay = Replay()
    for revision in range(1, 50_000):
        replay.keep(_told(revision, key=revision % 10))
    assert replay.covers(0)
    assert len(_revisions(replay, 0, 50_000)) == 10
