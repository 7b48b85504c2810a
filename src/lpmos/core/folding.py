"""Documents of finished tasks as they stay: without what is only a default, the rest folded.

The rule: nothing is lost. A default says no more than its absence, to this version and to the one
before; and what is folded is there again in whatever `Task` is decoded (`lpmos.model.folding`).
What this version does not know of a document stays where it is, inside of a default as well.
"""

import base64
from functools import cache
from typing import Any

import msgspec

from lpmos.model.folding import FOLDED, deflated, inflated
from lpmos.model.task import Task

_FIELD = "folded"


class _Short(msgspec.Struct, frozen=True):
    """Of a document only what is folded: the rest is skipped, which costs a quarter of reading."""

    folded: str | None = None


def folded(document: bytes, task: Task) -> bytes:
    """The document of `task` as it stays once it is finished."""
    whole = msgspec.json.decode(document)
    _drop_defaults(whole, task)
    parts = {name: whole.pop(name) for name in FOLDED if name in whole}
    if newest := parts.get("progress"):
        whole["progress"] = [newest.pop()]  # what a row of a list shows
    text = msgspec.json.encode({name: part for name, part in parts.items() if part})
    short = base64.b64encode(deflated(text)).decode()
    if len(short) + len(_FIELD) < len(text):
        return msgspec.json.encode({**whole, _FIELD: short})
    if newest is not None:
        parts["progress"] = [*newest, *whole.pop("progress", ())]
    return msgspec.json.encode({**whole, **parts})


def unfolded(document: bytes) -> bytes:
    """A task's document with all fields where they are in one that was never folded.

    Raises:
        ValueError: what is folded in it is damaged.
    """
    short = msgspec.json.decode(document, type=_Short).folded
    if short is None:
        return document
    whole = msgspec.json.decode(document)
    del whole[_FIELD]
    parts = msgspec.json.decode(inflated(base64.b64decode(short)))
    for name, part in parts.items():
        known = whole.get(name)
        whole[name] = [*part, *known] if isinstance(part, list) and known else known or part
    return msgspec.json.encode(whole)


def _drop_defaults(document: Any, value: object) -> None:
    """Take out of `document` the members of `value`, which it is of, that are its defaults."""
    if isinstance(value, msgspec.Struct) and isinstance(document, dict):
        for field in _fields(type(value)):
            if field.encode_name not in document:
                continue
            member, said = getattr(value, field.name), document[field.encode_name]
            _drop_defaults(said, member)
            unknown = isinstance(said, dict | list) and said
            if _is_default(field, member) and not unknown:
                del document[field.encode_name]
    elif isinstance(value, tuple | list) and isinstance(document, list):
        for pair in zip(document, value, strict=False):
            _drop_defaults(*pair)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _is_default(field: msgspec.structs.FieldInfo, value: object) -> bool:
    if field.default is not msgspec.NODEFAULT:
        return bool(field.default == value)
    factory = field.default_factory
    return factory is not msgspec.NODEFAULT and bool(factory() == value)
