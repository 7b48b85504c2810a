"""A file of tasks: which rows are wrong, and the parts that can be sent again."""

from hypothesis import given
from hypothesis import strategies as st

from lpmos.cli.task_bulk import parts, why, wrong_rows
from lpmos.model.bulk import Row, rows_of_csv

HEADER = b"idc,mac,sn,os_type,os_version\n"


def rows(count: int) -> list[Row]:
    return [Row(number=n, document=b'{"sn":"S%d"}' % n) for n in range(1, count + 1)]


@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_hold_every_row_once_under_different_keys(count: int, size: int) -> None:
    made = list(parts(rows(count), size, ""))
    assert [row.number for part in made for row in part.rows] == list(range(1, count + 1))
    assert len({part.key for part in made}) == len(made)
    assert all(len(part.rows) <= size for part in made)


def test_part_has_the_same_key_whatever_comes_after_it() -> None:
    short, long = parts(rows(10), 5, ""), parts(rows(20), 5, "")
    assert [part.key for part in short] == [part.key for part in long][:2]


def test_part_of_another_run_has_another_key() -> None:
    (one,), (other,) = parts(rows(1), 5, ""), parts(rows(1), 5, "again")
    assert one.key != other.key


def test_part_of_a_dry_run_has_no_key() -> None:
    assert [part.key for part in parts(rows(3), 5, "", dry_run=True)] == [None]


def test_wrong_rows_are_named_with_all_that_is_wrong() -> None:
    file = rows_of_csv(
        HEADER
        + b"dc1,52:54:00:00:00:01,S1,debian,12\n"
        + b"DC 1,x,S2,debian,12\n"
        + b"dc1,5254.0000.0001,S3,debian,12\n"
        + b"dc1,52:54:00:00:00:04\n"
    )
    wrong = wrong_rows(file)
    assert [problem.field for problem in wrong[2]] == ["idc", "mac"]
    assert [problem.field for problem in wrong[1]] == ["mac"] == [p.field for p in wrong[3]]
    assert "row 1" in wrong[3][0].message
    assert set(wrong) == {1, 2, 3, 4}


def test_row_of_another_shape_is_left_to_the_server() -> None:
    assert wrong_rows([Row(number=1, document=b'{"tags": 7}')]) == {}


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_wrong_rows_of_any_documents_raise_nothing(documents: list[bytes]) -> None:
    wrong_rows([Row(number=n, document=each) for n, each in enumerate(documents, 1)])


def test_why_names_every_field_or_the_reason() -> None:
    errors = [{"field": "mac", "message": "is none"}, {"field": "idc", "message": "is missing"}]
    assert why({"problem": {"detail": "…", "errors": errors}}) == "mac: is none; idc: is missing"
    assert why({"problem": {"detail": "has a task"}}) == "has a task"
    assert why({}) == ""
