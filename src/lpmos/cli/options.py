"""How commands are declared, and the flags that all commands of the API share.

A declared command names the calls that it makes. A test holds them against the API's description,
and `lpmos reference` prints them.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

Run = Callable[[argparse.Namespace], int | None]

SHOWN_BY_DEFAULT = 100


class Parser(argparse.ArgumentParser):
    """Like its parent, but a wrong command line says only what is wrong and where help is."""

    def error(self, message: str) -> NoReturn:
        """End with 2; the whole usage is `--help`'s."""
        self.exit(2, f"{self.prog}: {message}\ntry: {self.prog} --help\n")


def group(parser: argparse.ArgumentParser, *, required: bool = True) -> Any:
    """Give a command subcommands; hand the result to `command`."""
    return parser.add_subparsers(
        title="commands", metavar="COMMAND", required=required, parser_class=Parser
    )


def command(
    kinds: Any,
    name: str,
    run: Run,
    help_text: str,
    *,
    calls: Sequence[str] = (),
    more: str = "",
) -> argparse.ArgumentParser:
    """Declare one command of the API below a `group`.

    Args:
        kinds: what `group` gave.
        name: the command's last word.
        run: does it, and gives the exit code (None: 0).
        help_text: one line.
        calls: of the API, as `GET /tasks/{task_id}`.
        more: what its help says beyond that line.
    """
    parser: argparse.ArgumentParser = kinds.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.{' ' if more else ''}{more}",
    )
    return declared(parser, run, calls)


def named_command(
    kinds: Any, name: str, run: Run, help_text: str, calls: Sequence[str], *, what: str
) -> argparse.ArgumentParser:
    """Declare a `command` that takes the name of one thing; `what` it is, as `the user`."""
    parser = command(kinds, name, run, help_text, calls=calls)
    parser.add_argument("name", metavar="NAME", help=what)
    return parser


def declared(
    parser: argparse.ArgumentParser, run: Run, calls: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Make `parser` a command of the API, with the flags that all of them have."""
    parser.set_defaults(run=run, calls=tuple(calls))
    server = parser.add_argument_group("server")
    server.add_argument(
        "--server",
        metavar="URL",
        help="the control plane (else LPMOS_SERVER, else where you signed in last)",
    )
    server.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="trust only this CA (else LPMOS_CA, else what sign-in named, else the system's)",
    )
    output = parser.add_argument_group("output").add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON document, as the API says it")
    output.add_argument("-q", "--quiet", action="store_true", help="only ids, one in a line")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="tell each call on standard error"
    )
    return parser


def add_limit(parser: argparse.ArgumentParser) -> None:
    """`--limit` for a list."""
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help=f"at most so many (a table: {SHOWN_BY_DEFAULT}, --json and --quiet: all)",
    )


def limit(chosen: argparse.Namespace) -> int | None:
    """How many entries are wanted; None is all."""
    if chosen.limit is not None or chosen.json or chosen.quiet:
        return int(chosen.limit) if chosen.limit is not None else None
    return SHOWN_BY_DEFAULT


def add_yes(parser: argparse.ArgumentParser) -> None:
    """`--yes` for what asks before it does something."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def add_at_revision(parser: argparse.ArgumentParser) -> None:
    """`--at-revision` for a change that must not undo somebody else's."""
    parser.add_argument(
        "--at-revision",
        type=positive,
        metavar="N",
        help="only if it is still at this revision, as `show --json` said it",
    )


def at_revision(chosen: argparse.Namespace) -> str | None:
    """The `If-Match` of the change."""
    return None if chosen.at_revision is None else f'"{chosen.at_revision}"'


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`; without `=` the value is empty."""
    key, _, value = text.partition("=")
    if not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
