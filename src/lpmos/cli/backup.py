"""`lpmos backup`: make, list, verify and restore backups of the store.

It works on the store itself, and on files of this machine or on an object store, so that it needs
no control plane; the settings are a control plane's.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lpmos.app.settings import BY_NAME, Settings, for_part, load
from lpmos.cli.display import Column, Display, confirm
from lpmos.cli.failures import Exit, NoAnswer, Usage
from lpmos.cli.failures import Unfinished as NotDone
from lpmos.cli.options import add_yes, group

if TYPE_CHECKING:
    from lpmos.core.backup.place import Backup
    from lpmos.core.backup.verification import Verdict

PART = "control-plane"
STORE = (
    "state_dir",
    *(setting.name for setting in for_part(PART) if setting.name.startswith("etcd_")),
)
"""The settings that say where the store is."""

PLACE = ("backup_dir", "backup_target")
"""The settings that say where backups are."""

COLUMNS = (
    Column("FILE", lambda each: each["file"]),
    Column("MADE", lambda each: each["made_at"]),
    Column("REVISION", lambda each: each["revision"], drop=2),
    Column("RECORDS", lambda each: each["records"]),
    Column("BYTES", lambda each: each["size_bytes"]),
    Column("CLUSTER", lambda each: each["cluster"], drop=1),
)
SHOWN = 20
FILE_HELP = "a backup's file, or its URL in an object store"


def define(parser: argparse.ArgumentParser) -> None:
    """The arguments of `backup`."""
    parser.description = (
        "Backups of the store: etcd where endpoints are given, else the embedded one of"
        " --state-dir, which `lpmos up` must not use meanwhile (it makes its own:"
        " --backup-every-h). Exit code 1: a file is not good, or something failed; 5: the store is"
        " in use or not empty; 6: it cannot be reached."
    )
    kinds = group(parser)
    _add(
        kinds,
        "create",
        _create,
        "make a backup now, and restore it as a test",
        *STORE,
        *PLACE,
    )
    _add(kinds, "list", _list, "the backups of a place, the newest first", "state_dir", *PLACE)
    below = _add(kinds, "verify", _verify, "read all of a backup: is it whole, is it readable")
    below.add_argument("file", help=FILE_HELP)
    below.add_argument(
        "--by-restoring",
        action="store_true",
        help="restore it into a store that is thrown away, too (needs room beside the file, or for"
        " an object in TMPDIR)",
    )
    below = _add(kinds, "restore", _restore, "restore a backup into an empty store", *STORE)
    below.add_argument("file", help=FILE_HELP)
    below.add_argument(
        "--replace", action="store_true", help="delete what the store has, after a question"
    )
    below.add_argument(
        "--force",
        action="store_true",
        help="do not look whether a control plane or a region uses the store",
    )
    add_yes(below)


def _add(
    kinds: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    said: str,
    *settings: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        name, help=said, description=f"{said[0].upper()}{said[1:]}."
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON document")
    output.add_argument("-q", "--quiet", action="store_true", help="only files, one in a line")
    if settings:
        parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    for setting in (BY_NAME[each] for each in settings):
        parser.add_argument(*setting.flags, dest=setting.name, metavar="VALUE", help=setting.help)
    parser.set_defaults(run=run, settings=settings)
    return parser


def _settings(chosen: argparse.Namespace) -> Settings:
    given = {name: getattr(chosen, name) for name in chosen.settings}
    return load(PART, given, file=chosen.config)


def _create(chosen: argparse.Namespace) -> int:
    from lpmos.app.backup import create

    with _failures():
        backup, verdict = create(_settings(chosen))
    said = f"{backup.where}: {backup.manifest.records} records, {backup.size_bytes} bytes, restored"
    Display(chosen).result(_document(backup), backup.where, f"{said} as a test")
    return _tell_faults(Display(chosen), verdict)


def _list(chosen: argparse.Namespace) -> int:
    from lpmos.app.backup import listed, place_named

    settings = _settings(chosen)
    with _failures():
        found = [_document(each) for each in listed(settings)]
    Display(chosen).listing(
        {"backups": found, "total": len(found)},
        "backups",
        COLUMNS,
        lambda each: str(each["file"]),
        nothing=f"no backup in {place_named(settings)}",
    )
    return Exit.OK


def _verify(chosen: argparse.Namespace) -> int:
    from lpmos.app.backup import verified

    display = Display(chosen)
    with _failures():
        verdict = verified(chosen.file, by_restoring=chosen.by_restoring)
    manifest = verdict.manifest
    if display.for_person({**msgspec.to_builtins(verdict), "file": chosen.file}, chosen.file):
        display.fields(
            [
                ("made", f"{manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"),
                ("cluster", manifest.cluster),
                ("revision", manifest.revision),
                *((kind, count) for kind, count in manifest.counts.items()),
            ]
        )
        how = "whole, and restored as a test" if chosen.by_restoring else "whole"
        display.line(f"{manifest.records} records: {how}", "green")
    return _tell_faults(display, verdict)


def _tell_faults(display: Display, verdict: "Verdict") -> int:
    """Name what cannot be read; it could not be read in the store either."""
    if not verdict.faulty:
        return Exit.OK
    display.note(f"{verdict.faulty} documents cannot be read, as they are in the store:")
    for key, why in list(verdict.faults.items())[:SHOWN]:
        display.note(f"  {key}: {why}")
    return Exit.FAILED


def _restore(chosen: argparse.Namespace) -> int:
    from lpmos.app.backup import restored

    if chosen.force and not chosen.replace:
        raise Usage("--force is for a store that is in use, and that is not empty: with --replace")

    def agree(counts: dict[str, int]) -> bool:
        there = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        return confirm(chosen, f"Delete what the store has ({there})?")

    with _failures():
        done = restored(
            _settings(chosen),
            chosen.file,
            agree=agree if chosen.replace else None,
            force=chosen.force,
        )
    if done is None:
        raise NotDone("nothing was done")
    display = Display(chosen)
    document = {
        "file": chosen.file,
        "records": done.manifest.records,
        "failed_tasks": done.failed,
        "disabled_rules": done.disabled,
    }
    if display.for_person(document, chosen.file):
        display.line(f"restored {done.manifest.records} records of {chosen.file}", "green")
        if done.failed:
            display.line(f"{len(done.failed)} tasks that were approved or installing have failed:")
            for task_id in done.failed[:SHOWN]:
                display.line(f"  {task_id}")
        if done.disabled:
            display.line(f"rules that are disabled now: {', '.join(done.disabled)}")
    return Exit.OK


def _document(backup: "Backup") -> dict[str, Any]:
    manifest: dict[str, Any] = msgspec.to_builtins(backup.manifest)
    return {"file": backup.where, "size_bytes": backup.size_bytes, **manifest}


@contextmanager
def _failures() -> Iterator[None]:
    """What the disk and the store say, as a command says it."""
    from lpmos.store.api import Unavailable

    try:
        yield
    except Unavailable as error:
        raise NoAnswer(str(error)) from error
    except OSError as error:
        raise NotDone(str(error)) from error
