"""`lpmos audit`: who did what, and whether the log is whole.

The chain is checked here, not by the server: a server that is not to be believed could say what it
likes of itself. With a saved log stream even a chain that was written anew throughout is found.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lpmos.cli.client import PAGE, Client, Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, get, utc_now
from lpmos.cli.failures import NoAnswer, Unfinished, Usage
from lpmos.cli.options import add_limit, command, group, limit, positive
from lpmos.cli.words import ago, stamp, with_zone
from lpmos.model.auditcheck import Break, ChainCheck, ChainPage, SavedStream

FOLLOW_S = 2.0
BREAKS_SHOWN = 20
COLUMNS = (
    Column("SEQ", lambda entry: entry["seq"], right=True),
    Column("TIME", lambda entry: stamp(get(entry, "event", "at"))),
    Column("WHO", lambda entry: get(entry, "event", "actor", "name")),
    Column("FROM", lambda entry: get(entry, "event", "actor", "address") or "", drop=4),
    Column("ACTION", lambda entry: get(entry, "event", "action")),
    Column("TARGET", lambda entry: get(entry, "event", "target"), drop=1),
    Column("", lambda entry: "refused" if get(entry, "event", "outcome") == "refused" else "",
           drop=2),
    Column("WHY", lambda entry: get(entry, "event", "reason") or "", drop=3),
)  # fmt: skip
FILTERS = ("actor", "action", "target", "tenant", "idc", "sn", "outcome", "since", "until")


def define(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `audit`."""
    kinds = group(parser)
    listing = command(
        kinds, "list", _list, "list what was done, newest first", calls=("GET /audit",)
    )
    _filters(listing)
    add_limit(listing)
    show = command(kinds, "show", _show, "show one entry", calls=("GET /audit/{seq}",))
    show.add_argument("seq", type=positive, metavar="SEQ", help="its number")
    verify = command(
        kinds, "verify", _verify, "check that no entry is missing or changed",
        calls=("GET /audit/chain",),
        more="Exit code 1 where the chain is broken. The chain alone cannot show that all of it was"
        " written anew; --log can.",
    )  # fmt: skip
    verify.add_argument(
        "--log",
        action="append",
        type=Path,
        metavar="FILE",
        help="compare with a saved log of the control plane (`-`: standard input, as from"
        " journalctl); repeatable",
    )
    export = command(
        kinds, "export", _export, "write entries as lines of JSON, oldest first",
        calls=("GET /audit",),
    )  # fmt: skip
    _filters(export)
    export.add_argument("--from", dest="start", type=positive, metavar="SEQ", help="begin here")
    follow = command(
        kinds, "follow", _follow, "print entries as they come, until Ctrl-C", calls=("GET /audit",)
    )
    _filters(follow)


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actor", metavar="NAME", help="who did it")
    parser.add_argument("--action", metavar="BEGINNING", help="as `task.` or `user.created`")
    parser.add_argument("--target", metavar="THING/ID", help="what it was done to")
    parser.add_argument("--tenant")
    parser.add_argument("--idc")
    parser.add_argument("--sn")
    parser.add_argument("--outcome", choices=("done", "refused"))
    parser.add_argument("--since", metavar="TIME", help="as 2026-01-02 or 2026-01-02T03:04:05Z")
    parser.add_argument("--until", metavar="TIME")


def _wanted(chosen: argparse.Namespace) -> dict[str, object]:
    wanted: dict[str, object] = {name: getattr(chosen, name) for name in FILTERS}
    return {**wanted, "since": with_zone(chosen.since), "until": with_zone(chosen.until)}


def _list(chosen: argparse.Namespace) -> None:
    wanted, most = _wanted(chosen), limit(chosen)
    with connect(chosen) as client:
        entries: list[Document] = []
        for page in _pages(client, wanted, most):
            entries += page
            if most is not None and len(entries) >= most:
                break
    Display(chosen).listing(
        {"entries": entries[:most]}, "entries", COLUMNS, lambda entry: str(entry["seq"]),
        nothing="no such entries",
    )  # fmt: skip


def _pages(
    client: Client, wanted: dict[str, object], most: int | None, start: int | None = None
) -> Iterator[list[Document]]:
    """The pages of a search, as far as there are any."""
    at = start
    while True:
        page = client.get("audit", **wanted, from_seq=at, limit=min(most or PAGE, PAGE))
        yield page["entries"]
        at = page["next"]
        if at is None:
            return


