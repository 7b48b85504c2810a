"""cloud-init's user-data, looked at as far as it says what it is.

The rule: YAML is only read as events, never built, so that no anchor, merge or depth in it can make
more work of it than was sent.

Source: cloud-init's "User-data formats" (the first line says the format).
"""

from collections.abc import Iterable

import yaml

USER_DATA_CHARACTERS = 12_288
DEPTH_LIMIT = 64

HEADERS = (
    "#cloud-config",
    "#cloud-config-archive",
    "#cloud-boothook",
    "#include",
    "#include-once",
    "#part-handler",
    "#!",
    "## template: jinja",
    "Content-Type: multipart/",
    "MIME-Version:",
)
_WORDS = ("#cloud-config", "#cloud-config-archive", "#include", "#include-once")
"""Headers that are whole words: `#cloud-configs` is none."""


def user_data_problem(text: str) -> str | None:
    """What keeps cloud-init from reading this as user-data; None where nothing is known to."""
    if "\0" in text:
        return "has a NUL character"
    first = text.partition("\n")[0].rstrip()
    header = max((each for each in HEADERS if _begins(first, each)), key=len, default=None)
    if header is None:
        return "must begin with `#cloud-config`, `#!`, or another header of cloud-init's formats"
    if header == "#cloud-config":
        return _yaml_problem(text, yaml.MappingStartEvent, "a mapping, as `packages: [nginx]`")
    if header == "#cloud-config-archive":
        return _yaml_problem(text, yaml.SequenceStartEvent, "a list")
    return None


def _begins(line: str, header: str) -> bool:
    return line == header if header in _WORDS else line.startswith(header)


def _yaml_problem(text: str, kind: type[yaml.Event], what: str) -> str | None:
    try:
        return _document_problem(yaml.parse(text, Loader=yaml.CSafeLoader), kind, what)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        return f"is not YAML: {where}{error.problem or error.context}"
    except (yaml.YAMLError, ValueError):
        return "is not YAML that can be read"


def _document_problem(
    events: Iterable[yaml.Event], kind: type[yaml.Event], what: str
) -> str | None:
    """What is wrong with the one document: what it is, names that are not there, its depth."""
    anchors: set[str] = set()
    depth = documents = 0
    root: yaml.Event | None = None
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            root = root or event
            if isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
                return f"is not YAML: there is no anchor {(event.anchor or '')[:64]}"
            anchors.add(event.anchor or "")
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_LIMIT:
            return f"is not YAML that can be read: over {DEPTH_LIMIT} levels deep"
    if documents > 1:
        return "is not YAML of one document"
    return None if isinstance(root, kind) else f"is not {what}"
