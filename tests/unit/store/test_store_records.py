"""Documents in and out of the store."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.taskrow import row_of_document
from lpmos.model.webhook import Delivery
from lpmos.store.api import KV
from lpmos.store.records import VALUE_LIMIT_BYTES, DamagedRecord, RecordTooLarge, decode, encode
from tests.support.builders import NOW, make_inventory, make_task


class Document(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int


def _kv(value: bytes) -> KV:
    return KV("/os/a", value, 2, 3, 1)


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_record_encoded_decodes_to_the_same(name: str, size_bytes: int) -> None:
    document = Document(name, size_bytes)
    assert decode(_kv(encode(document)), Document) == document


@given(st.binary())
def test_record_of_any_bytes_decodes_or_is_damaged(value: bytes) -> None:
    try:
        assert isinstance(decode(_kv(value), Document), Document)
    except DamagedRecord as error:
        assert "/os/a" in str(error)


@pytest.mark.parametrize(
    "value",
    [b'{"name":"\xff","size_bytes":1}', b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
    ids=["no-utf-8", "endless-nesting"],
)
def test_record_that_is_hardly_json_is_damaged(value: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode(_kv(value), Document)


def test_record_with_a_field_missing_names_it() -> None:
    with pytest.raises(DamagedRecord, match=r"/os/a.*size_bytes"):
        decode(_kv(b'{"name":"x"}'), Document)


def test_record_of_which_a_part_is_left_as_it_came_names_what_is_damaged() -> None:
    """And not the part, which is right."""
    delivery = Delivery(
        webhook_id="w",
        event_id="e",
        type="task.failed",
        payload=msgspec.Raw(b'{"any": [1]}'),
        created_at=NOW,
        next_at=NOW,
        give_up_at=NOW,
    )
    damaged = {**msgspec.json.decode(encode(delivery)), "tries": "many"}
    with pytest.raises(DamagedRecord, match=r"`int`, got `str` - at `\$\.tries`"):
        decode(_kv(msgspec.json.encode(damaged)), Delivery)
    task = make_task(hardware=make_inventory())
    damaged = {**msgspec.json.decode(encode(task)), "log_count": "many"}
    with pytest.raises(DamagedRecord, match=r"`int`, got `str` - at `\$\.log_count`"):
        row_of_document(_kv(msgspec.json.encode(damaged)))


def test_record_at_the_limit_is_refused_and_below_it_not() -> None:
    empty = len(encode(Document("", 0)))
    assert len(encode(Document("x" * (VALUE_LIMIT_BYTES - 1 - empty), 0))) == VALUE_LIMIT_BYTES - 1
    with pytest.raises(RecordTooLarge):
        encode(Document("x" * (VALUE_LIMIT_BYTES - empty), 0))


class Step(msgspec.Struct, frozen=True):
    name: str


class Newer(msgspec.Struct, frozen=True):
    """`Older`, as the next version has it: `why` in each step, `kept` and `more` of its own."""

    name: str
    last: dict[str, str]
    steps: tuple[dict[str, str], ...]
    kept: str
    more: int


class Older(msgspec.Struct, frozen=True):
    name: str
    last: Step | None = None
    steps: tuple[Step, ...] = ()
    kept: str = ""


NEWER = Newer("a", {"name": "x", "why": "w"}, ({"name": "x", "why": "w"},), "k", 7)


def _rewritten(**changes: object) -> Newer:
    """A newer version's document after an older version changed it."""
    value = encode(NEWER)
    before = decode(_kv(value), Older)
    return decode(_kv(encode(msgspec.structs.replace(before, **changes), value)), Newer)


def test_record_changed_by_an_older_version_keeps_what_that_does_not_know() -> None:
    assert _rewritten(name="b") == msgspec.structs.replace(NEWER, name="b")


def test_record_changed_keeps_the_unknown_of_unchanged_elements_and_drops_that_of_changed() -> None:
    added = _rewritten(steps=(Step("x"), Step("y")))
    assert added.steps == ({"name": "x", "why": "w"}, {"name": "y"})
    assert _rewritten(steps=(Step("z"),)).steps == ({"name": "z"},)
    assert _rewritten(steps=()).steps == ()
    assert _rewritten(last=Step("z")).last == {"name": "z"}


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    note: str = ""


def test_record_changed_over_a_default_that_was_written_out_is_what_was_asked_for() -> None:
    written_out = b'{"name":"a","note":"","more":1}'
    assert decode(_kv(encode(Sparse("a", "n"), written_out)), Sparse) == Sparse("a", "n")


def test_record_of_the_same_version_is_written_as_without_an_earlier_one() -> None:
    assert encode(Document("b", 2), encode(Document("a", 1))) == encode(Document("b", 2))


@given(st.text(), st.lists(st.text()), st.lists(st.text()))
def test_record_changed_over_any_is_what_an_older_version_wrote(
    name: str, before: list[str], after: list[str]
) -> None:
    newer = msgspec.structs.replace(NEWER, steps=tuple({"name": n, "why": "w"} for n in before))
    changed = Older(name=name, steps=tuple(map(Step, after)))
    assert decode(_kv(encode(changed, encode(newer))), Older) == changed


def test_record_with_what_is_carried_stays_under_the_limit() -> None:
    over = msgspec.json.encode({"name": "a", "size_bytes": 1, "new": "x" * VALUE_LIMIT_BYTES})
    with pytest.raises(RecordTooLarge):
        encode(Document("b", 1), over)
