"""The agent's real programs, for a root that has none of its own."""

from collections.abc import Sequence

from lpmos.agent.commands import COMMAND_TIMEOUT_S, Commands


class CommandsOutside(Commands):
    """All programs but those of the new root."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = COMMAND_TIMEOUT_S,
        synced: bool = True,
    ) -> str:
        """Run a program to its end, as an agent does."""
        if argv[0] == "chroot":
            return ""
        return super().run(argv, stdin=stdin, timeout_s=timeout_s, synced=synced)
