"""A stand-in for the agent's external programs: records every command, answers by rule."""

import re
from collections.abc import Callable, Sequence

from lpmos.agent.commands import COMMAND_TIMEOUT_S, Commands, Output
from lpmos.agent.errors import CommandFailed
from lpmos.agent.stop import Stop

Answer = Output | Callable[[Sequence[str]], Output]


class RecordedPipeline:
    """Keeps what was written, and hands it on as it came; fails where told to."""

    def __init__(
        self, failure: CommandFailed | None, take: Callable[[bytes], None] | None = None
    ) -> None:
        self._take = take
        self.data = b""
        self.finished = False
        self.aborted = False
        self._failure = failure

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._take is not None:
            self._take(self.data)
        self.finished = True

    def abort(self) -> None:
        self.aborted = True


class RecordingCommands(Commands):
    """Runs nothing. `rules` are patterns of a command line and their answers; the first wins."""

    def __init__(self, stop: Stop | None = None) -> None:
        self.stop = stop or Stop()
        super().__init__(self.stop, lambda _: None)
        self.ran: list[str] = []
        self.succeeded: list[str] = []
        self.unsynced: list[str] = []
        self.stdin: dict[str, str] = {}
        self.rules: list[tuple[str, Answer]] = []
        self.pipelines: list[RecordedPipeline] = []
        self.pipeline_failure: CommandFailed | None = None

    def on(self, pattern: str, answer: Answer) -> None:
        """Answer the commands that match."""
        self.rules.append((pattern, answer))

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout_s: float = COMMAND_TIMEOUT_S,
        synced: bool = True,
    ) -> str:
        self.stop.check()
        output = self._answer(argv)
        if not synced:
            self.unsynced.append(" ".join(argv))
        self.stdin[" ".join(argv)] = stdin
        self.stop.check()
        if output.code:
            raise CommandFailed(argv, output.code, output.text)
        return output.text

    def ask(self, argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S) -> Output:
        self.stop.check()
        return self._answer(argv)

    def clean_up(self, argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S) -> Output:
        return self._answer(argv)

    def pipeline(  # type: ignore[override]
        self, *argvs: Sequence[str], take: Callable[[bytes], None] | None = None
    ) -> RecordedPipeline:
        self.stop.check()
        self.ran.append(" | ".join(" ".join(argv) for argv in argvs))
        self.pipelines.append(RecordedPipeline(self.pipeline_failure, take))
        return self.pipelines[-1]

    def _answer(self, argv: Sequence[str]) -> Output:
        line = " ".join(argv)
        self.ran.append(line)
        for pattern, answer in self.rules:
            if re.search(pattern, line):
                output = answer if isinstance(answer, Output) else answer(argv)
                break
        else:
            output = Output(0, "")
        if output.code == 0:
            self.succeeded.append(line)
        return output
