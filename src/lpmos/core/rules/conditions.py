"""The language of rules' conditions: CEL, within limits, and never an exception.

A condition is a Common Expression Language text (as Kubernetes' admission policies have) of one
true or false. Whatever goes wrong while it is asked - a value that is not there, an overflow, a
panic of the library - is a "does not match, because …": nothing is ever approved by mistake of a
condition, and no machine's report can end the service that asks.
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial
from types import ModuleType
from typing import TypeVar

import msgspec
import structlog

from lpmos.core.rules.facts import (
    CONSTANTS,
    VARIABLES,
    Facts,
    is_said,
    may_lack_disks,
    plain,
    sample_facts,
)
from lpmos.core.rules.scan import Found, scan
from lpmos.core.rules.syntax import syntax_problem
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.inventory import Inventory
from lpmos.model.rule import CONDITION_CHARACTERS, RuleKind

log = structlog.get_logger()

T = TypeVar("T")

LIST_LIMIT = 512
"""A list that is longer is not looked at: the time a condition takes is bounded by it."""

DISKS = ("machine", "disks")
PATTERN_CHARACTERS = 100
REASON_CHARACTERS = 400
VALUE_CHARACTERS = 60
COMPILED_KEPT = 512


class Verdict(msgspec.Struct, frozen=True):
    """What a condition says, and the values that it says so of."""

    matched: bool
    reason: str


class _CannotSay(Exception):
    """The condition is neither true nor false here; the text says why."""


@cache
def _cel() -> ModuleType:
    """The library; it is read with the first condition, as that takes a tenth of a second."""
    import cel

    return cel


class Condition:
    """One condition, compiled; it may be asked from any thread."""

    def __init__(self, text: str, kind: RuleKind) -> None:
        """Compile a condition.

        Raises:
            InvalidInput: names `condition`, and says what is wrong with it.
        """
        if len(text) > CONDITION_CHARACTERS:
            raise _refused(f"is longer than {CONDITION_CHARACTERS} characters")
        try:
            self._program = _guarded(lambda: _cel().compile(text))
        except _LibraryError as error:
            raise _refused(syntax_problem(str(error), text)) from None
        found = scan(text, VARIABLES[kind])
        problems = [*found.problems, *_pattern_problems(found)]
        if problems:
            raise InvalidInput(*(FieldProblem("condition", each) for each in problems[:10]))
        self._paths = found.paths

    def ask(self, facts: Facts) -> Verdict:
        """Whether it holds; nothing is ever raised."""
        try:
            matched = self._evaluate(facts)
        except _CannotSay as error:
            return Verdict(False, _bounded(str(error)))
        except Exception as error:
            log.exception("a condition could not be asked")
            return Verdict(False, _bounded(f"cannot be asked: {type(error).__name__}"))
        return Verdict(matched, self._values(facts))

    def try_on_sample(self, kind: RuleKind) -> None:
        """Ask it of a machine that says everything.

        Raises:
            InvalidInput: it is no condition: it gives something else than true or false.
        """
        try:
            self._evaluate(sample_facts(kind))
        except _Wrong as error:
            raise _refused(str(error)) from None
        except _CannotSay:
            return

    def _evaluate(self, facts: Facts) -> bool:
        variables = self._variables(facts)
        try:
            result = _guarded(lambda: self._program.execute(_cel().Context(variables=variables)))
        except _LibraryError as error:
            raise self._cannot_say(error.cause) from None
        if not isinstance(result, bool):
            raise _Wrong(f"gives {type(result).__name__}, not true or false")
        return result

    def _variables(self, facts: Facts) -> dict[str, object]:
        """The constants and those of the facts' values that the condition names."""
        variables: dict[str, object] = dict(CONSTANTS)
        for path in self._paths:
            if path[0] not in facts:
                raise _CannotSay(f"there is no {path[0]} yet")
            _put(variables, path, facts)
        return variables

    def _cannot_say(self, error: BaseException) -> _CannotSay:
        if isinstance(error, KeyError):
            name = str(error.args[0]) if error.args else ""
            named = {".".join(path) for path in self._paths if name in path}
            what = " or ".join(sorted(named)) or f"a field {name}"
            return _CannotSay(f"nothing is known of {what}")
        if isinstance(error, TypeError | RuntimeError | ValueError):
            return _Wrong(_one_line(str(error)))
        return _CannotSay(_one_line(str(error)) or type(error).__name__)

    def _values(self, facts: Facts) -> str:
        """The values of what the condition names, for whoever wants to know why."""
        shown = [f"{'.'.join(path)} = {_shown(_value(path, facts))}" for path in self._paths]
        return _bounded(", ".join(shown) or "names no field")


