"""`lpmos reference`: the pages of the documentation that are drawn from tables in the code."""

import argparse
from pathlib import Path

LIFECYCLE = """\
# The lifecycle of a task

This page is generated from the one table of transitions in the code. A step that is not drawn here
is refused and changes nothing.

```mermaid
{diagram}```

| state | what it means |
|---|---|
{states}

A task that is `installing` with `handed_over_at` has all on its disk: the installed system starts
and completes it when it [came up](../explanation/first-boot.md). A netboot leads to the disk then.
"""

CAUSES = """\
# Why a machine waits

This page is generated from the one table of rules in the code. Of a machine's signs (DHCP, loader,
scripts, the agent's files and calls, the steps of its install) those count that are newer than its
task. `lpmos explain` and the task's page name every row that holds, in this order; how to look:
[find out why a machine is stuck](../how-to/stuck.md).

| code | what is probably wrong | what to do |
|---|---|---|
{rules}
"""


def pages() -> dict[str, str]:
    """Every generated page, by file name."""
    from lpmos.app.settings import reference as settings_page
    from lpmos.cli.reference_access import access_page
    from lpmos.cli.reference_page import commands_page
    from lpmos.model.explain import RULES
    from lpmos.model.lifecycle import MEANING, diagram

    states = "\n".join(f"| `{status.value}` | {text} |" for status, text in MEANING.items())
    rules = "\n".join(f"| `{rule.code}` | {rule.cause} | {rule.do} |" for rule in RULES)
    return {
        "access.md": access_page(),
        "causes.md": CAUSES.format(rules=rules),
        "cli.md": commands_page(),
        "lifecycle.md": LIFECYCLE.format(diagram=diagram(), states=states),
        "settings.md": settings_page(),
    }


def define(command: argparse.ArgumentParser) -> None:
    """The arguments of `reference`."""
    command.add_argument("folder", type=Path, help="where the pages go")
    command.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (chosen.folder / name).write_text(text)
        print(chosen.folder / name)
    return 0
