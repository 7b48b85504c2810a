"""What a region fetches, removes and leaves alone: every way in which two lists can differ."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.copies import Held
from lpmos.images.items import Item, ItemKind, Key, System
from lpmos.model.installer import FileRef
from lpmos.region.image_plan import GONE_AFTER, Plan, plan

SOURCE, OTHER = "https://control.example", "https://other.example"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
LONG_AGO = NOW - GONE_AFTER
SYSTEMS: list[System] = [("debian", "12"), ("rocky", "9")]


def item(kind: str = "image", name: str = "a", digest: str = "1", size_bytes: int = 1) -> Item:
    """An item of the first system."""
    file = FileRef(file="root", sha256="ab" * 32, size_bytes=size_bytes)
    system = None if kind == "agent" else SYSTEMS[0]
    return Item(cast(ItemKind, kind), name, b"{}", digest, (file,), system)


def held(
    kind: str = "image",
    name: str = "a",
    digest: str | None = "1",
    source: str | None = SOURCE,
    *,
    whole: bool = True,
    system: System | None = SYSTEMS[0],
    missing_since: datetime | None = None,
) -> Held:
    """An item that is there."""
    return Held(cast(ItemKind, kind), name, digest, source, whole, system, missing_since)


KINDS = st.sampled_from(["agent", "image", "installer"])
NAMES = st.sampled_from("abcd")
DIGESTS = st.sampled_from("123")
ITEMS = st.builds(item, KINDS, NAMES, DIGESTS, st.integers(0, 5))
HELD = st.builds(
    held,
    KINDS,
    NAMES,
    DIGESTS,
    st.sampled_from([None, SOURCE, OTHER]),
    whole=st.booleans(),
    system=st.sampled_from([None, *SYSTEMS]),
    missing_since=st.sampled_from([None, LONG_AGO + timedelta(seconds=1), LONG_AGO]),
)


def key(each: Item | Held) -> Key:
    """What an item is among the others."""
    return each.key


LISTED = st.lists(ITEMS, unique_by=key, max_size=6)
THERE = st.lists(HELD, unique_by=key, max_size=6)
DOUBTFUL = st.sets(st.tuples(KINDS, NAMES), max_size=3)
NEEDED = st.none() | st.sets(st.sampled_from(SYSTEMS))


@given(LISTED, DOUBTFUL, THERE, NEEDED)
def test_what_was_put_there_by_hand_is_neither_fetched_over_nor_removed(
    listed: list[Item], doubtful: set[Any], there: list[Held], needed: set[System] | None
) -> None:
    decided = plan(SOURCE, listed, doubtful, there, needed, now=NOW)
    own = {each.key for each in there if each.source is None}
    assert own.isdisjoint(each.key for each in decided.fetch)
    assert own.isdisjoint(each.key for each in decided.remove)


@given(LISTED, DOUBTFUL, THERE, NEEDED)
def test_only_copies_of_this_source_that_it_lists_no_more_go(
    listed: list[Item], doubtful: set[Any], there: list[Held], needed: set[System] | None
) -> None:
    decided = plan(SOURCE, listed, doubtful, there, needed, now=NOW)
    known = {each.key for each in listed} | doubtful
    for each in (*decided.remove, *decided.wait):
        assert each.source == SOURCE
        assert each.key not in known
        assert each.kind != "agent"
    for each in decided.remove:
        assert needed is not None
        assert each.system not in needed
        assert each.missing_since == LONG_AGO


@given(THERE, NEEDED)
def test_an_empty_list_removes_nothing(there: list[Held], needed: set[System] | None) -> None:
    assert plan(SOURCE, [], set(), there, needed, now=NOW) == Plan()


@given(LISTED, THERE, NEEDED)
def test_what_was_fetched_and_removed_leaves_nothing_to_do(
    listed: list[Item], there: list[Held], needed: set[System] | None
) -> None:
    decided = plan(SOURCE, listed, set(), there, needed, now=NOW)
    fetched = {each.key: each for each in decided.fetch}
    gone = {each.key for each in decided.remove}
    after = [each for each in there if each.key not in fetched and each.key not in gone]
    after += [held(each.kind, each.name, each.digest, system=each.system) for each in decided.fetch]
    again = plan(SOURCE, listed, set(), after, needed, now=NOW)
    assert (again.fetch, again.remove) == ((), ())
    assert {each.key for each in listed} <= {each.key for each in after}


def test_the_agent_comes_first_then_what_tasks_wait_for_then_the_smallest() -> None:
    small, large = item(name="small"), item(name="large", size_bytes=9)
    wanted = item(name="wanted", size_bytes=99)._replace(system=SYSTEMS[1])
    agent = item("agent", "x86_64", size_bytes=50)
    decided = plan(SOURCE, [large, small, wanted, agent], set(), [], {SYSTEMS[1]}, now=NOW)
    assert [each.name for each in decided.fetch] == ["x86_64", "wanted", "small", "large"]


def test_removal_waits_for_tasks_and_for_knowing_them() -> None:
    gone, listed = held(name="gone", missing_since=LONG_AGO), [item(name="here")]
    assert plan(SOURCE, listed, set(), [gone], {SYSTEMS[0]}, now=NOW).wait == (gone,)
    assert plan(SOURCE, listed, set(), [gone], None, now=NOW).wait == (gone,)
    assert plan(SOURCE, listed, set(), [gone], set(), now=NOW).remove == (gone,)


def test_a_damaged_or_an_older_copy_is_fetched_again_and_an_own_one_is_told_of() -> None:
    listed = [item(name="a"), item(name="b", digest="2"), item(name="c", digest="2")]
    there = [held(name="a", whole=False), held(name="b"), held(name="c", source=None)]
    decided = plan(SOURCE, listed, set(), there, set(), now=NOW)
    assert [each.name for each in decided.fetch] == ["a", "b"]
    assert decided.own == (("image", "c"),)


def test_what_the_source_cannot_give_now_stays() -> None:
    decided = plan(SOURCE, [], {("image", "a")}, [held(name="a"), held(name="b")], set(), now=NOW)
    assert [each.name for each in decided.missed] == ["b"]


def test_a_list_of_the_agent_alone_removes_only_what_no_list_had_for_a_day() -> None:
    listed, first = [item("agent", "x86_64")], held(name="a")
    begun = plan(SOURCE, listed, set(), [first], set(), now=NOW)
    assert (begun.remove, begun.missed, begun.wait) == ((), (first,), (first,))
    noted = first._replace(missing_since=NOW)
    almost = NOW + GONE_AFTER - timedelta(seconds=1)
    waiting = plan(SOURCE, listed, set(), [noted], set(), now=almost)
    assert (waiting.remove, waiting.missed, waiting.wait) == ((), (), (noted,))
    assert plan(SOURCE, listed, set(), [noted], set(), now=NOW + GONE_AFTER).remove == (noted,)


def test_what_is_listed_again_is_missed_no_more() -> None:
    missed = held(name="a", missing_since=LONG_AGO)
    decided = plan(SOURCE, [item(name="a")], set(), [missed], set(), now=NOW)
    assert (decided.back, decided.remove) == ((missed,), ())
    doubtful = plan(SOURCE, [], {missed.key}, [missed], set(), now=NOW)
    assert (doubtful.back, doubtful.remove) == ((missed,), ())
