"""What a condition names and how much it may cost, told from its text before it is ever run.

The evaluator finds an unknown field only where it comes upon it, and a condition may never come
upon it until the one machine that matters; so all names are looked up here, on both sides of every
`||`. The limits bound the work: no loop in a loop, few loops, few walks over whole lists. The text
is known to be of the language (the library has parsed it); this reads its tokens by
https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
"""

import re
from collections.abc import Mapping

import msgspec

from lpmos.core.rules.facts import CONSTANTS, Shape

MACRO_LIMIT = 3
LIST_USE_LIMIT = 8
MACROS = frozenset({"all", "exists", "exists_one", "filter"})
FUNCTIONS = frozenset({"has", "size", "int", "uint", "double", "string"})
METHODS = frozenset({"contains", "startsWith", "endsWith", "matches", "size"})
_LITERALS = frozenset({"true", "false", "null", "in"})
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_SCALAR = Shape("scalar")
_QUOTED = (
    r"'''(?:\\.|[^\\])*?'''",
    r'"""(?:\\.|[^\\])*?"""',
    r"'(?:\\.|[^'\\])*'",
    r'"(?:\\.|[^"\\])*"',
)
_RAW = (r"'''.*?'''", r'""".*?"""', r"'[^']*'", r'"[^"]*"')
_TOKENS = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    rf"|(?P<text>[bB]?[rR](?:{'|'.join(_RAW)})|[bB]?(?:{'|'.join(_QUOTED)}))"
    r"|(?P<number>0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>.)",
    re.DOTALL,
)


class Found(msgspec.Struct, frozen=True):
    """What a condition names: paths as `("machine", "cpu", "cores")`, and what is wrong with it.

    `patterns` are the texts given to `matches`, as they are written.
    """

    paths: tuple[tuple[str, ...], ...]
    patterns: tuple[str, ...]
    problems: tuple[str, ...]


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str


def scan(text: str, variables: Mapping[str, Shape]) -> Found:
    """Look up every name of a condition that the library could parse."""
    matches = _TOKENS.finditer(text)
    tokens = [_Token(match.lastgroup or "", match[0]) for match in matches]
    reader = _Reader([each for each in tokens if each.kind != "space"], variables)
    reader.read()
    return Found(tuple(dict.fromkeys(reader.paths)), tuple(reader.patterns), tuple(reader.problems))


class _Place(msgspec.Struct, frozen=True):
    """A value on the way along its fields: its shape where known, its path where it has one."""

    shape: Shape | None
    path: tuple[str, ...] = ()


