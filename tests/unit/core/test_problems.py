"""The table from errors to problem documents, and bodies that are checked in full."""

import importlib
import json
import pkgutil
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lpmos.core
import lpmos.store
from lpmos.core.fields import field_problems
from lpmos.core.problems import FIELDS_NAMED, TABLE, decode_body, problem_for
from lpmos.model import errors
from lpmos.model.errors import FieldProblem, InvalidInput, LpmosError
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task
from lpmos.store.api import StoreError, Unavailable

ROOTS = {LpmosError, StoreError}


def _below(kind: type[LpmosError]) -> Iterator[type[LpmosError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _all_errors() -> list[type[LpmosError]]:
    for package in (lpmos.core, lpmos.store):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    served = ("lpmos.model", "lpmos.core", "lpmos.store")
    return [kind for kind in _below(LpmosError) if kind.__module__.startswith(served)]


def test_every_error_of_model_core_and_store_has_a_row() -> None:
    without = [
        kind.__qualname__
        for kind in _all_errors()
        if kind not in ROOTS and not any(base in TABLE for base in kind.__mro__)
    ]
    assert not without


def test_every_error_has_a_code_of_its_own() -> None:
    kinds: list[type[LpmosError]] = [LpmosError, *_all_errors()]
    codes = [kind.code for kind in kinds if "code" in vars(kind)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput(FieldProblem("mac", "is wrong")), 422, "invalid-input"),
        (errors.Unauthenticated("no token"), 401, "unauthenticated"),
        (errors.Forbidden("no"), 403, "forbidden"),
        (errors.NotFound("no task"), 404, "not-found"),
        (errors.ImpossibleTransition("no"), 409, "impossible-transition"),
        (errors.UnfinishedTask("one is there"), 409, "unfinished-task"),
        (errors.TooLarge("big"), 413, "too-large"),
        (errors.TooBusy("later"), 429, "too-busy"),
        (Unavailable("away"), 503, "store-unavailable"),
        (LpmosError("of no row"), 500, "internal"),
        (KeyError("secret"), 500, "internal"),
    ],
)
def test_problem_for_an_error_has_its_status_and_code(
    error: Exception, status: int, code: str
) -> None:
    problem = problem_for(error, instance="abc")
    assert problem.status == status
    assert problem.document["code"] == code
    assert problem.document["type"] == f"/problems/{code}"
    assert problem.document["status"] == status
    assert problem.document["instance"] == "abc"


def test_problem_for_an_unknown_error_does_not_tell_its_text() -> None:
    assert "secret" not in json.dumps(problem_for(ValueError("secret")).document)


@pytest.mark.parametrize("error", [Unavailable("away"), errors.TooBusy("later")])
def test_problem_for_what_passes_says_when_to_come_back(error: LpmosError) -> None:
    assert int(problem_for(error).headers["Retry-After"]) > 0


def test_problem_for_invalid_input_names_each_field() -> None:
    error = InvalidInput(FieldProblem("mac", "is missing"), FieldProblem("idc", "is wrong"))
    assert problem_for(error).document["errors"] == [
        {"field": "mac", "message": "is missing"},
        {"field": "idc", "message": "is wrong"},
    ]


