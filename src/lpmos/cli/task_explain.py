"""`lpmos task explain`: what a task waits for, and what each rule says of it."""

import argparse

from lpmos.cli.connect import connect
from lpmos.cli.display import Display, get
from lpmos.cli.task_names import task_id
from lpmos.cli.unmatched import show_verdicts

WAITS_FOR = {
    "machine": "the machine, which has not reported its hardware yet",
    "rule": "the rule that matches; it approves within moments",
    "person": "a person: lpmos task approve",
    None: "no decision",
}


def run(chosen: argparse.Namespace) -> None:
    """Show it."""
    with connect(chosen) as client:
        found = client.get(f"tasks/{task_id(client, chosen.task)}/decision")
    display = Display(chosen)
    if not display.for_person(found, found["task_id"]):
        return
    approval = found["approval"]
    display.fields(
        [
            ("task", found["task_id"]),
            ("status", found["status"]),
            ("waits for", WAITS_FOR.get(found["waits_for"], found["waits_for"])),
            ("decided by", get(approval, "approved_by") or get(approval, "rejected_by")),
            ("", get(approval, "notes") or get(approval, "reason")),
        ]
    )
    show_verdicts(display, found["rules"])
