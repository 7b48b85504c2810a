"""The board of watched tasks: nothing told twice, nothing missed, and how long is left."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.cli.client import Document
from lpmos.cli.task_board import STRETCH_S, Board, Change

ONE = "0b0b6f5e-0000-4000-8000-000000000001"
HISTORY = ["pending", "ready", "booting", "pending_approval", "approved", "installing", "completed"]


def shown(status: str, percentage: float = 0.0, **fields: Any) -> Document:
    """A task as the API shows it alone."""
    passed = HISTORY[: HISTORY.index(status) + 1] if status in HISTORY else ["pending", status]
    return {
        "task_id": ONE, "idc": "dc1", "sn": "SN-1", "hostname": "h", "status": status,
        "status_history": [{"status": each} for each in passed], "percentage": percentage,
        "progress": [], "error": None, **fields,
    }  # fmt: skip


def said(status: str) -> Document:
    return {"type": "status", "task_id": ONE, "status": status}


def moved(percentage: float, stage: str = "downloading") -> Document:
    return {
        "type": "progress", "task_id": ONE, "percentage": percentage, "stage": stage,
        "message": "m", "bytes_per_second": 5.0,
    }  # fmt: skip


def statuses(changes: list[Change]) -> list[str]:
    return [change.text for change in changes if change.what == "status"]


def test_board_begins_with_the_present_status_only() -> None:
    board = Board([ONE])
    assert statuses(list(board.read(shown("approved"), 0.0))) == ["approved"]


def test_board_tells_what_was_missed_when_it_reads_again() -> None:
    board = Board([ONE])
    list(board.read(shown("approved"), 0.0))
    assert statuses(list(board.read(shown("completed"), 1.0))) == ["installing", "completed"]


@given(st.lists(st.sampled_from(["hear", "read", "read again"]), max_size=20))
def test_board_tells_every_status_once_in_order(ways: list[str]) -> None:
    board = Board([ONE])
    told = statuses(list(board.read(shown("pending"), 0.0)))
    for way, status in zip(ways, HISTORY[1:], strict=False):
        if way == "hear":
            told += statuses(list(board.hear(said(status), 0.0)))
        else:
            told += statuses(list(board.read(shown(status), 0.0)))
        if way == "read again":
            told += statuses(list(board.read(shown(status), 0.0)))
    assert told == HISTORY[: len(told)]


def test_board_has_ended_when_all_named_have() -> None:
    board = Board([ONE])
    assert not board.ended()
    list(board.read(shown("installing"), 0.0))
    assert not board.ended()
    list(board.hear(said("completed"), 0.0))
    assert board.ended()
    assert not Board().ended()


def test_board_shows_why_a_task_failed() -> None:
    board = Board([ONE])
    list(board.read(shown("failed", error={"reason": "boom"}), 0.0))
    assert board.rows[ONE].error == "boom"


def test_board_shows_the_bytes_of_the_newest_message() -> None:
    board = Board([ONE])
    step = {"step": "downloading", "message": "", "bytes_done": 3, "bytes_total": 9,
            "bytes_per_second": 1.0}  # fmt: skip
    list(board.read(shown("installing", 30.0, progress=[step]), 0.0))
    assert (board.rows[ONE].bytes_done, board.rows[ONE].bytes_total) == (3, 9)
    list(board.hear({**moved(35.0), "bytes_done": 5, "bytes_total": 9}, 1.0))
    assert (board.rows[ONE].bytes_done, board.rows[ONE].bytes_total) == (5, 9)
    list(board.hear(moved(60.0, "installing"), 2.0))
    assert board.rows[ONE].bytes_total is None


def test_board_judges_what_is_left_by_the_last_seconds() -> None:
    board = Board([ONE])
    list(board.read(shown("installing"), 0.0))
    row = board.rows[ONE]
    for second in range(11):
        list(board.hear(moved(second * 2.0), float(second)))
    assert row.remaining_s(10.0) == pytest.approx(40.0)
    assert row.remaining_s(10.0 + 2 * STRETCH_S) is None


def test_board_begins_anew_when_an_install_does() -> None:
    board = Board([ONE])
    list(board.read(shown("installing"), 0.0))
    for second, percentage in enumerate((80.0, 81.0, 10.0)):
        list(board.hear(moved(percentage), float(second)))
    assert board.rows[ONE].remaining_s(3.0) is None
