"""Many new tasks in one document: a JSON array, or CSV (RFC 4180) with a header row.

Either way a row becomes the same plain object that `POST /tasks` takes and is checked by the same
rules; what cannot be read as rows at all is refused whole. A cell is text and nothing else: what
looks like a formula is never more than its characters.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput

ROWS_LIMIT = 10_000
COLUMNS_LIMIT = 128
CELL_CHARACTERS = 16_384
NAME_CHARACTERS = 80
BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")

TEXT, NUMBER, TRUTH, LINES, WORDS = "text", "number", "truth", "lines", "words"
DOCUMENT = "a word, or an object in JSON"
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "idc": TEXT,
        "region_id": TEXT,
        "sn": TEXT,
        "mac": TEXT,
        "target_mac": TEXT,
        "os_type": TEXT,
        "os_version": TEXT,
        "hostname": TEXT,
        "method": TEXT,
        "kernel_arguments": TEXT,
        "disk_layout": DOCUMENT,
        "disk_passphrase": TEXT,
        "root_disk.serial": TEXT,
        "root_disk.wwn": TEXT,
        "root_disk.model": TEXT,
        "root_disk.device": TEXT,
        "root_disk.min_size_bytes": NUMBER,
        "root_disk.max_size_bytes": NUMBER,
        "root_disk.rotational": TRUTH,
        "root_disk.overwrite": TRUTH,
        "root_disk.nvme": TRUTH,
        "root_disk.path": TEXT,
        "network_config": TEXT,
        "network_config.address": TEXT,
        "network_config.gateway": TEXT,
        "network_config.dns": WORDS,
        "network_config.search": WORDS,
        "ssh_keys": LINES,
        "setup": DOCUMENT,
        "job": DOCUMENT,
        "tenant": TEXT,
    }
)
"""The columns and what a cell of each holds; `tags.KEY` is one more for each key."""

WANTED: Mapping[str, str] = MappingProxyType(
    {NUMBER: "a whole number", TRUTH: "true or false", DOCUMENT: DOCUMENT}
)
TAG = "tags."
NEEDED = (("idc", "region_id"), ("mac", "target_mac"), ("os_type", "job"), ("os_version", "job"))
"""Columns without which no row can be right; one of each group."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it came: `number` counts rows from 1, `line` is where it begins in a CSV file.

    `document` is what `POST /tasks` would take; where the row itself is wrong `problems` says why.
    """

    number: int
    line: int | None = None
    document: bytes = b"{}"
    problems: tuple[FieldProblem, ...] = ()


class _Reader(Protocol):
    """What `csv.reader` gives."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


def rows_of_json(body: bytes) -> list[Row]:
    """The rows of a JSON array of objects; what is in them is not looked at.

    Raises:
        msgspec.DecodeError: it is not JSON.
        InvalidInput: it is no array, is empty, or has too many rows.
    """
    try:
        found = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise _refused("must be an array of tasks") from None
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(str(error)) from None
    _check_count(len(found))
    return [Row(number=number, document=bytes(raw)) for number, raw in enumerate(found, 1)]


def rows_of_csv(body: bytes) -> list[Row]:
    """The rows of a CSV file: UTF-8 with or without a byte order mark, commas, a header row.

    An empty cell is a field that is not given; a line without any cell is no row.

    Raises:
        InvalidInput: the encoding, the quoting or the header is wrong, or there are too many rows.
    """
    reader = csv.reader(io.StringIO(_text(body), newline=""), strict=True)
    try:
        header = _header(next(reader, []))
        rows = list(_rows(reader, header))
    except csv.Error as error:
        raise _refused(f"line {reader.line_num} is not CSV: {error}") from None
    _check_count(len(rows))
    return rows


def duplicates(keys: Sequence[Mapping[str, str]]) -> dict[int, list[FieldProblem]]:
    """Which rows have a field's value that an earlier or later row has too.

    Args:
        keys: of each row the fields that no other row may share, as `{"sn": …, "mac": …}`.

    Returns:
        By index of the row: for each shared field a problem that names the first other row.
    """
    holders: dict[tuple[str, str], list[int]] = {}
    for index, fields in enumerate(keys):
        for each in fields.items():
            holders.setdefault(each, []).append(index)
    problems: dict[int, list[FieldProblem]] = {}
    for (field, value), indexes in holders.items():
        for index in indexes if len(indexes) > 1 else ():
            other = next(each for each in indexes if each != index)
            text = f"{value[:NAME_CHARACTERS]!r} is in row {other + 1} too"
            problems.setdefault(index, []).append(FieldProblem(field, text))
    return problems


