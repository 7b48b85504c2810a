"""From types to JSON Schema 2020-12: msgspec, which checks the input, also says what it accepts.

Each type is asked for once and stands under its name in `components`; a place that needs it gets a
schema that is empty until `components` fills them all.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import msgspec.inspect

TEMPLATE = "#/components/schemas/{name}"

Schema = dict[str, Any]


class Schemas:
    """The schemas of one description."""

    def __init__(self) -> None:
        self._asked: list[tuple[Any, Schema]] = []

    def of(self, kind: Any, more: Mapping[str, Any] | None = None) -> Schema:
        """The schema of a type, with `more` keywords beside what the type itself says."""
        schema = dict(more or {})
        self._asked.append((kind, schema))
        return schema

    def components(self) -> dict[str, Schema]:
        """Fill in all schemas that were asked for; the named ones of them and of their parts."""
        kinds = [kind for kind, _ in self._asked]
        found, named = msgspec.json.schema_components(kinds, ref_template=TEMPLATE)
        for (_, place), schema in zip(self._asked, found, strict=True):
            said = dict(place)
            place.update(_complete(schema))
            place.update(said)
        whole = {name: _complete(schema) for name, schema in sorted(named.items())}
        for struct in _structs(msgspec.inspect.multi_type_info(kinds)):
            _say_times(struct, whole[struct.cls.__name__]["properties"])
        return whole


def _structs(kinds: Iterable[Any]) -> Iterator[msgspec.inspect.StructType]:
    """Every struct that is in these types, once."""
    seen: set[type] = set()
    left = list(kinds)
    while left:
        kind = left.pop()
        if isinstance(kind, msgspec.inspect.StructType):
            if kind.cls in seen:
                continue
            seen.add(kind.cls)
            yield kind
            left += [field.type for field in kind.fields]
        else:
            left += _parts(kind)


def _parts(kind: Any) -> list[Any]:
    """The types that a type is made of."""
    names = ("types", "item_type", "item_types", "key_type", "value_type", "type")
    found = [getattr(kind, name, None) for name in names]
    return [
        part for each in found for part in (each if isinstance(each, tuple) else [each]) if part
    ]


def _say_times(struct: msgspec.inspect.StructType, properties: dict[str, Schema]) -> None:
    """Say of every time that it is one: msgspec says it only where a zone is needed."""
    for field in struct.fields:
        if any(
            isinstance(each, msgspec.inspect.DateTimeType)
            for each in (field.type, *_parts(field.type))
        ):
            schema = properties[field.encode_name]
            texts = [
                each for each in (schema, *schema.get("anyOf", ())) if each.get("type") == "string"
            ]
            for text in texts:
                text["format"] = "date-time"


def _complete(schema: Any) -> Any:
    """The schema with the type of every set of words, and its texts without their indentation."""
    if isinstance(schema, list):
        return [_complete(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: value if key in _DATA else _complete(value) for key, value in schema.items()}
    if isinstance(text := whole.get("description"), str):
        whole["description"] = inspect.cleandoc(text)
    if isinstance(words := whole.get("enum"), list) and "type" not in whole:
        whole = {"type": "string", **whole} if all(isinstance(w, str) for w in words) else whole
    return whole


_DATA = frozenset({"default", "examples", "enum", "const"})
"""Keywords whose values are data, not schemas."""
