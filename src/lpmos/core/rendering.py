"""Templates made into text: Jinja in a sandbox, with only what a plain answer file needs.

A template can neither reach anything but its variables nor run for long: no macros, no includes,
loops two deep over what is there, a short list of filters, a bound on what comes out.
"""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lpmos.model.errors import FieldProblem, InvalidInput

OUTPUT_CHARACTERS = 262_144
LOOPS_DEEP = 2
FILTERS = (
    *("default", "first", "join", "last", "length", "list", "lower", "map", "replace", "sort"),
    *("string", "tojson", "trim", "upper", "int", "float", "round", "unique", "selectattr"),
)
VARIABLES = frozenset({"task", "machine"})

_FORBIDDEN = (
    *(nodes.Macro, nodes.CallBlock, nodes.Include, nodes.Import, nodes.FromImport),
    *(nodes.Extends, nodes.Block, nodes.FilterBlock, nodes.Mul, nodes.Pow, nodes.Mod),
)


def problems(content: str, names: Collection[str] = VARIABLES) -> list[FieldProblem]:
    """Everything that is wrong with a template before it is rendered, each with its line.

    Args:
        content: the template.
        names: the variables that it may use.
    """
    try:
        tree = _environment().parse(content)
    except TemplateSyntaxError as error:
        return [FieldProblem("content", f"line {error.lineno}: {error.message}")]
    except RecursionError:
        return [FieldProblem("content", "is nested too deeply")]
    found = [
        FieldProblem("content", f"line {node.lineno}: {type(node).__name__.lower()} is not allowed")
        for node in tree.find_all(_FORBIDDEN)
    ]
    found += [
        FieldProblem("content", f"line {node.lineno}: there is no filter {node.name!r}")
        for node in tree.find_all(nodes.Filter)
        if node.name not in FILTERS
    ]
    found += _loop_problems(tree, 0)
    found += _name_problems(tree, names)
    return found


def render(content: str, variables: Mapping[str, Any]) -> str:
    """The text of a template for one machine.

    Args:
        content: the template.
        variables: plain values by name; the template may use no other.

    Raises:
        InvalidInput: the template is wrong, or needs what these variables have not got.
    """
    if found := problems(content, variables):
        raise InvalidInput(*found)
    pieces, size = [], 0
    try:
        for piece in _environment().from_string(content).generate(**variables):
            pieces.append(piece)
            size += len(piece)
            if size > OUTPUT_CHARACTERS:
                raise InvalidInput(
                    FieldProblem("content", f"makes over {OUTPUT_CHARACTERS} characters")
                )
    except SecurityError as error:
        raise InvalidInput(FieldProblem("content", f"is not allowed: {error}")) from None
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise InvalidInput(FieldProblem("content", f"cannot be rendered: {error}")) from None
    except RecursionError:
        raise InvalidInput(FieldProblem("content", "is nested too deeply")) from None
    return "".join(pieces)


def plain(document: msgspec.Struct, *hidden: str) -> dict[str, Any]:
    """A document as a template sees it, without the fields that are `hidden`."""
    values: dict[str, Any] = msgspec.to_builtins(document)
    return {name: value for name, value in values.items() if name not in hidden}


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False
    )
    environment.globals = {}
    return environment


def _loop_problems(node: nodes.Node, depth: int) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    for child in node.iter_child_nodes():
        deeper = depth + isinstance(child, nodes.For)
        if isinstance(child, nodes.For) and (child.recursive or deeper > LOOPS_DEEP):
            text = f"line {child.lineno}: loops are at most {LOOPS_DEEP} deep"
            found.append(FieldProblem("content", text))
        else:
            found += _loop_problems(child, deeper)
    return found


def _name_problems(tree: nodes.Template, known: Collection[str]) -> list[FieldProblem]:
    """The variables that nobody sets."""
    named = list(tree.find_all(nodes.Name))
    known = {*known, *(node.name for node in named if node.ctx == "store"), "loop"}
    return [
        FieldProblem("content", f"line {node.lineno}: there is no variable {node.name!r}")
        for node in named
        if node.ctx == "load" and node.name not in known
    ]
