"""What the agent takes for a plan."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.errors import InstallError
from lpmos.agent.plan import parse_plan
from tests.support.agent_region import plan_document, plan_for

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def _document() -> Any:
    return plan_document(plan_for(b"image"))


def test_plan_with_unknown_fields_is_taken() -> None:
    document = _document() | {"newer": {"field": 1}}
    assert parse_plan(document).hostname == "web-1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_id", None),
        ("intent_id", 7),
        ("boot_loader", "lilo"),
        ("files", "x"),
        ("first_boot", "x"),
        ("first_boot", {"files": None}),
        ("disk", None),
        ("kernel_arguments", None),
    ],
)
def test_plan_with_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InstallError, match=field):
        parse_plan(_document() | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "qcow2"),
        ("url", "http://elsewhere/x"),
        ("url", "//elsewhere/x"),
        ("size_bytes", True),
    ],
)
def test_image_that_this_agent_cannot_install_is_refused(field: str, value: object) -> None:
    document = _document()
    document["image"][field] = value
    with pytest.raises(InstallError, match=field):
        parse_plan(document)


@pytest.mark.parametrize(
    "partitions",
    [
        [],
        [{"number": 1, "role": "swap", "size_bytes": None, "filesystem": None}],
        [{"number": 1, "role": "root", "size_bytes": None, "filesystem": "xfs"}],
        [{"number": n, "role": "root", "size_bytes": None, "filesystem": "ext4"} for n in (1, 2)],
    ],
)
def test_partitions_that_this_agent_cannot_make_are_refused(partitions: list[object]) -> None:
    document = _document()
    document["disk"]["partitions"] = partitions
    with pytest.raises(InstallError, match="partitions"):
        parse_plan(document)


@given(st.sampled_from(sorted(_document())), json_values)
def test_plan_with_any_value_in_a_field_is_taken_or_refused(field: str, value: object) -> None:
    try:
        parse_plan(_document() | {field: value})
    except InstallError as error:
        assert error.hint


@given(json_values)
def test_plan_of_any_json_is_refused(value: object) -> None:
    with pytest.raises(InstallError):
        parse_plan(value)
