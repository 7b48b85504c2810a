"""What agents send: the bodies of docs/reference/agent-protocol.md, parsed and checked whole.

Unknown fields are ignored, so that a newer agent can talk to an older region. What is left after
`parse` is normalised: no handler sees a MAC as it was typed.
"""

import re
import unicodedata
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from lpmos.core.agentrun import AgentRun
from lpmos.core.loglines import Marks, Numbered
from lpmos.core.problems import decode_body
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.inventory import Inventory
from lpmos.model.job import EVIDENCE_CHARACTERS, EVIDENCE_LINES, STEPS_LIMIT, StepResult
from lpmos.model.machine import parse_mac
from lpmos.model.task import TaskError
from lpmos.region.signing import TOKEN_LIMIT_CHARACTERS

REPORT_LIMIT_BYTES = 1024 * 1024
BODY_LIMIT_BYTES = 64 * 1024
LINES_LIMIT = 200
LINE_CHARACTERS = 4096
OUTPUT_CHARACTERS = 2000
"""The end of a failed command's output, as it goes into the task (S13)."""
REASON_CHARACTERS = 500

_LEVEL = re.compile(r"\[(INFO|WARN|ERROR)\]( |$)")
_SPEAKER = re.compile(r"\[(agent|kernel)\]( |$)")
_FROM_KERNEL = re.compile(r"([A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d )?(\S+ )?kernel(\[\d+\])?: ")
"""How syslog begins a line of the kernel, with or without time and host."""

AGENT, INSTALLER, KERNEL = "agent", "installer", "kernel"
"""Who speaks in a task's log; the region's own lines name nobody."""

AgentId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
Percent = Annotated[float, Meta(ge=0, le=100)]
Bytes = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Stage = Literal["handing_over", "partitioning", "downloading", "installing", "configuring", "job"]
"""`handing_over`: the agent loads a distribution's installer, which takes the other stages. `job`
is all of a task that installs nothing."""

STAGE_END_PERCENT: dict[str, float] = {
    "handing_over": 2.0,
    "partitioning": 20.0,
    "downloading": 60.0,
    "installing": 90.0,
    "configuring": 99.0,
    "job": 100.0,
}
"""What is said from there on is written at once. `configuring` ends twice: at 99 all is written,
and 100 is the last word of one whose system does not speak for itself."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """B1."""

    mac_address: str
    hardware: Inventory
    sn: str | None = None
    agent_id: AgentId | None = None


class FailedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong in an agent."""

    command: str | None = None
    output: str | None = None
    hint: str | None = None


class StatusCall(msgspec.Struct, frozen=True, kw_only=True):
    """B2: the claim, or the end of an install.

    With `restarting` comes the digest of the token by which the installed system will call, with
    `handing_over` the way in which the distribution's installer is started.
    """

    mac_address: str
    task_id: str
    status: Literal["installing", "failed", "completed", "restarting", "handing_over"]
    agent_id: AgentId | None = None
    intent_id: str | None = None
    progress: Percent = 0.0
    message: str = ""
    error: FailedCommand | None = None
    first_boot_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    handover: Literal["kexec", "restart"] = "kexec"

    def text(self) -> str:
        """The message as one line."""
        return _clean(self.message, REASON_CHARACTERS)

    def output_lines(self) -> list[str]:
        """The failed command and the end of its output, for the task's full log."""
        error = self.error or FailedCommand()
        lines = [f"command: {error.command}"] if error.command else []
        output = (error.output or "")[-BODY_LIMIT_BYTES:]
        return [spoken_line(f"[ERROR] {line}", AGENT) for line in [*lines, *output.splitlines()]]

    def task_error(self) -> TaskError:
        """The error as it stands in the task, each part bounded."""
        return bounded_error(
            self.text() or "the agent gave no reason", self.error or FailedCommand()
        )


class SaidResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a step of a job ended, in the agent's words."""

    step: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}$")]
    outcome: Literal["passed", "failed"]
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    summary: str = ""
    evidence: Annotated[list[str], Meta(max_length=LINES_LIMIT)] = []

    def bounded(self) -> StepResult:
        """As it stands in the task."""
        lines = self.evidence[:EVIDENCE_LINES]
        return StepResult(
            step=self.step,
            outcome=self.outcome,
            seconds=round(self.seconds, 1),
            summary=_clean(self.summary, REASON_CHARACTERS),
            evidence=tuple(_clean(line, EVIDENCE_CHARACTERS) for line in lines),
        )


