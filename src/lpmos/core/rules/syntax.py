"""What is wrong with the text of a condition, in words for who wrote it.

The parser (ANTLR) speaks of tokens and of its grammar; here each of its messages becomes what to
write. Of several the first counts: the others follow from it.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

EXAMPLE = "machine.cpu.cores >= 32 && machine.product.vendor == 'Dell Inc.'"
END = "<EOF>"
SHOWN_CHARACTERS = 60

INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "and": "write && for 'and'",
        "or": "write || for 'or'",
        "not": "write ! for 'not'",
        "=": "write == to compare",
        "===": "write == to compare",
        "<>": "write != for 'is not'",
        "&": "write && for 'and'",
        "|": "write || for 'or'",
    }
)
JOIN = "join comparisons with && or ||"

_FIRST = re.compile(
    r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?:Syntax error: )?(?P<what>.*)"
)


def syntax_problem(message: str, condition: str) -> str:
    """Where and why `condition` is no expression, for the parser's `message` about it."""
    match = _FIRST.search(message)
    if match is None:
        return f"is no expression; write one as {EXAMPLE}"
    line, column = int(match["line"]), int(match["column"])
    where = f"character {column}" if "\n" not in condition else f"line {line}, character {column}"
    return f"is no expression: {_words(match['what'], where, condition)}"


def _words(what: str, where: str, condition: str) -> str:
    for pattern, words in _ROWS:
        if match := pattern.match(what):
            return words(match["it"], where, condition)
    return f"it cannot be read at {where}; write it as {EXAMPLE}"


def _unexpected(it: str, where: str, condition: str) -> str:
    if it == END:
        return f"it ends too early; write it whole, as {EXAMPLE}"
    words = (INSTEAD[word] for word in (it, *_words_of(condition)) if word in INSTEAD)
    return f"{_shown(it)} is not expected at {where}; {next(words, JOIN)}"


def _unreadable(it: str, where: str, _condition: str) -> str:
    if it[:1] in "'\"":
        return f"the text in quotes at {where} has no end, or a \\ before what needs none"
    hint = INSTEAD.get(it.strip(), f"write it as {EXAMPLE}")
    return f"{_shown(it.strip())} cannot be read at {where}; {hint}"


def _missing(it: str, where: str, _condition: str) -> str:
    return f"{_shown(it)} is missing at {where}"


def _reserved(it: str, where: str, _condition: str) -> str:
    return f"{_shown(it)} at {where} is a reserved word; write it as {EXAMPLE}"


_ROWS: tuple[tuple[re.Pattern[str], Callable[[str, str, str], str]], ...] = (
    (
        re.compile(r"(?:mismatched|extraneous) input '(?P<it>.*?)' expecting", re.DOTALL),
        _unexpected,
    ),
    (re.compile(r"no viable alternative at input '(?P<it>.*)'", re.DOTALL), _unexpected),
    (re.compile(r"token recognition error at: '(?P<it>.*)'", re.DOTALL), _unreadable),
    (re.compile(r"missing '(?P<it>.*?)' at", re.DOTALL), _missing),
    (re.compile(r"reserved identifier: (?P<it>\S+)"), _reserved),
)


def _words_of(condition: str) -> list[str]:
    """The words of a short condition that languages write for operators."""
    return re.findall(r"\b(?:and|or|not)\b", condition)


def _shown(it: str) -> str:
    short = "".join(each if each.isprintable() else " " for each in it)[:SHOWN_CHARACTERS]
    return f"'{short}'"