class _Wrong(_CannotSay):
    """The condition itself is wrong, whatever the machine."""


class _LibraryError(Exception):
    """What a call of the library ended with."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(str(cause))


@lru_cache(maxsize=COMPILED_KEPT)
def compiled(text: str, kind: RuleKind) -> Condition:
    """The condition of a rule; raises as `Condition` does."""
    return Condition(text, kind)


def check_condition(text: str, kind: RuleKind) -> None:
    """Refuse what is no condition for a rule of this kind.

    Raises:
        InvalidInput: names `condition`.
    """
    compiled(text, kind).try_on_sample(kind)


def ask(text: str, kind: RuleKind, facts: Facts) -> Verdict:
    """What a stored condition says; one that is no condition does not match."""
    try:
        condition = compiled(text, kind)
    except InvalidInput as error:
        return Verdict(False, _bounded(str(error)))
    return condition.ask(facts)


def _pattern_problems(found: Found) -> list[str]:
    """What a regular expression may not be: long, or one that grows while it is compiled."""
    problems = []
    for literal in found.patterns:
        try:
            pattern = str(_guarded(partial(_cel().evaluate, literal)))
        except _LibraryError as error:
            problems.append(f"has {_one_line(literal)}: {_one_line(str(error))}")
            continue
        if len(pattern) > PATTERN_CHARACTERS:
            problems.append(f"has a pattern of more than {PATTERN_CHARACTERS} characters")
        elif "{" in pattern or "\\p" in pattern or "\\P" in pattern:
            problems.append(f"has {_one_line(literal)}: a pattern may not have {{}} or \\p")
    return problems


def _put(variables: dict[str, object], path: tuple[str, ...], facts: Facts) -> None:
    """Set the value at `path`, with all that is on the way to it."""
    place: dict[str, object] = variables
    for number, name in enumerate(path[:-1], 1):
        if _value(path[:number], facts) is None:
            return
        below = place.setdefault(name, {})
        if not isinstance(below, dict):
            return
        place = below
    value = _value(path, facts)
    if value is None:
        return
    if isinstance(value, tuple) and len(value) > LIST_LIMIT:
        raise _CannotSay(
            f"{'.'.join(path)} has {len(value)} entries; a rule looks at no more than {LIST_LIMIT}"
        )
    machine = facts.get("machine")
    if path[:2] == DISKS and isinstance(machine, Inventory) and may_lack_disks(machine):
        raise _CannotSay("machine.disks may not be all of its disks: it has too many to keep")
    given = plain(value)
    known = place.get(path[-1])
    place[path[-1]] = {**given, **known} if isinstance(known, dict) else given


def _value(path: tuple[str, ...], facts: Facts) -> object:
    """The value of a field; None where nothing is said."""
    value: object = facts.get(path[0])
    for name in path[1:]:
        value = getattr(value, name, None)
        if not is_said(name, value):
            return None
    return value


def _shown(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, tuple):
        return f"{len(value)} entries"
    if isinstance(value, msgspec.Struct):
        return "…"
    text = msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


def _refused(message: str) -> InvalidInput:
    return InvalidInput(FieldProblem("condition", message))


def _guarded(call: Callable[[], T]) -> T:
    """Call the library; whatever it raises, a panic of its own included, is a `_LibraryError`."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
        raise _LibraryError(error) from None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else "�" for each in line)[:200]


def _bounded(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"
