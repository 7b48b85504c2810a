"""Which parts of LPMOS run on this machine, and with which settings: read from the processes.

The settings are those that the process was started with: its flags, its environment where that may
be read, and its file. (proc(5): `/proc/PID/cmdline`, `/proc/PID/environ`.)
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lpmos.app.settings import Settings, for_part, load
from lpmos.app.settings_table import PARTS
from lpmos.cli.options import Parser
from lpmos.cli.parts import define
from lpmos.model.errors import LpmosError

PROC = Path("/proc")


class RunningPart(NamedTuple):
    """One process; `problem` where its settings are not understood."""

    pid: int
    part: str
    settings: Settings | None
    problem: str = ""


def running_parts(proc: Path = PROC) -> Iterator[RunningPart]:
    """The parts that run here, by process id."""
    for entry in sorted(proc.glob("[0-9]*"), key=lambda each: int(each.name)):
        try:
            words = [os.fsdecode(word) for word in _split(entry / "cmdline")]
        except OSError:  # it has ended meanwhile
            continue
        arguments = part_arguments(words)
        if arguments is not None:
            yield _read(entry, *arguments)


def part_arguments(words: list[str]) -> tuple[str, list[str]] | None:
    """The part and its flags, where a command line is that of one."""
    for place, word in enumerate(words[:3]):
        following = words[place + 1 : place + 2]
        if Path(word).name == "lpmos" and following and following[0] in PARTS:
            return following[0], words[place + 2 :]
    return None


def _read(entry: Path, part: str, flags: list[str]) -> RunningPart:
    pid = int(entry.name)
    parser = Parser(prog=f"lpmos {part}", exit_on_error=False)
    define(parser)
    try:
        chosen, _ = parser.parse_known_args(flags)
        given = {setting.name: getattr(chosen, setting.name) for setting in for_part(part)}
        settings = load(part, given, _environment(entry), chosen.config)
    except (LpmosError, argparse.ArgumentError) as error:
        return RunningPart(pid, part, None, str(error))
    return RunningPart(pid, part, settings)


def _environment(entry: Path) -> Mapping[str, str]:
    try:
        pairs = [os.fsdecode(each).partition("=") for each in _split(entry / "environ")]
    except OSError:  # another user's
        return {}
    return {name: value for name, _, value in pairs}


def _split(file: Path) -> list[bytes]:
    return file.read_bytes().rstrip(b"\0").split(b"\0")
