"""What people add to a kernel's command line: the one check of it.

The rule: what passes means the same to all that carry it without quotes (iPXE, GRUB and its
`/etc/default/grub`, kexec, kickstart, AutoYaST, preseed), and none of it is a word by which LPMOS
itself tells a kernel, or the agent, what to do; of a region's words, nor an installer.

Sources: the kernel's admin-guide/kernel-parameters.rst; for the installers' words those that
`lpmos.install.installers` names.
"""

import re
from typing import Annotated

import msgspec

from lpmos.model.errors import FieldProblem, InvalidInput

LIMIT_CHARACTERS = 512
OWN_WORDS = ("lpmos_", "initrd=", "BOOTIF=", "root=")
"""How the words begin that only LPMOS writes."""

_OF_SEVERAL = ("---", "ip", "url", "hostname")
_OF_DEBIANS = (
    *("auto", "auto-install/enable", "priority", "debconf/priority", "debian_frontend"),
    *("preseed/url", "file", "preseed/file", "interface", "netcfg/choose_interface"),
    *("netcfg/get_hostname", "domain", "netcfg/get_domain", "netcfg/get_nameservers"),
    "netcfg/no_default_route",
)
_OF_UBUNTUS = (
    *("autoinstall", "subiquity.autoinstallpath", "iso-url", "cloud-config-url"),
    *("ds", "ci.ds"),
)
_OF_ANACONDA = ("ks", "repo", "method", "text", "cmdline", "rd.neednet")
_OF_SUSES = ("autoyast", "autoyast2", "install", "netsetup", "textmode")
INSTALLERS_NAMES = frozenset(_OF_SEVERAL + _OF_DEBIANS + _OF_UBUNTUS + _OF_ANACONDA + _OF_SUSES)
"""What LPMOS says on the distributions' installers' lines: each name, and others of the same thing.

As `_installers_name` gives them. A region's words come after, and the last one counts: another
`inst.ks` would be another answer file than the approved one.
"""

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


def parse_region_arguments(text: str) -> str:
    """What ends the line of the agent and of each installer, as it was given.

    Raises:
        InvalidInput: as `parse_kernel_arguments`, or a word is LPMOS's own on an installer's line.
    """
    field = "kernel_arguments"
    for word in parse_kernel_arguments(text, field).split():
        name = word.partition("=")[0]
        if _installers_name(name) in INSTALLERS_NAMES:
            raise InvalidInput(FieldProblem(field, f"{name} is set by LPMOS itself"))
    return text


def _installers_name(name: str) -> str:
    """Linuxrc takes a name in capitals too, and older Anacondas take theirs without `inst.`."""
    return name.lower().removeprefix("inst.")
