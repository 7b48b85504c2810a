"""What people add to a kernel's command line: the one check of it.

The rule: what passes means the same to all that carry it without quotes (iPXE, GRUB and its
`/etc/default/grub`, kexec, kickstart, AutoYaST, preseed), and none of it is a word by which LPMOS
itself tells a kernel, or the agent, what to do.

Source: the kernel's admin-guide/kernel-parameters.rst.
"""

import re
from typing import Annotated

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput

LIMIT_CHARACTERS = 512
OWN_WORDS = ("lpmos_", "initrd=", "BOOTIF=", "root=")
"""How the words begin that only LPMOS writes."""

_WORD = r"[!%(-:=?-Z\[\]^_a-z~]+"
"""Printable ASCII without quotes, backslash, backtick and `$;|&<>#{}`."""
KERNEL_ARGUMENTS_PATTERN = f"^({_WORD}( {_WORD})*)?$"
_ARGUMENTS = re.compile(KERNEL_ARGUMENTS_PATTERN.removeprefix("^").removesuffix("$"))

KernelArguments = Annotated[
    str,
    msgspec.Meta(
        extra_json_schema={
            "description": "What the installed system's kernel is told besides, words between"
            " single spaces; the last `console=` is its console. Not for Windows, nor for an image"
            " of a whole disk.",
            "pattern": KERNEL_ARGUMENTS_PATTERN,
            "maxLength": LIMIT_CHARACTERS,
            "not": {"pattern": f"(^| )({'|'.join(OWN_WORDS)})"},
            "examples": ["console=ttyS1,115200n8 hugepages=16"],
        }
    ),
]


def parse_kernel_arguments(text: str, field: str = "kernel_arguments") -> str:
    """The arguments as they were given; empty where there are none.

    Raises:
        InvalidInput: they are too long, or of something that is no plain word, or LPMOS's own.
    """
    if len(text) > LIMIT_CHARACTERS:
        raise InvalidInput(FieldProblem(field, f"more than {LIMIT_CHARACTERS} characters"))
    if not _ARGUMENTS.fullmatch(text):
        wrong = "must be words of ASCII between single spaces, without quotes and \\ $ ` ; | & < >"
        raise InvalidInput(FieldProblem(field, f"{wrong} # {{ }}"))
    for word in text.split():
        if word.startswith(OWN_WORDS):
            name = word.partition("=")[0]
            raise InvalidInput(FieldProblem(field, f"{name} is set by LPMOS itself"))
    return text
