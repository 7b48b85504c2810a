"""What a stored document has beyond its type: a newer version wrote it, and it is passed over.

The rule: types that callers fill refuse what they do not know, by name; the same types, read from
the store, do not. Where a member that is not known could be a limit on what is allowed, the field
of its document says `WHOLE`, and it is refused there as well; or its type says in a static method
`read_without(names)` which members are read in place of those that are not known.
"""

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

_WHOLE = "read_whole"
WHOLE = msgspec.Meta(extra={_WHOLE: True})
"""Of a field: a stored value that has more than its type knows is not read at all."""


def known_part(value: object, kind: object) -> object:
    """Plain JSON without what a `kind` would refuse as unknown; wrong values stay as they are."""
    return _known(value, _type_of(kind))


@cache
def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _known(value: Any, kind: inspect.Type) -> Any:
    match kind:
        case inspect.Metadata():
            return value if (kind.extra or {}).get(_WHOLE) else _known(value, kind.type)
        case inspect.UnionType():
            return next((_known(value, each) for each in kind.types if _may_be(value, each)), value)
        case inspect.StructType() if _may_be(value, kind):
            return _known_members(value, kind)
        case inspect.DictType() if isinstance(value, dict):
            return {name: _known(each, kind.value_type) for name, each in value.items()}
        case inspect.CollectionType() if isinstance(value, list):
            return [_known(each, kind.item_type) for each in value]
    return value


def _known_members(value: dict[str, Any], kind: inspect.StructType) -> dict[str, Any]:
    types = {field.encode_name: field.type for field in kind.fields}
    unknown = value.keys() - types.keys() - {kind.tag_field} if kind.forbid_unknown_fields else ()
    known = {
        name: _known(each, types[name]) if name in types else each
        for name, each in value.items()
        if name not in unknown
    }
    read_without = getattr(kind.cls, "read_without", None)
    return {**known, **read_without(unknown)} if unknown and read_without else known


def _may_be(value: object, kind: inspect.Type) -> bool:
    """Whether a part of a union is the one that `value` is decoded as, by its tag if it has one."""
    if isinstance(kind, inspect.Metadata):
        return _may_be(value, kind.type)
    if isinstance(kind, inspect.StructType):
        return isinstance(value, dict) and (
            kind.tag_field is None or value.get(kind.tag_field) == kind.tag
        )
    if isinstance(kind, inspect.DictType):
        return isinstance(value, dict)
    return isinstance(kind, inspect.CollectionType) and isinstance(value, list)
