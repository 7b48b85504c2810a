"""What keeps plain JSON from being a document: each wrong field by its path, all of them at once.

The decoder itself stops at the first wrong field; here a document is taken apart along its type.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from lpmos.core.field_words import plain_words
from lpmos.model.errors import FieldProblem, InvalidInput

T = TypeVar("T")

EXACT = 2**53
"""Up to here every whole number is a float of its own (IEEE 754 binary64)."""

_FIELD_PATH = re.compile(r"(?P<message>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_QUOTED_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `([^`]+)`")


def field_problems(value: object, kind: object, path: str = "") -> list[FieldProblem]:
    """Everything that keeps `value`, plain JSON, from being a `kind`; empty where nothing does."""
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        return _struct_problems(value, struct, path)
    problems: list[FieldProblem] = []
    parts = _parts(value, kind)
    if parts is not None:
        for name, part, part_kind in parts:
            problems += field_problems(part, part_kind, f"{path}{name[:64]}.")
    if problems:
        return problems
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problems.append(field_problem(error, path, kind))
    return problems


def field_problem(
    error: msgspec.ValidationError, path: str = "", kind: object = None
) -> FieldProblem:
    """The field that msgspec complains of, as `root_disk.serial`; `body` is the whole of it."""
    match = _FIELD_PATH.fullmatch(str(error))
    message, place = (match["message"], match["path"]) if match else (str(error), None)
    parts = [part for part in re.split(r"[.\[\]]+", (place or "$").removeprefix("$")) if part]
    if named := _QUOTED_FIELD.match(message):
        parts.append(named[1])
        message = "is missing" if "missing" in message else "is unknown"
    message = plain_words(message, None if parts else kind)
    field = f"{path}{'.'.join(parts)}".rstrip(".")
    return FieldProblem(field[:200] or "body", message)


def whole_numbers(value: object) -> object:
    """Plain JSON with `5.0` as the 5 that it is to JSON Schema, where a float is exact."""
    if isinstance(value, dict):
        return {name: whole_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [whole_numbers(part) for part in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    return value


def value_problems(
    value: object, kind: type[T], check: Callable[[T], object], known: Sequence[FieldProblem]
) -> list[FieldProblem]:
    """What `check` has against the fields of `value` that can be read.

    A field that is among the `known` problems is not named twice.
    """
    try:
        document = msgspec.convert(_readable(value, kind), kind)
    except msgspec.ValidationError:
        return []
    try:
        check(document)
    except InvalidInput as error:
        named = tuple(problem.field for problem in known)
        return [problem for problem in error.problems if not _is_below(problem.field, named)]
    return []


def _struct_problems(
    value: dict[str, object], struct: type[msgspec.Struct], path: str
) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in value:
            problems += field_problems(value[name], field.type, f"{path}{name}.")
        elif field.required:
            problems.append(FieldProblem(f"{path}{name}", "is missing"))
    if struct.__struct_config__.forbid_unknown_fields:
        unknown = (name for name in value if name not in fields)
        problems += [FieldProblem(f"{path}{name[:64]}", "is unknown") for name in unknown]
    return problems


def _readable(value: object, kind: object) -> object:
    """`value` as far as it is a `kind`: wrong text is empty, what else is wrong is left out.

    Left out is also what would not be a `kind` without it; of a list, so that places stay, all.
    """
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        return _readable_struct(value, struct)
    parts = _parts(value, kind)
    if parts is not None:
        readable = {name: _readable(part, part_kind) for name, part, part_kind in parts}
        if not isinstance(value, dict):
            items = list(readable.values())
            return _if_it_is(msgspec.UNSET if msgspec.UNSET in items else items, kind)
        read = {name: part for name, part in readable.items() if part is not msgspec.UNSET}
        return _if_it_is(read, kind)
    whole = _if_it_is(value, kind)
    return _if_it_is("", kind) if whole is msgspec.UNSET and _is_text(kind) else whole


def _if_it_is(value: object, kind: object) -> object:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return msgspec.UNSET
    return value


def _readable_struct(value: dict[str, object], struct: type[msgspec.Struct]) -> object:
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        if name in value or field.required:
            readable = _readable(value.get(name), field.type)
            if readable is not msgspec.UNSET:
                found[name] = readable
            elif field.required:
                return msgspec.UNSET
    return found


def _is_text(kind: object) -> bool:
    """Whether `kind` is text, with or without what its description says, or text among others."""
    if get_origin(kind) in (Union, UnionType):
        return any(map(_is_text, get_args(kind)))
    return _bare(kind) is str


def _bare(kind: object) -> object:
    """A type without what its description says of it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _struct_of(kind: object) -> type[msgspec.Struct] | None:
    """The one struct that a JSON object can be where a `kind` is wanted."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    structs = [
        each for each in kinds if isinstance(each, type) and issubclass(each, msgspec.Struct)
    ]
    return structs[0] if len(structs) == 1 else None


def _parts(value: object, kind: object) -> Iterable[tuple[str, Any, Any]] | None:
    """The items of a list or mapping, each with its name and type; None for anything else."""
    kind = _bare(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list) and arguments[1:] == (...,):
        return ((str(number), item, arguments[0]) for number, item in enumerate(value))
    if origin is dict and isinstance(value, dict) and _bare(arguments[0]) is str:
        return ((name, item, arguments[1]) for name, item in value.items())
    return None


def _is_below(field: str, named: tuple[str, ...]) -> bool:
    return any(field == each or field.startswith(f"{each}.") for each in named)
