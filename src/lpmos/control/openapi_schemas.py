"""From types to JSON Schema 2020-12: msgspec, which checks the input, also says what it accepts.

Each type is asked for once and stands under its name in `components`; a place that needs it gets a
schema that is empty until `components` fills them all.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

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
        return {name: _complete(schema) for name, schema in sorted(named.items())}


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
