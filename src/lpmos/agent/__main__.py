"""`python3 -m lpmos.agent`: the command line of one agent run."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from lpmos.agent.console import Console
from lpmos.agent.errors import BadOptions
from lpmos.agent.hanging import own_restart
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.options import kernel_arguments, read_options
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_BAD_OPTIONS
from lpmos.agent.stop import Stop


def main(argv: Sequence[str]) -> int:
    """Run one agent; the exit code is that of `docs/reference/agent.md`."""
    console = Console()
    arguments = kernel_arguments(Tree().text("proc/cmdline") or "")
    try:
        options = read_options(argv, os.environ, arguments)
    except BadOptions as error:
        console.error(str(error))
        return EXIT_BAD_OPTIONS
    stop = Stop()

    def interrupted(number: int, _: FrameType | None) -> None:
        stop.set(f"signal {signal.Signals(number).name}")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    return run_agent(options, console, stop, restart=own_restart(os.getppid()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
