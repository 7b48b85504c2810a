"""`lpmos up`, `lpmos control-plane`, `lpmos region`: the long-running parts."""

import argparse
from pathlib import Path
from typing import Any

from lpmos.app import run
from lpmos.app.settings import CONTROL, REGION, UP, for_part, load

HELP = {
    UP: "control plane and one region in one process, on the embedded store",
    CONTROL: "a control plane on etcd; any number may run",
    REGION: "the regional client of one data center, on etcd",
}


def add_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add a command for each part, with the flags of its settings."""
    for part, help_text in HELP.items():
        command = commands.add_parser(part, help=help_text, description=help_text)
        command.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
        for setting in for_part(part):
            command.add_argument(
                *setting.flags, dest=setting.name, metavar="VALUE", help=setting.help
            )
        command.set_defaults(run=_run, part=part)


def _run(chosen: argparse.Namespace) -> int:
    flags = {setting.name: getattr(chosen, setting.name) for setting in for_part(chosen.part)}
    return run.run(chosen.part, load(chosen.part, flags, file=chosen.config))