def test_decode_body_with_several_wrong_fields_names_them_all() -> None:
    body = {
        "os_type": 1,
        "root_disk": {"serial": 3, "colour": "red"},
        "network_config": {"addres": "192.0.2.1/24"},
        "ssh_keys": ["ssh-ed25519 AAAA", 5, True],
        "tags": {"rack": 3, "row": "b", "slot": None},
        "unknown": True,
    }
    with pytest.raises(InvalidInput) as caught:
        decode_body(json.dumps(body).encode(), NewTask)
    named = {problem.field for problem in caught.value.problems}
    assert named == {
        "os_type",
        "root_disk.serial",
        "root_disk.colour",
        "network_config.addres",
        "ssh_keys.1",
        "ssh_keys.2",
        "tags.rack",
        "tags.slot",
        "unknown",
    }


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            {"root_disk": {"foo": 1}, "disk_layout": "raid9", "sn": "/../"},
            {"root_disk.foo", "disk_layout", "sn"},
        ),
        ({"disk_layout": "raid9"}, {"disk_layout"}),
        ({"mac": 3, "sn": "/../"}, {"mac", "sn"}),
        ({"mac": None, "target_mac": 3, "hostname": []}, {"target_mac", "hostname"}),
        ({"os_type": 1, "idc": "DC 1"}, {"os_type", "idc"}),
        ({"ssh_keys": ["no key", 5]}, {"ssh_keys.0", "ssh_keys.1"}),
        ({"tags": {"a b": "c", "rack": 3}}, {"tags.a b", "tags.rack"}),
        (
            {"network_config": {"address": "192.0.2.300/24", "gate": 1, "dns": ["x", 5]}},
            {f"network_config.{name}" for name in ("address", "gate", "dns.0", "dns.1")},
        ),
    ],
)
def test_decode_body_with_wrong_shapes_and_wrong_values_names_both_kinds_once(
    body: dict[str, object], fields: set[str]
) -> None:
    good = {"idc": "dc1", "mac": "52:54:00:00:00:01", "os_type": "debian", "os_version": "12"}
    with pytest.raises(InvalidInput) as caught:
        decode_body(json.dumps(good | body).encode(), NewTask, check_new_task)
    named = [problem.field for problem in caught.value.problems]
    assert set(named) == fields
    assert len(named) == len(fields)


def test_decode_body_that_is_no_object_is_only_named_as_such() -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_body(b"[]", NewTask, check_new_task)
    assert [problem.field for problem in caught.value.problems] == ["body"]


def test_decode_body_with_very_many_wrong_fields_names_the_first() -> None:
    body = json.dumps({f"field{number}": 1 for number in range(10_000)}).encode()
    with pytest.raises(InvalidInput) as caught:
        decode_body(body, NewTask)
    assert len(caught.value.problems) == FIELDS_NAMED


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'"\xff"', b"[" * 100_000])
def test_decode_body_that_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        decode_body(body, NewTask)
    assert not isinstance(caught.value, msgspec.ValidationError)
    assert problem_for(caught.value).status == 400


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from([*NewTask.__struct_fields__, "other"])


@given(st.dictionaries(field_names, json_values, max_size=8))
def test_decode_body_of_any_object_is_a_task_or_names_fields(body: dict[str, object]) -> None:
    try:
        decode_body(json.dumps(body).encode(), NewTask, check_new_task)
    except InvalidInput as error:
        assert error.problems
        assert all(problem.field and problem.message for problem in error.problems)


@given(st.binary(max_size=200))
def test_decode_body_of_any_bytes_is_answered_as_the_callers_fault(body: bytes) -> None:
    try:
        decode_body(body, NewTask)
    except (InvalidInput, msgspec.DecodeError) as error:
        assert problem_for(error).status in (400, 422)


@given(json_values)
def test_field_problems_agree_with_the_decoder(value: object) -> None:
    try:
        msgspec.convert(value, NewTask)
    except msgspec.ValidationError:
        assert field_problems(value, NewTask)
    else:
        assert not field_problems(value, NewTask)


@pytest.mark.parametrize(
    ("text", "number"), [("5.0", 5), ("-0.0", 0), ("9007199254740992.0", 2**53)]
)
def test_decode_body_takes_a_whole_number_that_is_written_as_a_fraction(
    text: str, number: int
) -> None:
    assert decode_body(text.encode(), int) == number


@pytest.mark.parametrize("text", ["5.5", "9007199254740994.0", "1e300"])
def test_decode_body_refuses_a_fraction_for_a_whole_number(text: str) -> None:
    with pytest.raises(InvalidInput):
        decode_body(text.encode(), int)
