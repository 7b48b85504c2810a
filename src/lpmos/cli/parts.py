"""`lpmos up`, `lpmos control-plane`, `lpmos region`: the long-running parts."""

import argparse
from pathlib import Path

from lpmos.app.settings import for_part, load


def define(command: argparse.ArgumentParser) -> None:
    """The flags of a part's settings; the command's last word names the part."""
    part = command.prog.split()[-1]
    command.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    for setting in for_part(part):
        command.add_argument(*setting.flags, dest=setting.name, metavar="VALUE", help=setting.help)
    command.set_defaults(run=_run, part=part)


def _run(chosen: argparse.Namespace) -> int:
    from lpmos.app import run

    flags = {setting.name: getattr(chosen, setting.name) for setting in for_part(chosen.part)}
    return run.run(chosen.part, load(chosen.part, flags, file=chosen.config))
