"""What `lpmos explain` shows of a task, also from a control plane of the version before."""

import argparse

import pytest

from lpmos.cli.client import Document
from lpmos.cli.display import Display
from lpmos.cli.explain import show

TASK = {
    "task_id": "t",
    "idc": "dc1",
    "sn": "SN-1",
    "mac": "52:54:00:00:00:01",
    "status": "completed",
    "failure": None,
}
EXPLAINED = {
    "model": "R650",
    "since": "2026-01-02T00:00:00Z",
    "until": None,
    "usual": None,
    "agent_online": None,
    "causes": [],
    "layers": [],
    "parts": [{"part": "boot.kernel", "count": 7, "p50_s": 2.0, "p95_s": 4.0}],
}


def shown(task: Document, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    show(Display(argparse.Namespace()), task, EXPLAINED)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_parts_have_what_they_took_here_beside_what_is_usual(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown({**TASK, "durations": {"boot.kernel": 3.0, "partitioning": 5.0}}, capsys)
    assert ["boot.kernel", "3", "s", "2", "s", "4", "s", "7"] in lines
    assert ["partitioning", "5", "s"] in lines


def test_task_without_durations_is_shown_with_what_is_usual(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ["boot.kernel", "2", "s", "4", "s", "7"] in shown(TASK, capsys)
