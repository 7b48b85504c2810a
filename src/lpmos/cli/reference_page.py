"""`docs/reference/cli.md`, drawn from the very parser that reads the command line."""

import argparse
from collections.abc import Iterator

from lpmos.cli.failures import EXITS
from lpmos.cli.main import GROUPS, parser

INTRODUCTION = """\
# Commands

This page is generated from the argument parser. How to work with the commands:
[the command line](../how-to/command-line.md).

Every command of the API takes these flags:

| flag | what it does |
|---|---|
| `--server URL` | the control plane; else `LPMOS_SERVER`, else your last login, else here |
| `--ca FILE` | trust only this CA; else `LPMOS_CA`, else what sign-in named, else the system's |
| `--json` | one JSON document, as the API says it; lists with all pages in one |
| `-q`, `--quiet` | only ids, one in a line |
| `-v`, `--verbose` | tell each call on standard error |

A program sets `LPMOS_TOKEN` to an API token; then no login is used.

## Exit codes

| code | meaning |
|---|---|
"""
COMMON = {"--help", "--server", "--ca", "--json", "--quiet", "--verbose"}


def commands_page() -> str:
    """The whole page."""
    codes = "\n".join(f"| {code.value} | {text} |" for code, text in EXITS.items())
    return INTRODUCTION + codes + "\n" + "".join(_groups())


def _groups() -> Iterator[str]:
    below = _below(parser())
    for title, commands in GROUPS.items():
        yield f"\n## {title[0].upper()}{title[1:]}\n"
        for command in commands:
            yield from _command(below[command.name])


def _command(command: argparse.ArgumentParser) -> Iterator[str]:
    kinds = _below(command)
    if kinds and command.get_default("run") is None:
        for kind in kinds.values():
            yield from _command(kind)
        return
    yield f"\n### `{command.prog}`\n\n{_escaped(command.description or '')}\n"
    rows = [_row(action) for action in command._actions if _wanted(action)]
    if rows:
        yield "\n| argument | |\n|---|---|\n" + "".join(rows)
    if calls := command.get_default("calls"):
        yield "\nCalls: " + ", ".join(f"`{call}`" for call in calls) + "\n"
    for kind in kinds.values():
        yield from _command(kind)


def _below(command: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The subcommands of a parser, by name."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _wanted(action: argparse.Action) -> bool:
    if isinstance(action, argparse._SubParsersAction):
        return False
    return not COMMON & set(action.option_strings)


def _row(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    values = " ".join(value) if isinstance(value, tuple) else value
    if action.choices is not None:
        values = "\\|".join(str(choice) for choice in action.choices)
    name = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{values}`"
    shown = f"{name} {values}" if action.option_strings and values else name
    help_text = (action.help or "") % {"default": action.default}
    needed = " (needed)" if action.required and action.option_strings else ""
    return f"| {shown} | {_escaped(help_text)}{needed} |\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
