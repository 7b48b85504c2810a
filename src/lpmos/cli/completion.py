"""`lpmos completion`: what a shell needs to complete `lpmos` commands and flags."""

import argparse

SHELLS = ("bash", "zsh", "fish")


def define(command: argparse.ArgumentParser) -> None:
    """The arguments of `completion`."""
    command.description = (
        "Print a completion script. bash: lpmos completion bash >"
        " ~/.local/share/bash-completion/completions/lpmos; zsh: lpmos completion zsh > a file"
        " _lpmos in a folder of $fpath; fish: lpmos completion fish >"
        " ~/.config/fish/completions/lpmos.fish."
    )
    command.add_argument("shell", choices=SHELLS)
    command.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> None:
    import shtab

    from lpmos.cli.main import parser

    print(shtab.complete(parser(), shell=chosen.shell))
