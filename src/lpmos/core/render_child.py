"""The process that renders one template and ends: JSON in, JSON out, little memory and time.

It is started by `lpmos.core.template_process`, which says why. It bounds itself before it reads a
byte of the template.
"""

import resource
import sys
from typing import Any

import msgspec

from lpmos.core.rendering import render
from lpmos.model.errors import FieldProblem, InvalidInput

MEMORY_BYTES = 512 << 20
"""The address space; an interpreter with its libraries takes a fifth of it."""

CPU_S = 2


class Asked(msgspec.Struct, frozen=True):
    """A template, and the variables that it is rendered with."""

    content: str
    variables: dict[str, Any]


class Rendered(msgspec.Struct, frozen=True):
    """The text, or what is wrong with the template."""

    text: str = ""
    problems: tuple[FieldProblem, ...] = ()


def main() -> int:
    """Render what comes in; anything but 0 says that it cannot be done within the bounds."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    try:
        answer = Rendered(text=render(asked.content, asked.variables))
    except InvalidInput as error:
        answer = Rendered(problems=error.problems)
    except MemoryError:
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
