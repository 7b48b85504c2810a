"""The API's description (OpenAPI 3.1) under `/schema`, with a page of our own to read it.

The framework's pages load their scripts from other hosts, which the content security policy
forbids; ours shows `/schema/openapi.json` with a script from here. The description is made when it
is first asked for, once for all who ask meanwhile, by a thread, and kept; only then what makes it
is loaded.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.routes import BaseRoute

from lpmos.control.access import PUBLIC, needs
from lpmos.control.pages import Pages
from lpmos.model.access import Permission

MEDIA_TYPE = "application/vnd.oai.openapi+json"

AnyRequest = Request[Any, Any, Any]

KEPT = "description"
"""Where the application's state has the task that makes it, or has made it."""


@get("/schema", opt=PUBLIC, include_in_schema=False)
async def schema_page(request: AnyRequest, pages: NamedDependency[Pages]) -> Response[bytes]:
    """The page that shows the description."""
    return await pages.page(request, "schema.html")


@get("/schema/openapi.json", opt=needs(Permission.SELF), include_in_schema=False)
async def openapi_document(request: AnyRequest) -> Response[bytes]:
    """The description itself."""
    kept = request.app.state
    task = kept.get(KEPT)
    if task is None or _has_failed(task):
        task = kept[KEPT] = asyncio.create_task(asyncio.to_thread(_made, request.app.routes))
    content: bytes = await asyncio.shield(task)
    return Response(content, media_type=MEDIA_TYPE)


def _has_failed(task: asyncio.Task[bytes]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _made(routes: Sequence[BaseRoute]) -> bytes:
    from lpmos.control.openapi.description import described

    return msgspec.json.encode(described(routes))


SCHEMA_CALLS = (schema_page, openapi_document)
