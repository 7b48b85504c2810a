"""The command line as a whole: what it imports, what it refuses, what it says."""

import argparse
from collections.abc import Iterator

import pytest

from lpmos.cli.failures import EXITS, Exit, Refused, exit_for
from lpmos.cli.main import COMMANDS, GROUPS, main, parser
from lpmos.model import errors


def leaves(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command that does something."""
    if command.get_default("run"):
        yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from leaves(below)


LEAVES = {each.prog: each for each in leaves(parser())}


def test_every_command_is_listed_once() -> None:
    names = [command.name for commands in GROUPS.values() for command in commands]
    assert len(names) == len(set(names)) == len(COMMANDS)
    assert all(f"  {name} " in parser("").format_help() for name in names)


@pytest.mark.parametrize("name", LEAVES)
def test_command_has_help_that_names_what_it_does(name: str) -> None:
    command = LEAVES[name]
    assert command.description and command.format_help()
    assert callable(command.get_default("run"))


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["task"], ["task", "nothing"], ["task", "list", "--limit", "0"],
     ["task", "list", "--json", "-q"], ["task", "create", "--tag", "=x"]],
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_says_where_help_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_server_that_is_no_address_ends_with_2_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["task", "list", "--server", "http://x/\x1b[2J"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\x1b" not in said


def test_exit_codes_are_all_documented() -> None:
    assert set(EXITS) == set(Exit)


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.SettingsError("x"), 2), (errors.UnfinishedTask("x"), 5), (errors.NotFound("x"), 4),
     (errors.ImageError("x"), 1), (Refused(502, {}), 6), (Refused(418, {}), 1)],
)  # fmt: skip
def test_exit_code_follows_the_kind_of_the_error(error: errors.LpmosError, code: int) -> None:
    assert exit_for(error) == code
