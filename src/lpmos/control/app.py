"""Puts the control plane's parts together; what it works on is handed to it."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler

from lpmos.control.http.bodies import BODY_LIMIT_BYTES
from lpmos.control.http.encoding import encoding
from lpmos.control.http.observation import timed
from lpmos.control.http.parameters import check_request
from lpmos.control.http.revision import stating
from lpmos.control.http.traced import traced
from lpmos.control.live.socket import live
from lpmos.control.oidc.routes import OIDC_CALLS, OIDC_PAGES
from lpmos.control.openapi.page import SCHEMA_CALLS
from lpmos.control.pages import PAGES
from lpmos.control.resources.audit import AUDIT_CALLS
from lpmos.control.resources.bmc import BMC_CALLS
from lpmos.control.resources.bulk import BULK_CALLS
from lpmos.control.resources.dlq import DLQ_CALLS
from lpmos.control.resources.explanations import EXPLANATION_CALLS
from lpmos.control.resources.health import HEALTH_CALLS
from lpmos.control.resources.image_files import IMAGE_FILE_CALLS
from lpmos.control.resources.images import IMAGE_CALLS
from lpmos.control.resources.machines import MACHINE_CALLS
from lpmos.control.resources.regions import REGION_CALLS
from lpmos.control.resources.rules import RULE_CALLS
from lpmos.control.resources.secrets import SECRET_CALLS
from lpmos.control.resources.session import SESSION_CALLS
from lpmos.control.resources.statistics import STATISTICS_CALLS
from lpmos.control.resources.task_answers import STATE
from lpmos.control.resources.task_hardware import TASK_HARDWARE_CALLS
from lpmos.control.resources.task_logs import TASK_LOG_CALLS
from lpmos.control.resources.tasks import TASK_CALLS
from lpmos.control.resources.templates import TEMPLATE_CALLS
from lpmos.control.resources.tokens import TOKEN_CALLS
from lpmos.control.resources.unmatched import UNMATCHED_CALLS
from lpmos.control.resources.users import USER_CALLS
from lpmos.control.resources.webhooks import WEBHOOK_CALLS
from lpmos.control.services import Services


def routes() -> list[Router | BaseRouteHandler]:
    """Every call, page and socket of the application."""
    return [
        _api(
            "tasks",
            (
                *TASK_CALLS,
                *BULK_CALLS,
                *TASK_LOG_CALLS,
                *TASK_HARDWARE_CALLS,
                *EXPLANATION_CALLS,
            ),
        ),
        _api("tasks", STATISTICS_CALLS),
        _api("dead letters", DLQ_CALLS),
        _api("machines", MACHINE_CALLS),
        _api("regions", REGION_CALLS),
        _api("session", (*SESSION_CALLS, *OIDC_CALLS)),
        _api("users", USER_CALLS),
        _api("tokens", TOKEN_CALLS),
        _api("templates", TEMPLATE_CALLS),
        _api("images", (*IMAGE_CALLS, *IMAGE_FILE_CALLS)),
        _api("machines", BMC_CALLS),
        _api("secrets", SECRET_CALLS),
        _api("audit", AUDIT_CALLS),
        _api("rules", RULE_CALLS),
        _api("unmatched", UNMATCHED_CALLS),
        _api("webhooks", WEBHOOK_CALLS),
        Router("/", route_handlers=HEALTH_CALLS, tags=["operations"]),
        *PAGES,
        *OIDC_PAGES,
        *SCHEMA_CALLS,
        live,
    ]


GIVEN = (
    "fleet",
    "tasks",
    "task_answers",
    "explaining",
    "rollbacks",
    "bulk",
    "machines",
    "door",
    "identity",
    "logins",
    "single_sign_on",
    "hub",
    "health",
    "statistics",
    "region_logs",
    "observation",
    "pages",
    "secret_keys",
    "bmcs",
    "templates",
    "images",
    "image_files",
    "audit",
    "webhooks",
    "deliveries",
    "rules",
    "dry_runs",
    "unmatched",
)
"""What calls get by name: each a part of `Services`."""


def create_app(services: Services) -> Litestar:
    """The control plane as an ASGI application over its services."""
    return Litestar(
        route_handlers=routes(),
        dependencies={name: _given(getattr(services, name)) for name in GIVEN},
        guards=[services.gate],
        before_request=check_request,
        before_send=[services.observation.before_send],
        middleware=[timed, traced(services.call_traces), stating(services.hub.revision), encoding],
        state=State({STATE: services.task_answers}),
        exception_handlers={Exception: services.refusals.answer_error},
        request_max_body_size=BODY_LIMIT_BYTES,
        openapi_config=None,
        on_shutdown=[services.hub.close, services.senders.close, services.single_sign_on.close],
        logging_config=None,
        debug=False,
    )


def _api(tag: str, calls: Sequence[BaseRouteHandler]) -> Router:
    return Router("/api/v1", route_handlers=calls, tags=[tag])


def _given(collaborator: Any) -> Provide:
    return Provide(lambda: collaborator, sync_to_thread=False, use_cache=True)
