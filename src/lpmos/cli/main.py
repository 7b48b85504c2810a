"""The command `lpmos`: one subcommand for each thing that a person starts or makes.

Exit codes: 0 done, 1 it failed (the reason is on standard error), 2 wrong usage or settings,
130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from lpmos import __version__
from lpmos.cli import image, lab, parts, reference, token
from lpmos.model.errors import LpmosError, SettingsError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="lpmos", description="Bare-metal provisioning, from netboot to an installed machine."
    )
    top.add_argument("--version", action="version", version=f"lpmos {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (parts, image, token, lab, reference):
        module.add_commands(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except SettingsError as error:
        print(f"lpmos: {error}", file=sys.stderr)
        return USAGE
    except LpmosError as error:
        print(f"lpmos: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
