"""`lpmos migrate`: what older versions left in the store, carried over to this one's layout.

It works on the store itself, so that it needs no control plane; the settings are a control plane's.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lpmos.app.settings import BY_NAME, for_part, load
from lpmos.cli.display import Column, Display, confirm
from lpmos.cli.failures import Exit, NoAnswer, Unfinished, Usage
from lpmos.cli.options import add_yes

if TYPE_CHECKING:
    from lpmos.core.migration.run import Report

SHOWN = 50
PART = "control-plane"
NAMES = (
    "state_dir",
    *(setting.name for setting in for_part(PART) if setting.name.startswith("etcd_")),
)
"""The settings that say where the store is."""

FINDINGS = (
    Column("KEY", lambda each: each["key"]),
    Column("KIND", lambda each: each["kind"]),
    Column("TASK", lambda each: each["task_id"] or "", drop=1),
    Column("WHAT IS WRONG", lambda each: each["reason"]),
)
COUNTS = (
    ("old_keys", "keys of older layouts"),
    ("found_tasks", "tasks found"),
    ("would_migrate", "would be carried over"),
    ("migrated", "carried over now"),
    ("already", "carried over before"),
    ("gone_on", "of these changed by v3 since"),
    ("refused", "put aside"),
    ("documents", "servers, machines, reports, settings"),
    ("replaced_keys", "keys that v3 writes anew"),
    ("deleted_keys", "old keys deleted"),
    ("left_keys", "old keys left"),
)


def define(parser: argparse.ArgumentParser) -> None:
    """The arguments of `migrate`."""
    parser.description = (
        "Carry over what older versions left in the store (v1, v2, v2.1, v2.x list form). Nothing"
        " of it is changed or deleted; run again, it goes on where it was. Works on the store"
        " itself: etcd where endpoints are given, else the embedded store of --state-dir, which"
        " `lpmos up` must not use meanwhile. Exit code 0: all is in v3 and verified; 1: so is all"
        " but what the report names; 5: the older system still runs, or what v3 has is not what"
        " was carried over; 6: the store cannot be reached."
    )
    parser.add_argument("--dry-run", action="store_true", help="read and tell, write nothing")
    parser.add_argument(
        "--delete-old",
        action="store_true",
        help="delete what was carried over, once all of that is verified",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_yes(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    for setting in (BY_NAME[name] for name in NAMES):
        parser.add_argument(*setting.flags, dest=setting.name, metavar="VALUE", help=setting.help)
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from lpmos.app.migrate import run_migration
    from lpmos.store.api import Unavailable

    if chosen.dry_run and chosen.delete_old:
        raise Usage("--dry-run writes nothing, so --delete-old says nothing beside it")
    settings = load(PART, {name: getattr(chosen, name) for name in NAMES}, file=chosen.config)
    question = "Delete what older versions left, once it is carried over and verified?"
    if chosen.delete_old and not confirm(chosen, question):
        raise Unfinished("nothing was done")
    if chosen.report is not None:
        _save("", chosen.report)  # better now than after the migration
    display = Display(chosen)
    try:
        with _progress(display) as told:
            report = run_migration(
                settings, dry_run=chosen.dry_run, delete=chosen.delete_old, told=told
            )
    except Unavailable as error:
        raise NoAnswer(str(error)) from error
    if chosen.report is not None:
        text = json.dumps(report.document(), indent=2, ensure_ascii=False)
        _save(f"{text}\n", chosen.report)
    _show(report, display)
    if report.verified is False:
        display.note("what v3 has is not what was carried over: see the findings")
        return Exit.CONFLICT
    return Exit.OK if report.whole else Exit.FAILED


@contextmanager
def _progress(display: Display) -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar on standard error, where somebody looks at it."""
    if not display.people or not display.notes.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=display.notes, transient=True) as bars:
        bar = bars.add_task("reading", total=None)
        yield lambda step, done, total: bars.update(
            bar, description=step, completed=done, total=total
        )


def _save(text: str, file: Path) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise Usage(f"--report: {error}") from error


def _show(report: "Report", display: Display) -> None:
    document = report.document()
    if display.json:
        display.document(document)
        return
    display.fields((said, document[name] or None) for name, said in COUNTS)
    for title, counts in (
        ("by status", report.statuses),
        ("by layout", report.layouts),
        ("findings", report.kinds()),
    ):
        if counts:
            display.heading(title)
            display.fields(counts.items())
    if document["findings"]:
        display.line("")
        display.table(document["findings"][:SHOWN], FINDINGS)
        if len(document["findings"]) > SHOWN:
            display.note(f"{SHOWN} of {len(document['findings'])}; --json or --report has all")
    if report.verified:
        display.line("verified: v3 has all that was carried over", "green")
