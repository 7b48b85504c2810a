"""The command `lpmos`: one subcommand for each thing that a person starts, makes or asks.

Only the module of the command that was called is imported: `lpmos --help` and the commands of the
API load nothing of the server. Exit codes: `lpmos.cli.failures`.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from lpmos import __version__
from lpmos.cli.options import Parser
from lpmos.model.errors import LpmosError


class Command(NamedTuple):
    """A first word of the command line; its module's `define(parser)` says the rest."""

    name: str
    module: str
    help: str


GROUPS: dict[str, tuple[Command, ...]] = {
    "who you are": (
        Command("login", "login", "sign in to a control plane"),
        Command("logout", "login", "end this login"),
        Command("whoami", "login", "who you are, and what you may do"),
        Command("token", "personal_token", "API tokens for programs"),
    ),
    "installing": (
        Command("task", "task", "install machines: create, approve, watch, cancel"),
        Command("explain", "explain", "why a machine is where it is, and what to do"),
        Command("machine", "machine", "what is known of each machine"),
        Command("region", "region", "the data centers: list them, or serve one"),
        Command("unmatched", "unmatched", "machines that reported without a task"),
        Command("dlq", "dlq", "failed tasks that were set aside"),
        Command("template", "template", "install templates and their versions"),
        Command("image", "image", "build, list, upload and verify images"),
    ),
    "administration": (
        Command("user", "user", "users, their roles and sessions"),
        Command("rule", "rule", "what is approved or created by itself"),
        Command("webhook", "webhook", "who is told of what happens"),
        Command("audit", "audit", "who did what, and whether the log is whole"),
        Command("secrets", "secrets", "the keys of what is stored encrypted"),
        Command("doctor", "doctor", "look for what is wrong, and say what to do"),
    ),
    "running LPMOS": (
        Command("up", "parts", "control plane and one region in one process, embedded store"),
        Command("control-plane", "parts", "a control plane on etcd; any number may run"),
        Command("backup", "backup", "backups of the store: create, list, verify, restore"),
        Command("migrate", "migrate", "carry over what older versions left in the store"),
        Command("lab", "lab", "virtual racks and simulated fleets on this machine"),
        Command("completion", "completion", "completion for bash, zsh and fish"),
        Command("reference", "reference", "write the generated pages of the documentation"),
    ),
}
COMMANDS = {command.name: command for group in GROUPS.values() for command in group}


class _Top(Parser):
    """The first word's parser: its help shows the commands by what they are for."""

    def format_help(self) -> str:
        """All commands, each in a line."""
        lines = [
            self.format_usage(),
            "Bare-metal provisioning, from netboot to an installed machine.",
            "",
        ]
        for title, commands in GROUPS.items():
            lines.append(f"{title}:")
            lines += [f"  {command.name:<15}{command.help}" for command in commands]
            lines.append("")
        return "\n".join([*lines, "`lpmos COMMAND --help` says more of each.", ""])


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; with `only`, the arguments of that command alone."""
    top = _Top(prog="lpmos", usage="lpmos [--version] COMMAND …")
    top.add_argument("--version", action="version", version=f"lpmos {__version__}")
    commands = top.add_subparsers(
        prog="lpmos", metavar="COMMAND", required=True, parser_class=Parser
    )
    for command in COMMANDS.values():
        below = commands.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
        )
        if only in (None, command.name):
            importlib.import_module(f"lpmos.cli.{command.module}").define(below)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    first = next((word for word in words if not word.startswith("-")), "")
    try:
        chosen = parser(first).parse_args(words)
        code = int(chosen.run(chosen) or 0)
        sys.stdout.flush()
    except LpmosError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _failed(error: LpmosError) -> int:
    """Say why on standard error, in as many lines as it has; what others wrote made harmless."""
    from lpmos.cli.failures import Refused, exit_for
    from lpmos.cli.words import printable

    sys.stdout.flush()
    first, *rest = [printable(line) for line in str(error).splitlines()] or [type(error).__name__]
    if isinstance(error, Refused) and error.next_step:
        rest.append(f"  {error.next_step}")
    print("\n".join([f"lpmos: {first}", *rest]), file=sys.stderr)
    return exit_for(error)
