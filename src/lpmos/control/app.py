"""Puts the control plane's parts together; what it works on is handed to it."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler

from lpmos.control.access import Door
from lpmos.control.auth import TokenSigner
from lpmos.control.bodies import BODY_LIMIT_BYTES, check_body
from lpmos.control.health import HEALTH_CALLS, Health
from lpmos.control.live import LiveHub
from lpmos.control.observation import Observation, timed
from lpmos.control.pages import PAGES, Pages
from lpmos.control.problems import answer_error
from lpmos.control.regions import REGION_CALLS
from lpmos.control.schema import openapi_config
from lpmos.control.session import SESSION_CALLS, Sessions
from lpmos.control.socket import live
from lpmos.control.tasks import TASK_CALLS
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.store.api import Store


def create_app(
    *, store: Store, fleet: Fleet, tasks: Tasks, signer: TokenSigner, clock: Clock
) -> Litestar:
    """The control plane as an ASGI application.

    Args:
        store: asked for its health only.
        fleet: all that is read; its mirrors are run by the caller.
        tasks: all that is changed.
        signer: issues and verifies tokens.
        clock: the time for sessions.
    """
    door = Door(signer)
    hub = LiveHub(fleet)
    observation = Observation(fleet, hub.count)
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
            "fleet": _given(fleet),
            "tasks": _given(tasks),
            "door": _given(door),
            "sessions": _given(Sessions(signer, clock)),
            "hub": _given(hub),
            "health": _given(Health(store, fleet)),
            "observation": _given(observation),
            "pages": _given(Pages(door)),
        },
        guards=[door],
        before_request=check_body,
        before_send=[observation.before_send],
        middleware=[timed],
        exception_handlers={Exception: answer_error},
        request_max_body_size=BODY_LIMIT_BYTES,
        compression_config=CompressionConfig(backend="gzip", minimum_size=1000),
        openapi_config=openapi_config(),
        on_shutdown=[hub.close],
        logging_config=None,
        debug=False,
    )


def _api(tag: str, calls: Sequence[BaseRouteHandler]) -> Router:
    return Router("/api/v1", route_handlers=calls, tags=[tag])


def _given(collaborator: Any) -> Provide:
    return Provide(lambda: collaborator, sync_to_thread=False, use_cache=True)
