"""What ends a command before its end, and the one table from that to the command's exit code.

    LpmosError
    ├── Refused      the control plane answered that it will not, with a problem document
    ├── NoAnswer     the control plane could not be reached, or its answer made no sense
    ├── NotSignedIn  there is no credential for this server, or it holds no longer
    ├── Usage        the command line, or a file that it names, is wrong
    └── Unfinished   it ran, and something of it did not come out well

`EXITS` is the documentation too: `lpmos reference` draws it.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from lpmos.model import errors
from lpmos.model.errors import LpmosError


class Exit(IntEnum):
    """What a command says to whoever started it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FORBIDDEN = 3
    NOT_FOUND = 4
    CONFLICT = 5
    AWAY = 6
    INTERRUPTED = 130


EXITS: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "it failed, or something that was looked at is not well; the reason is on"
    " standard error",
    Exit.USAGE: "the command line, a setting, or what was sent is wrong; nothing was changed",
    Exit.FORBIDDEN: "not signed in, or signed in as somebody who may not do this",
    Exit.NOT_FOUND: "there is no such thing",
    Exit.CONFLICT: "it contradicts what is there: an impossible step, a name that is taken,"
    " or a change meanwhile",
    Exit.AWAY: "the control plane, or its store, cannot be reached now",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
}

_BY_STATUS: Mapping[int, Exit] = {
    400: Exit.USAGE,
    401: Exit.FORBIDDEN,
    403: Exit.FORBIDDEN,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.USAGE,
    415: Exit.USAGE,
    422: Exit.USAGE,
    502: Exit.AWAY,
    503: Exit.AWAY,
    504: Exit.AWAY,
}


_NEXT: Mapping[int, str] = {
    401: "run `lpmos login`, or set LPMOS_TOKEN to an API token that holds",
    403: "`lpmos whoami` lists what you may do; an administrator gives roles",
    412: "look at it again, and decide anew",
    503: "try again in a moment; `lpmos doctor` says what is away",
}
"""What a person does where the problem document cannot say it, for it knows of no commands."""

_PLAIN = (404, 409)
"""Their detail says it all: the title would only repeat it."""


class Refused(LpmosError):
    """An answer of 400 or more; `problem` is its problem document (RFC 9457), as far as it has one.

    `retry_after_s` is what the answer said, None where it said nothing; `next_step` is what to do.
    """

    code = "refused"

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.next_step = _NEXT.get(status)
        super().__init__(_told(status, problem))


class NoAnswer(LpmosError):
    """Nobody answered; the text says what to look at."""

    code = "no-answer"


class NotSignedIn(LpmosError):
    """A credential is missing or over; the text says how to get one."""

    code = "not-signed-in"


class Usage(LpmosError):
    """The command was called wrongly."""

    code = "usage"


class Unfinished(LpmosError):
    """The command has shown what did not come out well; the text sums it up."""

    code = "unfinished"


_BY_KIND: Mapping[type[LpmosError], Exit] = {
    errors.SettingsError: Exit.USAGE,
    errors.InvalidInput: Exit.USAGE,
    errors.Unauthenticated: Exit.FORBIDDEN,
    errors.Forbidden: Exit.FORBIDDEN,
    errors.NotFound: Exit.NOT_FOUND,
    errors.Conflict: Exit.CONFLICT,
    NoAnswer: Exit.AWAY,
    NotSignedIn: Exit.FORBIDDEN,
    Usage: Exit.USAGE,
}


def exit_for(error: LpmosError) -> Exit:
    """The exit code of a command that ended with `error`."""
    if isinstance(error, Refused):
        return _BY_STATUS.get(error.status, Exit.FAILED)
    for kind in type(error).__mro__:
        if kind in _BY_KIND:
            return _BY_KIND[kind]
    return Exit.FAILED


def _told(status: int, problem: Mapping[str, Any]) -> str:
    """A problem document as lines for a person: what it is, every wrong field, where to look."""
    title = problem.get("title") or f"the server answered {status}"
    lines = [f"{title} ({status})"]
    fields = problem.get("errors") or []
    if fields:
        lines += [f"  {each.get('field')}: {each.get('message')}" for each in fields]
    elif problem.get("detail"):
        said = problem["detail"] if status in _PLAIN else f"{title}: {problem['detail']}"
        lines[0] = f"{said} ({status})"
    if status >= 500 and status not in (502, 503, 504) and problem.get("instance"):
        lines.append(f"  in the control plane's log as request {problem['instance']}")
    return "\n".join(lines)
