"""The description of the API (OpenAPI 3.1), made from the handlers themselves.

A handler's path, annotations, docstring and `opt` say all that a caller must know; so the
description cannot say anything else than what the code does. What types cannot say of bodies other
than JSON stands in the handler's `opt` under `TAKES`.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import Method

import lpmos
from lpmos.control.access import COOKIE
from lpmos.control.http.bodies import TAKES
from lpmos.control.openapi.links import links
from lpmos.control.openapi.parameters import parameters
from lpmos.control.openapi.relations import RELATIONS
from lpmos.control.openapi.requests import REQUESTS
from lpmos.control.openapi.responses import Ends, problems, responses
from lpmos.control.openapi.schemas import Schemas
from lpmos.model.access import GRANTS, Permission, Role

JSON = "application/json"
BINARY = {"type": "string", "format": "binary"}
METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token (`POST /api/v1/login`) or an API token.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The dashboard's cookie (`POST /api/v1/session`), for pages of its own.",
    },
}
TAGS = {
    "tasks": "What shall be installed where, and how far it is.",
    "dead letters": "Failed tasks that nobody has tried again or dismissed yet.",
    "machines": "What reported itself: inventory, tags, and its management controller.",
    "regions": "The data centers: how they are and what they offer.",
    "session": "Signing in and out.",
    "users": "Who may sign in, and where somebody is signed in.",
    "tokens": "Tokens for programs.",
    "templates": "Texts that are written for a machine.",
    "images": "The systems that can be installed.",
    "secrets": "The keys that stored secrets are sealed with.",
    "audit": "Who did what, and when.",
    "rules": "What is decided without a person.",
    "unmatched": "Machines that reported and have no task.",
    "webhooks": "Where notifications go.",
    "operations": "Whether the control plane is of use, and its metrics.",
}

_OVERVIEW = """\
Every call but those of signing in and of health needs `Authorization: Bearer TOKEN`.

- **Errors** are problem documents (RFC 9457); one names every wrong field, and nothing was changed.
- **Unknown** fields and query parameters are refused.
- **Lists** are paged with `limit` and `offset`; `total` is exact.
- **`Idempotency-Key`**: the same key makes the same thing only once.
- **`If-Match`** with the `ETag` that was shown changes only what was seen; else it is 412.
- `429` and `503` say in `Retry-After` when to try again.
"""


def described(routes: Iterable[BaseRoute], *, relations: bool = True) -> dict[str, Any]:
    """The description of every call of these routes that is to be in it.

    Without `relations` it does not say how one field depends on another.
    """
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    tags = set()
    for route, method, handler in _calls(routes):
        operation = _operation(route, method, handler, schemas)
        paths.setdefault(route.path_format, {})[method.lower()] = operation
        tags.update(operation["tags"])
    ends = problems(schemas)
    components = schemas.components()
    for kind, relation in RELATIONS.items() if relations else ():
        components[kind.__name__].update(relation)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "LPMOS",
            "version": lpmos.__version__,
            "summary": "Bare-metal provisioning: create a task, approve it, watch it install.",
            "description": _OVERVIEW,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": TAGS[name]} for name in TAGS if name in tags],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "securitySchemes": SECURITY,
            "schemas": components,
            "responses": ends,
        },
    }


def _calls(routes: Iterable[BaseRoute]) -> Iterator[tuple[HTTPRoute, Method, HTTPRouteHandler]]:
    """Every call with its method, each path's together in the order in which it was given."""
    newest = {route.path: route for route in routes if isinstance(route, HTTPRoute)}
    for route in newest.values():
        for method in METHODS:
            if method in route.route_handler_map:
                handler, _ = route.route_handler_map[method]
                if handler.resolve_include_in_schema():
                    yield route, method, handler


def _operation(
    route: HTTPRoute, method: str, handler: HTTPRouteHandler, schemas: Schemas
) -> dict[str, Any]:
    name = handler.handler_name
    text = inspect.cleandoc(handler.fn.__doc__ or "")
    summary, _, more = text.partition("\n\n")
    takes = _takes(handler)
    given = parameters(route, handler, schemas)
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": handler.resolve_tags(),
        "summary": " ".join(summary.split()).rstrip("."),
        "description": "\n\n".join(filter(None, (more, _permission(handler)))),
    }
    if handler.opt.get("public"):
        operation["security"] = []
    if given:
        operation["parameters"] = given
    if takes:
        content = {
            media_type: _body(kind, REQUESTS.get((name, media_type), {}), schemas)
            for media_type, kind in takes.items()
        }
        operation["requestBody"] = {"required": True, "content": content}
    ends = Ends(route, method, handler, frozenset(each["name"] for each in given), bool(takes))
    operation["responses"] = responses(ends, schemas)
    for status, linked in links(name).items():
        operation["responses"][status]["links"] = linked
    return operation


def _takes(handler: HTTPRouteHandler) -> Mapping[str, Any]:
    """The bodies that a call takes, by media type."""
    if TAKES in handler.opt:
        takes: Mapping[str, Any] = handler.opt[TAKES]()
        return takes
    field = handler.parsed_data_field
    return {} if field is None else {JSON: field.annotation}


def _permission(handler: HTTPRouteHandler) -> str:
    permission: Permission | None = handler.opt.get("permission")
    if permission is None:
        return "Needs no token."
    if (others := handler.opt.get("others")) is not None:
        return f"Everybody may, for itself; for others it needs {_grant(others)}."
    if permission is Permission.SELF:
        return "Every user may."
    return f"Needs {_grant(permission)}."


def _grant(permission: Permission) -> str:
    grant = GRANTS[permission]
    roles = ", ".join(role.value for role in Role if role in grant.roles)
    provider = "; never a tenant's" if grant.provider_only else ""
    return f"`{permission.value}` ({roles}{provider})"


def _body(kind: Any, examples: Mapping[str, Any], schemas: Schemas) -> dict[str, Any]:
    schema = BINARY if kind is bytes else schemas.of(kind)
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"schema": schema, **({"examples": shown} if shown else {})}
