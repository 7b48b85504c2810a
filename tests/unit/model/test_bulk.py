"""Rows of a file: what is read of it, and that nothing in it can do more than be refused."""

import csv
import io
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lpmos.model.bulk import COLUMNS, Row, duplicates, rows_of_csv, rows_of_json
from lpmos.model.diskplan import RootDiskHints
from lpmos.model.errors import InvalidInput
from lpmos.model.network import Network
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task

HEADER = "idc,sn,mac,os_type,os_version"
GOOD = "dc1,SN-1,52:54:00:00:00:01,debian,12"


def _documents(text: str) -> list[Any]:
    return [msgspec.json.decode(row.document) for row in rows_of_csv(text.encode())]


def test_csv_row_is_what_a_single_call_takes() -> None:
    (document,) = _documents(f"{HEADER}\n{GOOD}\n")
    spec = check_new_task(msgspec.convert(document, NewTask))
    assert (spec.idc, spec.sn, spec.os_version) == ("dc1", "SN-1", "12")


def test_csv_empty_cell_is_a_field_that_is_not_given() -> None:
    (document,) = _documents(f"{HEADER},hostname,tags.a,root_disk.serial\n{GOOD},, ,\n")
    assert set(document) == set(HEADER.split(","))


def test_csv_numbers_rows_and_lines_by_where_they_begin() -> None:
    text = f'{HEADER},tags.a\n\n{GOOD},"x\ny"\n\n{GOOD},z\n'
    assert [(row.number, row.line) for row in rows_of_csv(text.encode())] == [(1, 3), (2, 6)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_line_endings_and_byte_order_mark_make_no_difference(ending: str, mark: bytes) -> None:
    body = mark + ending.join([HEADER, GOOD, ""]).encode()
    (row,) = rows_of_csv(body)
    assert msgspec.json.decode(row.document)["idc"] == "dc1"


@pytest.mark.parametrize(
    ("cells", "network"),
    [
        ("dhcp,,", "dhcp"),
        (",192.0.2.5/24,192.0.2.1  192.0.2.2",
         {"address": "192.0.2.5/24", "dns": ["192.0.2.1", "192.0.2.2"]}),
    ],
)  # fmt: skip
def test_csv_network_is_a_word_or_its_parts(cells: str, network: object) -> None:
    columns = "network_config,network_config.address,network_config.dns"
    (document,) = _documents(f"{HEADER},{columns}\n{GOOD},{cells}\n")
    assert document["network_config"] == network


@pytest.mark.parametrize(
    "columns", ["network_config,network_config.address", "network_config.address,network_config"]
)
def test_csv_network_said_in_two_ways_is_refused(columns: str) -> None:
    cells = "dhcp,192.0.2.5/24" if columns.startswith("network_config,") else "192.0.2.5/24,dhcp"
    (row,) = rows_of_csv(f"{HEADER},{columns}\n{GOOD},{cells}\n".encode())
    assert "contradicts" in row.problems[0].message


def test_columns_are_the_fields_of_a_new_task() -> None:
    names = {name.partition(".")[0] for name in COLUMNS} | {"tags"}
    assert names == set(NewTask.__struct_fields__)
    within = {name.partition(".")[2] for name in COLUMNS if name.startswith("root_disk.")}
    assert within == set(RootDiskHints.__struct_fields__)
    within = {name.partition(".")[2] for name in COLUMNS if name.startswith("network_config.")}
    assert within | {"links"} == set(Network.__struct_fields__)  # a cell holds no list of them


def test_duplicates_name_the_other_row_of_each() -> None:
    found = duplicates([{"sn": "A", "mac": "1"}, {}, {"sn": "A", "mac": "2"}, {"mac": "2"}])
    told = {index: [(p.field, p.message) for p in each] for index, each in found.items()}
    assert told == {
        0: [("sn", "'A' is in row 3 too")],
        2: [("sn", "'A' is in row 1 too"), ("mac", "'2' is in row 4 too")],
        3: [("mac", "'2' is in row 3 too")],
    }


def _read(body: bytes) -> list[Row]:
    try:
        return rows_of_csv(body)
    except InvalidInput as error:
        assert error.problems
        return []


@given(st.binary(max_size=400))
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfei\0d\0c\0")
def test_csv_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    _read(body)
    _read(f"{HEADER}\n".encode() + body)


@given(st.binary(max_size=400))
def test_json_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    for text in (body, b"[" + body + b"]"):
        try:
            rows_of_json(text)
        except (InvalidInput, msgspec.DecodeError):
            continue


cells = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_csv_cells_come_out_as_they_were_written(values: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*HEADER.split(","), "tags.a", "tags.b"])
    writer.writerows([*GOOD.split(","), *pair] for pair in values)
    documents = _documents(text.getvalue())
    found = [document.get("tags", {}) for document in documents]
    wanted = [
        {key: cell.strip() for key, cell in zip("ab", pair, strict=True) if cell.strip()}
        for pair in values
    ]
    assert found == wanted
