"""The parameters of a call as the description has them: names, bounds, patterns, what they mean.

A bound that the framework checks is taken from the handler's own annotation. What a part of a path
may look like is in `PATHS`: a handler answers 404 where it looks otherwise, for nothing is there.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import ParameterKwarg
from litestar.routes import HTTPRoute

from lpmos.control.openapi.schemas import Schemas
from lpmos.model import machine, template, user

UUID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
ID_PATTERN = "^[0-9a-f]{32}$"
EVENT_PATTERN = r"^[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{12}$"
REPORT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,31}-[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{12}$"


def _path(pattern: str, example: str, description: str) -> Mapping[str, Any]:
    schema = {"pattern": pattern, "examples": [example]}
    return {"description": description, "schema": schema}


_TASK = _path(UUID_PATTERN, "0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0001", "The task.")
_IDC = _path(machine.IDC_PATTERN, "dc1", "The data center.")
_UPLOAD = _path(ID_PATTERN, "5f0c" * 8, "The upload, as it was begun.")

PATHS: Mapping[str, Mapping[str, Any]] = {
    "tasks/{task_id}": _TASK,
    "dlq/{task_id}": _TASK,
    "machines/{idc}": _IDC,
    "{idc}/{sn}": _path(machine.SN_PATTERN, "SN-0042", "The machine's serial number."),
    "regions/{idc}": _IDC,
    "users/{name}": _path(user.NAME_PATTERN, "alice", "The user's name."),
    "sessions/{session_id}": _path(ID_PATTERN, "c0ffee00" * 4, "The session."),
    "tokens/{token_id}": _path(ID_PATTERN, "7a" * 16, "The API token's id."),
    "key-tokens/{key_token_id}": _path(
        UUID_PATTERN, "3f2a8f0e-58a5-4a1f-9a0b-5d1f0c2b7e11", "The token's id (`jti`)."
    ),
    "templates/{name}": _path(template.NAME_PATTERN, "debian.preseed", "The template's name."),
    "versions/{version}": {"description": "The version, counted from 1."},
    "images/{name}": _path("^[a-z0-9][a-z0-9._-]{0,99}$", "debian-12", "The image's name."),
    "image-files/{sha256}": _path("^[0-9a-f]{64}$", "ab" * 32, "The file's SHA-256."),
    "uploads/{upload_id}": _UPLOAD,
    "keys/{key_id}": _path("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", "2026-01", "The key's id."),
    "audit/{seq}": {"description": "The entry's place in the chain."},
    "rules/{name}": _path("^[a-z0-9][a-z0-9-]{0,62}$", "lab-auto", "The rule's name."),
    "unmatched-reports/{report}": _path(
        REPORT_PATTERN, "dc1-20260102T030405.000006Z-525400123456", "The report's id."
    ),
    "webhooks/{webhook_id}": _path(ID_PATTERN, "9b" * 16, "The webhook's id."),
    "deliveries/{event_id}": _path(
        EVENT_PATTERN, "20260102T030405.000006Z-0123456789ab", "The event that was told."
    ),
}
"""What a part of a path looks like, by that part and the one before it."""

MEANINGS: Mapping[str, str] = {
    "idc": "The data center.",
    "region_id": "Older name of `idc`.",
    "text": "Looked for in what the list shows, whatever the case.",
    "tag": "`key`, or `key=value`.",
    "os": "`debian`, or `debian 12`.",
    "tenant": "Whose they are.",
    "created_by": "Who made them.",
    "machine": "The machine's serial number.",
    "sort": "The order; `-` in front turns it round.",
    "limit": "How many to show at the most.",
    "offset": "How many to leave out.",
    "dry_run": "Write nothing; say what would be done.",
    "atomic": "All rows or none.",
    "kind": "Rules of this kind only.",
    "status": "Only those that are like this.",
    "user": "Another user than the caller.",
    "actor": "Who did it.",
    "action": "How the action begins, as `task.` or `user.changed`.",
    "target": "What it was done to, as `user/alice`.",
    "sn": "The machine's serial number.",
    "outcome": "What was done, or what was refused.",
    "from_seq": "Where to begin.",
    "Upload-Offset": "Where the upload is: how many bytes came before these.",
}
"""What parameters mean that say nothing of it themselves."""

BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")


def parameters(
    route: HTTPRoute, handler: HTTPRouteHandler, schemas: Schemas
) -> list[dict[str, Any]]:
    """The parameters of a call in the order of its path, its query and its headers."""
    model = handler.create_kwargs_model(path_parameters=route.path_parameters)
    found = []
    for where, expected in (
        ("path", model.expected_path_params),
        ("query", model.expected_query_params),
        ("header", model.expected_header_params),
    ):
        order = list(handler.parsed_fn_signature.parameters)
        for each in sorted(expected, key=lambda each: order.index(each.field_name)):
            field = handler.parsed_fn_signature.parameters[each.field_name]
            said = field.kwarg_definition
            kwarg = said if isinstance(said, ParameterKwarg) else None
            path = _of_path(route, each.field_alias) if where == "path" else {}
            more = dict((kwarg and kwarg.schema_extra) or path.get("schema", {}))
            if each.default is not None:
                more["default"] = each.default
            found.append(
                {
                    "name": each.field_alias,
                    "in": where,
                    "required": where == "path" or each.is_required,
                    "description": (kwarg and kwarg.description)
                    or path.get("description")
                    or MEANINGS[each.field_alias],
                    "schema": schemas.of(_bounded(field.annotation, kwarg), more),
                }
            )
    return found


def _of_path(route: HTTPRoute, name: str) -> Mapping[str, Any]:
    parts = route.path_format.split("/")
    at = parts.index(f"{{{name}}}")
    return PATHS["/".join(parts[at - 1 : at + 1])]


def _bounded(annotation: Any, kwarg: ParameterKwarg | None) -> Any:
    """The parameter's type without null, which nobody can send, and with its bounds."""
    bounds = {name: value for name in BOUNDS if (value := getattr(kwarg, name, None)) is not None}
    kind = annotation
    if get_origin(annotation) in (UnionType, Union):
        kind = Union[tuple(each for each in get_args(annotation) if each is not NoneType)]  # noqa: UP007
    return Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind
