"""`lpmos region serve-alone`: an operator's word, on a client's own host, that the others are off.

It is for the time without the store, and is written into the state directory of the client, which
hears of it within a second. No control plane is asked: it may be cut off, too.
"""

import argparse
import getpass
import os
from pathlib import Path

from lpmos.app.settings import load
from lpmos.app.settings_table import REGION
from lpmos.cli.display import confirm, utc_now
from lpmos.cli.failures import Usage
from lpmos.cli.options import add_yes


def define(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.description = (
        "Have the client of this host serve machines while the store is away and the other client"
        " is off. Only where it is off, and stays off until the store is back: two that serve give"
        " the same addresses to two machines. It ends by itself once the store is back; the audit"
        " log then has who said it."
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    parser.add_argument("--state-dir", metavar="VALUE", help="the client's state directory")
    parser.add_argument(
        "--off",
        action="append",
        metavar="IDENTITY",
        help="the client that is off, by its identity; once for each of them",
    )
    parser.add_argument("--undo", action="store_true", help="take it back: the other is on again")
    add_yes(parser)
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> None:
    from lpmos.region.remembered import Remembered, ServeAlone

    given = {"state_dir": chosen.state_dir} if chosen.state_dir else {}
    remembered = Remembered(load(REGION, given, file=chosen.config).state_dir)
    try:
        if chosen.undo:
            there = remembered.forget_serve_alone()
            print("taken back" if there else "nothing was said")
            return
        others, off = remembered.kept.others, set(chosen.off or ())
        _check(off, others)
        if not confirm(
            chosen,
            f"Are {', '.join(sorted(off))} off, and will they stay off until the store is back?"
            " If one of them serves machines, two machines get the same address.",
        ):
            return
        word = ServeAlone(
            os.environ.get("SUDO_USER") or getpass.getuser(), utc_now(), tuple(sorted(off))
        )
        remembered.say_serve_alone(word)
    except OSError as error:
        raise Usage(f"cannot write to the state directory: {error.strerror}") from error
    print("said; the region's log tells when it serves")


def _check(off: set[str], others: dict[str, str]) -> None:
    """Who is said to be off has to be known, and named."""
    if not others:
        raise Usage("the region's client knows of no other; --state-dir has to be the client's own")
    known = ", ".join(sorted(others))
    if not off:
        raise Usage(f"name each client that is off with --off; the others here are: {known}")
    if unknown := off - set(others):
        raise Usage(f"--off {', '.join(sorted(unknown))}: unknown; the others here are: {known}")