def _show(chosen: argparse.Namespace) -> None:
    with connect(chosen) as client:
        entry = client.get(f"audit/{chosen.seq}")
    display = Display(chosen)
    if not display.for_person(entry, str(entry["seq"])):
        return
    event = entry["event"]
    display.fields(
        [
            ("entry", entry["seq"]),
            ("time", f"{stamp(event['at'])} ({ago(event['at'], utc_now())})"),
            ("who", get(event, "actor", "name")),
            ("of tenant", get(event, "actor", "tenant")),
            ("with", get(event, "actor", "credential")),
            ("from", get(event, "actor", "address")),
            ("request", get(event, "actor", "request_id")),
            ("action", event["action"]),
            ("target", event["target"]),
            ("outcome", event.get("outcome", "done")),
            ("why", event.get("reason")),
            ("before", _short(event.get("before"))),
            ("after", _short(event.get("after"))),
            ("digest", entry["digest"]),
        ]
    )


def _short(document: Document | None) -> str:
    return json.dumps(document, ensure_ascii=False) if document else ""


def _verify(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    saved = _saved(chosen.log)
    check = ChainCheck(saved.stream if saved else None)
    breaks = list(saved.breaks) if saved else []
    with connect(chosen) as client:
        for page in _chain(client):
            breaks += check.page(page)
            if display.people and display.notes.is_terminal:
                display.notes.print(f"{check.entries} entries", end="\r")
    breaks += check.end()
    found = {
        "entries": check.entries,
        "compared": check.compared,
        "breaks": [{"seq": each.seq, "why": each.why} for each in breaks],
    }
    said = f"{check.entries} entries, the chain holds"
    if saved:
        said += f"; {check.compared} are as the saved log tells"
    if not breaks or display.json:
        display.result(found, str(check.entries), said)
    if breaks:
        lines = [f"  {each.seq}: {each.why}" for each in breaks[:BREAKS_SHOWN]]
        more = len(breaks) - BREAKS_SHOWN
        lines += [f"  … and {more} more"] if more > 0 else []
        raise Unfinished("\n".join([f"the chain is broken in {len(breaks)} places:", *lines]))
    if saved and not saved.stream.count:
        raise Unfinished("the saved log tells of no entry: is it the control plane's?")


class _Saved:
    """What saved log files tell, with what they contradict each other in."""

    def __init__(self) -> None:
        self.stream = SavedStream()
        self.breaks: list[Break] = []


def _saved(files: list[Path] | None) -> _Saved | None:
    if not files:
        return None
    saved = _Saved()
    for file in files:
        path = Path("/dev/stdin" if str(file) == "-" else file)
        try:
            with path.open(errors="replace") as lines:
                for line in lines:
                    wrong = saved.stream.add(line)
                    saved.breaks += [wrong] if wrong else []
        except OSError as error:
            raise Usage(f"{file} cannot be read: {error}") from error
    return saved


def _chain(client: Client) -> Iterator[ChainPage]:
    start: int | None = 1
    while start is not None:
        document = client.get("audit/chain", from_seq=start, limit=1000)
        try:
            page = msgspec.convert(document, ChainPage)
        except msgspec.ValidationError as error:
            raise NoAnswer(f"the server's chain is not understood: {error}") from error
        yield page
        start = page.next


def _export(chosen: argparse.Namespace) -> None:
    wanted = {**_wanted(chosen), "sort": "seq"}
    with connect(chosen) as client:
        for page in _pages(client, wanted, None, chosen.start):
            for entry in page:
                print(json.dumps(entry, ensure_ascii=False))


def _follow(chosen: argparse.Namespace) -> None:
    display = Display(chosen)
    wanted = {**_wanted(chosen), "sort": "seq"}
    with connect(chosen) as client:
        newest = client.get("audit", limit=1)["entries"]
        start = newest[0]["seq"] + 1 if newest else 1
        display.note("waiting for entries; Ctrl-C ends")
        while True:
            for page in _pages(client, wanted, None, start):
                for entry in page:
                    _tell(display, entry)
                    start = entry["seq"] + 1
            time.sleep(FOLLOW_S)


def _tell(display: Display, entry: Document) -> None:
    if display.json:
        print(json.dumps(entry, ensure_ascii=False), flush=True)
    elif display.quiet:
        print(entry["seq"], flush=True)
    else:
        cells = [str(column.cell(entry) or "") for column in COLUMNS]
        display.line("  ".join(cell for cell in cells if cell))
