"""Every error that the agent raises on purpose.

AgentError
├── BadOptions      the agent was started wrongly
├── NoAnswer        the region could not be asked, or is not ready: ask again
├── Refused         the region does not understand a call: a defect, not weather
├── NoTask          there is nothing to do for this machine
├── Stopped         the run was told to end: say nothing more
│   └── TakenOver        another run has the install: its disks are not this one's any more
└── InstallError    the install failed; carries what the operator needs to repair it
    └── CommandFailed    an external program failed
"""

from collections.abc import Sequence

from lpmos.agent.hints import hint_for

OUTPUT_BYTES = 4096
"""How much of a failed command's output is reported: its end."""


class AgentError(Exception):
    """The root: `str()` of any of these is a sentence for the person at the console."""


class BadOptions(AgentError):
    """The options, environment and kernel arguments together do not say enough to start."""


class NoAnswer(AgentError):
    """The region gave no usable answer; `retry_after_s` where it said when to ask again."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(AgentError):
    """The region refused a call for good; the text is the region's."""


class NoTask(AgentError):
    """The region has no task for this machine and does not want it to wait for one."""


class Stopped(AgentError):
    """The run was told to end: rejected, cancelled, failed at the region, or by a signal."""


class TakenOver(Stopped):
    """Another run has claimed this install: what is on the disks may be its work already."""


class InstallError(AgentError):
    """The install failed; `command` and `output` may be empty, `hint` says what to do."""

    def __init__(
        self, message: str, *, command: str = "", output: str = "", hint: str = ""
    ) -> None:
        super().__init__(message)
        self.command = command
        self.output = output
        self.hint = hint


class CommandFailed(InstallError):
    """An external program ended with `code`; negative is a signal, 127 means it is not there."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        command = " ".join(argv)
        tail = output.encode()[-OUTPUT_BYTES:].decode(errors="ignore")
        super().__init__(
            f"{argv[0]} failed with exit code {code}",
            command=f"{command} (exit code {code})",
            output=tail,
            hint=hint_for(command, tail),
        )
        self.code = code
