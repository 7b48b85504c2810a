"""Puts the control plane's parts together; what it works on is handed to it."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler

from lpmos.control.bodies import BODY_LIMIT_BYTES, check_body
from lpmos.control.health import HEALTH_CALLS
from lpmos.control.observation import timed
from lpmos.control.pages import PAGES
from lpmos.control.problems import answer_error
from lpmos.control.regions import REGION_CALLS
from lpmos.control.schema import openapi_config
from lpmos.control.services import Services
from lpmos.control.session import SESSION_CALLS
from lpmos.control.socket import live
from lpmos.control.tasks import TASK_CALLS


def create_app(services: Services) -> Litestar:
    """The control plane as an ASGI application over its services."""
    return Litestar(
        route_handlers=[
            _api("tasks", TASK_CALLS),
            _api("regions", REGION_CALLS),
            _api("session", SESSION_CALLS),
            Router("/", route_handlers=HEALTH_CALLS, tags=["operations"]),
            *PAGES,
            live,
        ],
        dependencies={
            name: _given(getattr(services, name))
            for name in (
                "fleet",
                "tasks",
                "door",
                "sessions",
                "hub",
                "health",
                "observation",
                "pages",
            )
        },
        guards=[services.door],
        before_request=check_body,
        before_send=[services.observation.before_send],
        middleware=[timed],
        exception_handlers={Exception: answer_error},
        request_max_body_size=BODY_LIMIT_BYTES,
        compression_config=CompressionConfig(backend="gzip", minimum_size=1000),
        openapi_config=openapi_config(),
        on_shutdown=[services.hub.close],
        logging_config=None,
        debug=False,
    )


def _api(tag: str, calls: Sequence[BaseRouteHandler]) -> Router:
    return Router("/api/v1", route_handlers=calls, tags=[tag])


def _given(collaborator: Any) -> Provide:
    return Provide(lambda: collaborator, sync_to_thread=False, use_cache=True)
