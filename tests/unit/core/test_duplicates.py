"""Who shares a name with whom: the index says what a walk over everybody would say."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.duplicates import SHOWN_LIMIT, Duplicate, Duplicates, Mark, Member, marks

MEMBERS: tuple[Member, ...] = ("dc1/A", "dc1/B", "dc2/A", "dc2/C", ("dc1", "r1"), ("dc2", "r2"))
names = st.builds(
    marks,
    st.sampled_from([None, "S1", "S2"]),
    st.sampled_from([None, "u1", "u2"]),
    st.lists(st.sampled_from(["m1", "m2", "m3"]), max_size=3),
)
tenants = st.sampled_from([None, "red", "blue"])
steps = st.lists(st.tuples(st.sampled_from(MEMBERS), st.none() | st.tuples(names, tenants)))

Known = dict[Member, tuple[list[Mark], str | None]]


def sharing(known: Known, tenant: str | None) -> dict[Member, set[tuple[Member, Mark]]]:
    """By comparing everybody that is seen with everybody."""
    seen = {m: n for m, (n, owner) in known.items() if tenant in (None, owner)}
    found: dict[Member, set[tuple[Member, Mark]]] = defaultdict(set)
    for one, its in seen.items():
        for other, theirs in seen.items():
            if one != other:
                found[one] |= {(other, mark) for mark in its if mark in theirs}
    return {member: others for member, others in found.items() if others}


@given(steps)
def test_index_says_what_a_comparison_of_all_would(
    changes: list[tuple[Member, tuple[list[Mark], str | None] | None]],
) -> None:
    index, known = Duplicates(), Known()
    for member, now in changes:
        if member in known:
            index.remove(member, *known.pop(member))
        if now is not None:
            known[member] = now
            index.add(member, *now)
    for tenant in (None, "red", "blue"):
        expected = sharing(known, tenant)
        assert set(index.members(tenant)) == set(expected)
        for member in MEMBERS:
            assert len(index.of(member, tenant)) == len(expected.get(member, ()))
        machines = [each for each in expected if isinstance(each, str)]
        assert sum(index.counts(tenant).values()) == len(machines)
    for member, now in known.items():
        index.remove(member, *now)
    assert [list(index.members(tenant)) for tenant in (None, "red")] == [[], []]


def test_others_are_named_by_place_or_report_and_by_what_they_share() -> None:
    index = Duplicates()
    index.add("dc1/A", marks("S1", None, ["m1"]), None)
    index.add("dc2/B", marks("S1", None, ["m2"]), None)
    index.add(("dc1", "20260102T030405.000006Z-525400000001"), marks(None, None, ["m1"]), None)
    assert index.of("dc1/A", None) == [
        Duplicate(
            idc="dc1",
            unmatched="dc1-20260102T030405.000006Z-525400000001",
            field="mac",
            value="m1",
        ),
        Duplicate(idc="dc2", sn="B", field="serial", value="S1"),
    ]
    assert index.counts(None) == {"dc1": 1, "dc2": 1}


def test_tenant_hears_nothing_of_what_others_have() -> None:
    index = Duplicates()
    index.add("dc1/A", marks("S1", None, []), "red")
    index.add("dc1/B", marks("S1", None, []), "blue")
    index.add("dc1/C", marks("S1", None, []), None)
    assert [index.of("dc1/A", tenant) for tenant in ("red", "blue", "green")] == [[], [], []]
    assert len(index.of("dc1/A", None)) == 2


def test_name_of_thousands_shows_some() -> None:
    index = Duplicates()
    for number in range(2000):
        index.add(f"dc1/{number}", marks("ABC-ABC", None, []), None)
    assert len(index.of("dc1/0", None)) == SHOWN_LIMIT
    assert index.counts(None) == {"dc1": 2000}
