"""The API's description (OpenAPI 3.1) under `/schema`, with a page of our own to read it.

The framework's pages load their scripts from other hosts, which the content security policy
forbids; ours shows `/schema/openapi.json` with a script from here.
"""

from typing import Any

from litestar import Request, Response, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

import lpmos
from lpmos.control.access import COOKIE, needs
from lpmos.control.pages import load_files
from lpmos.model.access import Permission
from lpmos.model.errors import NotFound


class SchemaPage(OpenAPIRenderPlugin):
    """The page that shows the description."""

    def __init__(self) -> None:
        super().__init__(path="/docs")
        self._page = load_files()["schema.html"].content

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The same page for everybody; its script fetches the description."""
        return self._page


async def _no_foreign_error_page(response: Response[Any]) -> Response[Any]:
    if response.status_code == 404:
        raise NotFound("there is nothing under this path; the description is /schema")
    return response


def openapi_config() -> OpenAPIConfig:
    """What describes the API."""
    return OpenAPIConfig(
        title="LPMOS",
        version=lpmos.__version__,
        description="Bare-metal provisioning: create a task, approve it, watch it install.",
        path="/schema",
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, method, path: handler.handler_name,
        render_plugins=[SchemaPage(), JsonRenderPlugin()],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            opt=needs(Permission.SELF),
            after_request=_no_foreign_error_page,
        ),
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "session": SecurityScheme(type="apiKey", name=COOKIE, security_scheme_in="cookie"),
            }
        ),
        security=[{"bearer": []}, {"session": []}],
    )
