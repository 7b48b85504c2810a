"""`lpmos task logs`: a task's log, once, whole, or as it grows."""

import argparse

from lpmos.cli.client import Client, Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Display
from lpmos.cli.failures import Usage
from lpmos.cli.feed import Feed, Lost
from lpmos.cli.task_names import task_id

TICK_S = 10.0
"""A log is looked at so often even where nothing is told of it."""

DOWNLOAD_TIMEOUT_S = 300.0


def run(chosen: argparse.Namespace) -> None:
    """Print the newest lines; with `--full` all, with `--follow` those that come until the end.

    Raises:
        Usage: `--full` with `--follow` or `--json`.
    """
    display = Display(chosen)
    if chosen.full and (chosen.follow or not display.people):
        raise Usage("--full prints the log as it is: it goes with no --follow, --json or --quiet")
    with connect(chosen) as client:
        found = task_id(client, chosen.task)
        if chosen.full:
            _download(client, display, found)
        elif chosen.follow:
            _follow(client, display, found)
        else:
            log = client.get(f"tasks/{found}/log")
            if display.for_person(log, found):
                _print(display, log)


def _download(client: Client, display: Display, found: str) -> None:
    answer = client.call("GET", f"tasks/{found}/log/download", timeout_s=DOWNLOAD_TIMEOUT_S)
    for line in str(answer.document).splitlines():
        display.line(line)


def _follow(client: Client, display: Display, found: str) -> None:
    known = 0
    wanted = {"task_id": found, "types": ["status", "log"]}
    for event in Feed(client, wanted).events(TICK_S):
        if isinstance(event, Lost):
            display.note(f"connecting again: {event.reason}")
            continue
        log = client.get(f"tasks/{found}/log", after=known)
        _print(display, log)
        known = log["next"]
        if log["finished"]:
            return


def _print(display: Display, log: Document) -> None:
    if log["missed"]:
        display.note(f"{log['missed']} older lines are in the whole log: --full")
    for line in log["lines"]:
        display.line(line)