class _Reader:
    def __init__(self, tokens: list[_Token], variables: Mapping[str, Shape]) -> None:
        self._tokens = tokens
        self._next = 0
        self._variables = variables
        self._bound: dict[str, Shape | None] = {}
        self._macros = 0
        self._lists = 0
        self.paths: list[tuple[str, ...]] = []
        self.patterns: list[str] = []
        self.problems: list[str] = []

    def read(self) -> None:
        """Read to the end, or to the bracket that closes what was opened before."""
        while (token := self._peek()) is not None:
            if token.text in _CLOSING.values():
                return
            self._next += 1
            if token.kind == "name":
                self._name(token.text)
            elif token.text in _CLOSING:
                self._inside()
                self._along(_Place(None))
            elif token.kind == "text":
                self._along(_Place(_SCALAR))

    def _peek(self, ahead: int = 0) -> _Token | None:
        place = self._next + ahead
        return self._tokens[place] if place < len(self._tokens) else None

    def _follows(self, text: str, ahead: int = 0) -> bool:
        token = self._peek(ahead)
        return token is not None and token.text == text

    def _inside(self) -> None:
        """Read what stands in brackets, with the closing one."""
        self.read()
        self._next += 1

    def _name(self, name: str) -> None:
        if self._follows("("):
            if name not in FUNCTIONS:
                self.problems.append(
                    f"there is no function {name}; known: {', '.join(sorted(FUNCTIONS))}"
                )
            self._next += 1
            self._inside()
            self._along(_Place(None))
        elif name in self._bound:
            self._along(_Place(self._bound[name]))
        elif name in self._variables:
            self._along(_Place(self._variables[name], (name,)))
        elif name not in CONSTANTS and name not in _LITERALS:
            known = ", ".join(self._variables)
            self.problems.append(f"{name} is unknown; there is {known}, and sizes as GiB and TB")

    def _along(self, place: _Place) -> None:
        """Follow `.field`, `[index]` and `.call()` from a value on."""
        while True:
            after = self._peek(1)
            if self._follows(".") and after is not None and after.kind == "name":
                self._next += 2
                if self._follows("("):
                    self._next += 1
                    place = self._call(place, after.text)
                else:
                    place = self._field(place, after.text)
            elif self._follows("["):
                place = self._index(place)
            else:
                break
        self._ends_at(place)

    def _ends_at(self, place: _Place) -> None:
        if place.path:
            self.paths.append(place.path)
            if len(place.path) == 1:
                fields = ", ".join(place.shape.fields) if place.shape else ""
                self.problems.append(f"name a field of {place.path[0]}: {fields}")
        if place.shape is not None and place.shape.kind in ("list", "object"):
            self._lists += 1
            if self._lists == LIST_USE_LIMIT + 1:
                text = f"names lists and objects as a whole more than {LIST_USE_LIMIT} times"
                self.problems.append(text)

    def _field(self, place: _Place, name: str) -> _Place:
        shape = place.shape
        if shape is None:
            return _Place(None)
        if shape.kind == "map":
            return _Place(shape.item, place.path)
        if shape.kind == "object" and name in shape.fields:
            return _Place(shape.fields[name], (*place.path, name) if place.path else ())
        whole = ".".join((*place.path, name)) if place.path else name
        if shape.kind == "object":
            text = f"{whole} is unknown; here there is {', '.join(shape.fields)}"
        elif shape.kind == "list":
            text = f"{whole}: a list has no fields; say {'.'.join(place.path)}[0].{name} or exists"
        else:
            text = f"{whole}: what stands before .{name} has no fields"
        self.problems.append(text)
        return _Place(None)

    def _index(self, place: _Place) -> _Place:
        self._next += 1
        self._inside()
        shape = place.shape
        if shape is None or shape.kind == "scalar":
            return _Place(None)
        if shape.kind == "object":
            self.problems.append("name a field with a dot, not in brackets")
            return _Place(None)
        if place.path:
            self.paths.append(place.path)
        return _Place(shape.item)

    def _call(self, place: _Place, name: str) -> _Place:
        if name in MACROS:
            return self._macro(place, name)
        if name not in METHODS:
            known = ", ".join(sorted(MACROS | METHODS))
            self.problems.append(f"there is no .{name}(); known: {known}")
        if name == "matches":
            self._pattern()
        self._inside()
        self._keep(place)
        return _Place(_SCALAR)

    def _pattern(self) -> None:
        token = self._peek()
        if token is None or token.kind != "text" or not self._follows(")", 1):
            self.problems.append("matches() takes one text in quotes")
        elif self._bound:
            self.problems.append("matches() cannot stand in a macro; use contains or startsWith")
        else:
            self.patterns.append(token.text)

    def _macro(self, place: _Place, name: str) -> _Place:
        variable = self._peek()
        self._macros += 1
        if self._macros == MACRO_LIMIT + 1:
            self.problems.append(f"has more than {MACRO_LIMIT} macros")
        if self._bound:
            self.problems.append(f"has .{name}() in another macro")
        if variable is None or variable.kind != "name" or not self._follows(",", 1):
            self.problems.append(f".{name}() takes a name and a condition")
            self._inside()
            return _Place(None)
        self._next += 2
        self._keep(place)
        outer = self._bound
        self._bound = {**outer, variable.text: place.shape.item if place.shape else None}
        self._inside()
        self._bound = outer
        return _Place(place.shape if name == "filter" else _SCALAR)

    def _keep(self, place: _Place) -> None:
        """Note the value of a call's receiver."""
        self._ends_at(place)
