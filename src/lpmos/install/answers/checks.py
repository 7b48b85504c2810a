"""Whether a rendered answer file is one in the language of its installer, before a machine sees it.

The rule: a text is only read here, nothing in it is followed or run. What needs a library that is
not there (pykickstart, PyYAML) is left to who has it.

Sources: debconf-set-selections(1), pykickstart, XML 1.0, Ubuntu's autoinstall reference for the
keys that there are, and Microsoft's list of configuration passes.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any
from xml.etree import ElementTree

from lpmos.model.installer import Family

Check = Callable[[str, str, str], list[str]]
"""From a text, the OS type and its version to everything that is wrong."""

AUTOINSTALL_KEYS = frozenset(
    {
        *("version", "interactive-sections", "early-commands", "locale", "refresh-installer"),
        *("keyboard", "source", "network", "proxy", "apt", "storage", "identity"),
        *("active-directory", "ubuntu-pro", "ssh", "codecs", "drivers", "oem", "snaps"),
        *("debconf-selections", "packages", "kernel", "kernel-crash-dumps", "timezone"),
        *("updates", "shutdown", "late-commands", "error-commands", "reporting", "user-data"),
    }
)
"""Every key below `autoinstall`; the installer itself passes over others with a warning."""

PASSES = frozenset({"specialize", "oobeSystem", "auditSystem", "auditUser", "generalize"})
"""What is read of an answer file where an image is applied; `windowsPE` never comes."""

_UNATTEND = "{urn:schemas-microsoft-com:unattend}"
_PRESEED = re.compile(r"\S+[ \t]+\S+/\S+[ \t]+[a-z]+([ \t].*)?")
_PRESEED_TYPES = frozenset(
    {*("string", "boolean", "select", "multiselect", "note", "text", "password", "error", "seen")}
)


def preseed(text: str, os_type: str, os_version: str) -> list[str]:
    """Every line has an owner, a question, a type and, but for a few, a value."""
    del os_type, os_version
    found = []
    joined = re.sub(r"\\\n[ \t]*", "", text)
    for line in joined.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(None, 3)
        if not _PRESEED.fullmatch(line) or fields[2] not in _PRESEED_TYPES:
            found.append(f"{line[:60]!r} is no line of a preseed file")
    return found


def kickstart(text: str, os_type: str, os_version: str) -> list[str]:
    """What pykickstart says of the commands that this release knows; nothing is included."""
    errors, parser, versions = (
        _library(f"pykickstart.{name}") for name in ("errors", "parser", "version")
    )
    if errors is None or parser is None or versions is None:
        return []
    handler = versions.makeVersion(kickstart_version(os_type, os_version, versions))
    reader = parser.KickstartParser(handler, followIncludes=False)
    try:
        reader.readKickstartFromString(text)
    except errors.KickstartError as error:
        return [" ".join(str(error).split())]
    return []


def kickstart_version(os_type: str, os_version: str, versions: Any) -> str:
    """The name that pykickstart has for a release; the nearest older one for what it has not."""
    major = int(os_version.partition(".")[0]) if os_version[:1].isdigit() else 0
    kind = "F" if os_type == "fedora" else "RHEL"
    known = [
        int(name.removeprefix(kind))
        for name in versions.versionMap
        if re.fullmatch(f"{kind}[0-9]+", name)
    ]
    fitting = [number for number in known if number <= major]
    return f"{kind}{max(fitting or known)}"


def autoinstall(text: str, os_type: str, os_version: str) -> list[str]:
    """A cloud-config with `autoinstall` in it, which has no key that the reference does not."""
    del os_type, os_version
    reader = _library("yaml")
    if not text.startswith("#cloud-config\n"):
        return ["the first line is not #cloud-config"]
    if reader is None:
        return []
    try:
        found = reader.safe_load(text)
    except reader.YAMLError as error:
        return [" ".join(str(error).split())]
    wanted = found.get("autoinstall") if isinstance(found, dict) else None
    if not isinstance(wanted, dict) or wanted.get("version") != 1:
        return ["there is no autoinstall with the version 1"]
    return [f"autoinstall has no key {key!r}" for key in wanted if key not in AUTOINSTALL_KEYS]


def autoyast(text: str, os_type: str, os_version: str) -> list[str]:
    """Well-formed XML without entities of its own, whose root is a profile."""
    del os_type, os_version
    if "<!ENTITY" in text:
        return ["an entity is declared, which nothing here needs"]
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities, in a bounded process
    except ElementTree.ParseError as error:
        return [str(error)]
    if root.tag != "{http://www.suse.com/1.0/yast2ns}profile":
        return [f"the root is {root.tag}, not YaST's profile"]
    return []


def unattend(text: str, os_type: str, os_version: str) -> list[str]:
    """Well-formed XML without entities of its own, with settings for passes that there are."""
    del os_type, os_version
    if "<!" in text.replace("<!--", ""):
        return ["something is declared, which nothing here needs"]
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities, in a bounded process
    except ElementTree.ParseError as error:
        return [str(error)]
    if root.tag != f"{_UNATTEND}unattend":
        return [f"the root is {root.tag}, not unattend of Windows"]
    passes = [each.get("pass", "") for each in root.findall(f"{_UNATTEND}settings")]
    return [f"settings are for no pass {name!r}" for name in passes if name not in PASSES]


CHECKS: Mapping[Family, Check] = MappingProxyType(
    {
        "debian": preseed,
        "ubuntu": autoinstall,
        "rhel": kickstart,
        "suse": autoyast,
        "windows": unattend,
    }
)


def problems(family: Family, text: str, variables: Mapping[str, Any]) -> list[str]:
    """What is wrong with a text that was made with these variables; empty where nothing is."""
    task = variables.get("task", {})
    os_type, os_version = (str(task.get(name, "")) for name in ("os_type", "os_version"))
    return CHECKS[family](text, os_type.strip("'\""), os_version.strip("'\""))


debian_problems = partial(problems, "debian")
ubuntu_problems = partial(problems, "ubuntu")
rhel_problems = partial(problems, "rhel")
suse_problems = partial(problems, "suse")
windows_problems = partial(problems, "windows")


def _library(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None