def _text(body: bytes) -> str:
    if body.startswith(_UTF16_BOMS):
        raise _refused("is UTF-16; save it as 'CSV UTF-8'")
    try:
        text = body.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _refused(f"is not UTF-8: byte {error.start} in line {line}") from None
    if "\0" in text:
        raise _refused("has a zero byte, which no CSV file has")
    return text


def _header(cells: Sequence[str]) -> list[str]:
    """The names of the columns.

    Raises:
        InvalidInput: names each column that is unknown, repeated or missing.
    """
    names = [cell.strip() for cell in cells]
    if len(names) == 1 and ";" in names[0]:
        raise _refused("its columns are separated by ';'; use ','")
    if len(names) > COLUMNS_LIMIT:
        raise _refused(f"has {len(names)} columns; at most {COLUMNS_LIMIT}")
    problems = [
        FieldProblem(_column(name), "is no column; see the reference of the API")
        for name in dict.fromkeys(names)
        if name not in COLUMNS and not name.startswith(TAG)
    ]
    problems += [
        FieldProblem(_column(name), "is there twice")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    problems += [
        FieldProblem(_column(group[0]), "is a column that is missing")
        for group in NEEDED
        if not set(group) & set(names)
    ]
    if problems:
        raise InvalidInput(*problems)
    return names


def _column(name: str) -> str:
    return f"header.{name[:NAME_CHARACTERS]}"


def _rows(reader: _Reader, header: Sequence[str]) -> Iterator[Row]:
    number, line = 0, reader.line_num
    for cells in reader:
        begins, line = line + 1, reader.line_num
        if any(cells) or len(cells) > 1:
            number += 1
            if number > ROWS_LIMIT:
                _check_count(number)
            yield _row(number, begins, header, cells)


def _row(number: int, line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(header):
        text = f"has {len(cells)} cells where the header has {len(header)}"
        return Row(number=number, line=line, problems=(FieldProblem("row", text),))
    document: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    for name, cell in zip(header, cells, strict=True):
        text = cell.strip()
        if len(text) > CELL_CHARACTERS:
            problems.append(FieldProblem(name, f"is longer than {CELL_CHARACTERS} characters"))
        elif text:
            problems += _place(document, name, text)
    encoded = msgspec.json.encode(document)
    return Row(number=number, line=line, document=encoded, problems=tuple(problems))


def _place(document: dict[str, Any], name: str, text: str) -> Iterable[FieldProblem]:
    """Put a cell where `POST /tasks` has it."""
    if name.startswith(TAG):
        document.setdefault("tags", {})[name.removeprefix(TAG)] = text
        return ()
    value = _value(COLUMNS[name], text)
    if value is None:
        wanted = WANTED[COLUMNS[name]]
        return (FieldProblem(name, f"{text[:NAME_CHARACTERS]!r} is not {wanted}"),)
    parent, _, field = name.rpartition(".")
    if not parent:
        if isinstance(document.get(name), dict):
            return (FieldProblem(name, f"contradicts the columns {name}.…"),)
        document[name] = value
        return ()
    within = document.setdefault(parent, {})
    if not isinstance(within, dict):
        return (FieldProblem(name, f"contradicts the column {parent}"),)
    within[field] = value
    return ()


def _value(kind: str, text: str) -> Any:
    """The cell as what its column holds; None where it is not that."""
    if kind == NUMBER:
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    if kind == TRUTH:
        return {"true": True, "false": False}.get(text.lower())
    if kind == DOCUMENT and text.startswith("{"):
        return _document(text)
    if kind == LINES:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if kind == WORDS:
        return text.split()
    return text


def _document(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


def _check_count(count: int) -> None:
    if count == 0:
        raise _refused("has no rows")
    if count > ROWS_LIMIT:
        raise _refused(f"has more than {ROWS_LIMIT} rows; send several calls")


def _refused(text: str) -> InvalidInput:
    return InvalidInput(FieldProblem("body", text))