class ProgressCall(msgspec.Struct, frozen=True, kw_only=True):
    """B3."""

    mac_address: str
    task_id: str
    stage: Stage
    percentage: Percent
    agent_id: AgentId | None = None
    message: str = ""
    bytes_done: Bytes | None = None
    bytes_total: Bytes | None = None
    bytes_per_second: Annotated[float, Meta(ge=0)] | None = None
    log: Annotated[list[str], Meta(max_length=LINES_LIMIT)] = []
    log_first: Annotated[int, Meta(ge=1, le=2**53 - 1)] | None = None
    results: Annotated[list[SaidResult], Meta(max_length=STEPS_LIMIT)] = []

    def lines(self) -> list[str]:
        """The log lines, each one line with a level and its speaker."""
        return [spoken_line(line, AGENT) for line in self.log]

    def numbered(self, known: Marks) -> Numbered | None:
        """The number of the first line; an older agent says none. `known` is what the task has."""
        return Numbered(AGENT, self.log_first, known.get(AGENT, 0)) if self.log_first else None

    def step_results(self) -> tuple[StepResult, ...]:
        """How the steps of a job ended, each text bounded."""
        return tuple(each.bounded() for each in self.results)

    def text(self) -> str:
        """The message as one line."""
        return _clean(self.message, REASON_CHARACTERS)


class IdentityCall(msgspec.Struct, frozen=True, kw_only=True):
    """X3: the boot script's nonce, for an identity."""

    mac_address: str
    agent_id: AgentId
    nonce: Annotated[str, Meta(max_length=TOKEN_LIMIT_CHARACTERS)]


def bounded_error(reason: str, error: FailedCommand) -> TaskError:
    """What a machine says of a failure as it stands in a task."""
    return TaskError(
        reason=_clean(reason, REASON_CHARACTERS),
        command=error.command and _clean(error.command, REASON_CHARACTERS),
        output=error.output and _printable(error.output)[-OUTPUT_CHARACTERS:],
        hint=error.hint and _clean(error.hint, REASON_CHARACTERS),
    )


Call = TypeVar("Call", Report, StatusCall, ProgressCall, IdentityCall)


def parse(body: bytes, call: type[Call]) -> tuple[AgentRun, Call]:
    """The caller and what it says.

    Raises:
        msgspec.DecodeError: the body is not JSON.
        InvalidInput: names every field that is wrong.
    """
    try:
        parsed = decode_body(body, call)
    except InvalidInput as error:
        raise InvalidInput(*error.problems, *_mac_problems(body)) from None
    mac = parse_mac(parsed.mac_address, "mac_address")
    return AgentRun(mac=mac, agent_id=parsed.agent_id or mac), parsed


class _Caller(msgspec.Struct):
    mac_address: str


def _mac_problems(body: bytes) -> tuple[FieldProblem, ...]:
    """What is wrong with a `mac_address` that is text, in a body that other fields spoil."""
    try:
        parse_mac(msgspec.json.decode(body, type=_Caller).mac_address, "mac_address")
    except InvalidInput as error:
        return error.problems
    except msgspec.ValidationError:
        pass  # it is not text, which was said
    return ()


def parse_wait_s(text: str | None, longest_s: int) -> int:
    """The `wait` of a long poll: whole seconds; none is 0.

    Raises:
        InvalidInput: not a number between 0 and `longest_s`.
    """
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > longest_s:
        raise InvalidInput(
            FieldProblem("wait", f"is not a number of seconds from 0 to {longest_s}")
        )
    return int(text)


def log_line(text: str) -> str:
    """One printable line that begins with a level."""
    line = _clean(text, LINE_CHARACTERS)
    return line if _LEVEL.match(line) else f"[INFO] {line}".rstrip()


def spoken_line(text: str, speaker: str, name: str = "") -> str:
    """The same with who speaks in brackets after the level; an agent's may say `kernel` itself.

    `name` is what stands before the text of an installer's line.
    """
    level, _, rest = log_line(text).partition(" ")
    if speaker == AGENT and _SPEAKER.match(rest):
        return f"{level} {rest}"
    if speaker == INSTALLER and _FROM_KERNEL.match(rest):
        speaker = KERNEL
    return f"{level} [{speaker}] {name}{rest}".rstrip()


def one_line(text: str) -> str:
    """Printable text on one line, as long as a reason may be."""
    return _clean(text, REASON_CHARACTERS)


def _clean(text: str, limit: int) -> str:
    return " ".join(_printable(text).split())[:limit]


def _printable(text: str) -> str:
    """Without control characters but line ends: a terminal may show this."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char)[0] != "C" else " " for char in text
    )
