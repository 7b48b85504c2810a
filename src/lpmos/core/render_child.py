"""The process that renders one template and ends: JSON in, JSON out, little memory and time.

It is started by `lpmos.core.template_process`, which says why. It bounds itself before it reads a
byte of the template.
"""

import resource
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgspec

from lpmos.core.rendering import render
from lpmos.model.errors import FieldProblem, InvalidInput

MEMORY_BYTES = 512 << 20
"""The address space; an interpreter with its libraries takes a fifth of it."""

CPU_S = 2


class Asked(msgspec.Struct, frozen=True):
    """A template, and the variables that it is rendered with, once for each.

    `check` names a function of the package, `module:function`, from a text and its variables to
    what is wrong with that text.
    """

    content: str
    variables: tuple[dict[str, Any], ...]
    check: str = ""


class Rendered(msgspec.Struct, frozen=True):
    """The texts, or what is wrong with the template."""

    texts: tuple[str, ...] = ()
    problems: tuple[FieldProblem, ...] = ()


def main() -> int:
    """Render what comes in; anything but 0 says that it cannot be done within the bounds."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    try:
        answer = _rendered(asked)
    except InvalidInput as error:
        answer = Rendered(problems=error.problems)
    except MemoryError:
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


def _rendered(asked: Asked) -> Rendered:
    texts = tuple(render(asked.content, variables) for variables in asked.variables)
    if not asked.check:
        return Rendered(texts=texts)
    module, _, name = asked.check.partition(":")
    check: Callable[[str, dict[str, Any]], list[str]] = getattr(import_module(module), name)
    with warnings.catch_warnings(action="ignore"):
        said = [
            problem
            for text, variables in zip(texts, asked.variables, strict=True)
            for problem in check(text, variables)
        ]
    return Rendered(
        texts=texts,
        problems=tuple(FieldProblem("content", f"makes: {text}") for text in dict.fromkeys(said)),
    )


if __name__ == "__main__":
    sys.exit(main())
