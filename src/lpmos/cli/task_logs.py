"""`lpmos task logs`: a task's log, once or as it grows."""

import argparse
from collections.abc import Sequence

from lpmos.cli.client import Client
from lpmos.cli.connect import connect
from lpmos.cli.display import Display
from lpmos.cli.feed import Feed, Lost
from lpmos.cli.task_board import FINISHED
from lpmos.cli.task_names import task_id

TICK_S = 2.0
"""A log can grow without any other news: so often it is looked at."""


def run(chosen: argparse.Namespace) -> None:
    """Print the newest lines; with `--follow` all that come until the task has ended."""
    display = Display(chosen)
    with connect(chosen) as client:
        found = task_id(client, chosen.task)
        if chosen.follow:
            _follow(client, display, found)
            return
        task = client.get(f"tasks/{found}")
    if display.people:
        _print(display, task["logs"])
    else:
        display.result({"task_id": found, "logs": task["logs"]}, found, "")


def _follow(client: Client, display: Display, found: str) -> None:
    known: list[str] = []
    for event in Feed(client, {"task_id": found}).events(TICK_S):
        if isinstance(event, Lost):
            display.note(f"connecting again: {event.reason}")
            continue
        task = client.get(f"tasks/{found}")
        _print(display, added(known, task["logs"]))
        known = task["logs"]
        if task["status"] in FINISHED:
            return


def added(known: Sequence[str], now: Sequence[str]) -> Sequence[str]:
    """What of a log's newest lines is new: the oldest ones go as others come."""
    for gone in range(len(known)):
        kept = known[gone:]
        if list(now[: len(kept)]) == list(kept):
            return now[len(kept) :]
    return now


def _print(display: Display, lines: Sequence[str]) -> None:
    for line in lines:
        display.line(line)
