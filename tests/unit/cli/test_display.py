"""Tables that fit, and documents that stay as they are."""

import argparse
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lpmos.cli.display import Column, Display, fitted, get

COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("NAME", lambda row: row["name"], drop=1),
    Column("NOTE", lambda row: row["note"], drop=2),
)
ROW = {"id": "abc", "name": "machine", "note": "a long remark"}


def drawn(rows: list[dict[str, str]], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False).print(
        fitted(rows, COLUMNS, width)
    )
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "headings"),
    [(80, ["ID", "NAME", "NOTE"]), (14, ["ID", "NAME"]), (11, ["ID"]), (2, ["ID"])],
)
def test_table_drops_what_matters_least_until_it_fits(width: int, headings: list[str]) -> None:
    lines = drawn([ROW], width)
    assert lines[0].split() == headings
    assert all(len(line) <= width for line in lines)


def test_table_shows_escape_sequences_and_markup_as_text() -> None:
    row = {"id": "[red]x[/]", "name": "\x1b[2J", "note": "two\nlines"}
    assert drawn([row], 80)[1] == "[red]x[/]  �[2J  two lines"


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(("id", "name", "note"), st.text()))))
def test_table_has_one_line_for_each_row(rows: list[dict[str, str]]) -> None:
    assert len(drawn(rows, 60)) == len(rows) + 1


def display(**chosen: bool) -> Display:
    return Display(argparse.Namespace(**{"json": False, "quiet": False, **chosen}))


LIST = {"rows": [ROW], "total": 3, "limit": 1, "offset": 0}


def test_listing_as_json_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    display(json=True).listing(LIST, "rows", COLUMNS, lambda row: row["id"])
    assert json.loads(capsys.readouterr().out) == LIST


def test_listing_quietly_is_ids(capsys: pytest.CaptureFixture[str]) -> None:
    display(quiet=True).listing(LIST, "rows", COLUMNS, lambda row: row["id"])
    assert capsys.readouterr() == ("abc\n", "")


def test_listing_for_people_says_how_many_more_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display().listing(LIST, "rows", COLUMNS, lambda row: row["id"])
    out, err = capsys.readouterr()
    assert out == "ID   NAME     NOTE\nabc  machine  a long remark\n"
    assert err == "1 of 3; --limit 3 shows all\n"


def test_listing_of_nothing_leaves_the_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    empty = {"rows": [], "total": 0}
    display().listing(empty, "rows", COLUMNS, lambda row: row["id"], nothing="no machines")
    assert capsys.readouterr() == ("", "no machines\n")


def test_get_follows_a_path_as_far_as_it_goes() -> None:
    assert get({"a": {"b": 1}}, "a", "b") == 1
    assert get({"a": None}, "a", "b") is get([], "a") is None


def test_result_says_beside_itself_what_speaks_against_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = {"id": "a", "warnings": [{"field": "root_disk", "message": "vda holds ext4"}]}
    display().result(made, "a", "created a")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("created a\n", "warning: root_disk: vda holds ext4\n")
    display(quiet=True).result(made, "a", "created a")
    assert capsys.readouterr() == ("a\n", "")
