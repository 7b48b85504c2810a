"""What of a stored document is passed over because only a newer version knows it."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.tolerance import WHOLE, known_part


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""


class Left(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="left"):
    a: int = 0


class Right(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="right"):
    b: int = 0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    most: int | None = None

    @staticmethod
    def read_without(names: Iterable[str]) -> dict[str, int]:
        """Nothing is within limits that are not known."""
        return {"most": -len(list(names))}


class Renamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    long_name: str = ""


class Document(msgspec.Struct):
    one: Closed = Closed()
    maybe: Closed | None = None
    word: str | Closed = ""
    several: tuple[Closed, ...] = ()
    limited: Annotated[tuple[Closed, ...], msgspec.Meta(max_length=2)] = ()
    by_name: dict[str, Closed] = {}
    sided: tuple[Left | Right, ...] = ()
    limits: Limits = Limits()
    renamed: Renamed = Renamed()
    whole: Annotated[Closed, WHOLE] = Closed()


NEW = {"name": "x", "new": 1}
OLD = {"name": "x"}


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ({"one": NEW}, {"one": OLD}),
        ({"maybe": NEW}, {"maybe": OLD}),
        ({"maybe": None}, {"maybe": None}),
        ({"word": NEW}, {"word": OLD}),
        ({"word": "new"}, {"word": "new"}),
        ({"several": [OLD, NEW]}, {"several": [OLD, OLD]}),
        ({"limited": [NEW]}, {"limited": [OLD]}),
        ({"by_name": {"new": NEW}}, {"by_name": {"new": OLD}}),
        (
            {"sided": [{"kind": "right", "a": 1, "b": 2}, {"kind": "left", "a": 1, "b": 2}]},
            {"sided": [{"kind": "right", "b": 2}, {"kind": "left", "a": 1}]},
        ),
        ({"limits": {"most": 5, "new": 1, "newer": 2}}, {"limits": {"most": -2}}),
        ({"limits": {"most": 5}}, {"limits": {"most": 5}}),
        ({"renamed": {"longName": "x", "long_name": "y"}}, {"renamed": {"longName": "x"}}),
    ],
)
def test_known_part_is_without_what_the_type_would_refuse(value: Any, known: Any) -> None:
    assert known_part(value, Document) == known
    msgspec.convert(known_part(value, Document), Document)


def test_known_part_of_a_field_that_is_read_whole_has_all_of_it() -> None:
    assert known_part({"whole": NEW, "one": NEW}, Document) == {"whole": NEW, "one": OLD}


@pytest.mark.parametrize(
    "value", [{"one": 1}, {"sided": [{"kind": "up", "new": 1}]}, {"by_name": []}, [], None, "x"]
)
def test_known_part_of_what_is_wrong_is_as_it_was(value: Any) -> None:
    assert known_part(value, Document) == value
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, Document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "a", "kind"]), inner),
)


@given(st.dictionaries(st.sampled_from(Document.__struct_fields__), JSON))
def test_known_part_never_makes_worse_what_can_be_read(value: dict[str, Any]) -> None:
    try:
        read = msgspec.convert(value, Document)
    except msgspec.ValidationError:
        known_part(value, Document)
        return
    assert msgspec.convert(known_part(value, Document), Document) == read
