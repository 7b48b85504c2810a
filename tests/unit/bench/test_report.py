"""Rows of benchmarks: limits of values and of ratios, the committed page, and what got worse."""

from datetime import date
from pathlib import Path

import msgspec
import pytest
from bench import figures, report
from bench.__main__ import BENCHES
from bench.report import Row, compared, limited, noted
from hypothesis import given
from hypothesis import strategies as st

BENCH_DIR = Path(report.__file__).parent
SUPPORT = {
    *("__main__", "console_times", "figures", "known", "load", "one_install", "package_mirror"),
    *("fleet_page", "live_browsers", "live_server", "parts", "region_process", "report"),
}
MACHINE = {"Processor": "Any CPU", "Cores": "2"}
ROWS = {
    "outbox": [
        compared("hand-in", 3000, "/s", ("bare", 10_000), at_least=0.15, note="in 3 s"),
        limited("start", 2.5, "s", at_most=2),
        noted("size", 1234.5, "MB"),
    ]
}


def _page(rows: dict[str, list[Row]]) -> str:
    return figures.page(rows, MACHINE, date(2026, 1, 1))


@pytest.mark.parametrize(
    ("row", "ratio", "ok"),
    [
        (limited("a", 5, "ms", at_most=10), 0.5, True),
        (limited("a", 11, "ms", at_most=10), 1.1, False),
        (limited("a", 60, "/s", at_least=50), 1.2, True),
        (limited("a", 40, "/s", at_least=50), 0.8, False),
        (compared("a", 40, "/s", ("peer", 50), at_least=0.7), 0.8, True),
        (compared("a", 40, "/s", ("peer", 50), ratio=0.6, at_least=0.7), 0.6, False),
        (compared("a", 40, "s", ("peer", 50), at_most=1.5), 0.8, True),
        (compared("a", 40, "s", ("peer", 50)), 0.8, True),
    ],
)
def test_row_is_ok_within_its_limit(row: Row, ratio: float, ok: bool) -> None:
    assert row.ratio == pytest.approx(ratio)
    assert row.ok is ok


def test_text_missed_limit_says_so() -> None:
    lines = report.text(ROWS["outbox"]).splitlines()
    assert " ".join(lines[1].split()) == "hand-in 3,000 /s bare 10,000 /s 0.30 >= 0.15 in 3 s"
    assert lines[2].endswith("1.25   <= 2 s   MISSED")


def test_page_read_back_has_the_same_rows() -> None:
    (known,) = figures.rows_of(_page(ROWS)).values()
    assert [report.cells(row) for row in known] == [report.cells(row) for row in ROWS["outbox"]]
    assert figures.processor_of(_page(ROWS)) == "Any CPU"


@given(st.text())
def test_page_any_text_is_read_without_an_error(text: str) -> None:
    figures.rows_of(text)
    figures.processor_of(f"| outbox | {text} |")
    figures.rows_of(f"| outbox | {text} |\n| outbox | a | 1 | {text} | | |  |")


def _worse(processor: str, **changed: float) -> list[str]:
    now = [msgspec.structs.replace(row, **changed) for row in ROWS["outbox"]]
    return list(figures.worse({"outbox": now}, _page(ROWS), processor))


def test_worse_nothing_changed_is_empty() -> None:
    assert _worse("Any CPU") == []


def test_worse_ratio_to_a_peer_counts_on_another_machine_too() -> None:
    assert _worse("Another CPU", ratio=0.2, value=9) == [
        "outbox: hand-in: ratio 0.3 before, 0.2 now"
    ]


def test_worse_value_counts_on_the_same_processor_only() -> None:
    assert _worse("Another CPU", value=4.0) == []
    assert _worse("Any CPU", value=4.0) == ["outbox: start: 2.5 before, 4 now"]


def test_worse_by_less_than_a_fifth_is_the_machines_unrest() -> None:
    assert _worse("Any CPU", value=2.9, ratio=0.26) == []


def test_worse_figure_that_is_gone_is_named() -> None:
    found = list(figures.worse({"outbox": ROWS["outbox"][:2]}, _page(ROWS), "Any CPU"))
    assert found == ["outbox: size: was measured before, and is not now"]


def test_every_benchmark_is_in_the_list() -> None:
    there = {path.stem for path in BENCH_DIR.glob("*.py")}
    assert there == {*BENCHES, *SUPPORT}


def test_committed_page_names_only_benchmarks() -> None:
    assert set(figures.rows_of(figures.PAGE.read_text())) <= set(BENCHES)
