"""Puts the control plane's parts together; what it works on is handed to it."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler

from lpmos.control.audit import AUDIT_CALLS
from lpmos.control.bmc import BMC_CALLS
from lpmos.control.bodies import BODY_LIMIT_BYTES
from lpmos.control.bulk import BULK_CALLS
from lpmos.control.dlq import DLQ_CALLS
from lpmos.control.health import HEALTH_CALLS
from lpmos.control.images import IMAGE_CALLS
from lpmos.control.machines import MACHINE_CALLS
from lpmos.control.observation import timed
from lpmos.control.oidc import OIDC_CALLS, OIDC_PAGES
from lpmos.control.pages import PAGES
from lpmos.control.parameters import check_request
from lpmos.control.regions import REGION_CALLS
from lpmos.control.revision import stating
from lpmos.control.rules import RULE_CALLS
from lpmos.control.schema import SCHEMA_CALLS
from lpmos.control.secrets import SECRET_CALLS
from lpmos.control.services import Services
from lpmos.control.session import SESSION_CALLS
from lpmos.control.socket import live
from lpmos.control.tasks import TASK_CALLS
from lpmos.control.templates import TEMPLATE_CALLS
from lpmos.control.tokens import TOKEN_CALLS
from lpmos.control.unmatched import UNMATCHED_CALLS
from lpmos.control.users import USER_CALLS
from lpmos.control.webhooks import WEBHOOK_CALLS


def routes() -> list[Router | BaseRouteHandler]:
    """Every call, page and socket of the application."""
    return [
        _api("tasks", (*TASK_CALLS, *BULK_CALLS)),
        _api("dead letters", DLQ_CALLS),
        _api("machines", MACHINE_CALLS),
        _api("regions", REGION_CALLS),
        _api("session", (*SESSION_CALLS, *OIDC_CALLS)),
        _api("users", USER_CALLS),
        _api("tokens", TOKEN_CALLS),
        _api("templates", TEMPLATE_CALLS),
        _api("images", IMAGE_CALLS),
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


def create_app(services: Services) -> Litestar:
    """The control plane as an ASGI application over its services."""
    return Litestar(
        route_handlers=routes(),
        dependencies={
            name: _given(getattr(services, name))
            for name in (
                "fleet",
                "tasks",
                "bulk",
                "machines",
                "door",
                "identity",
                "logins",
                "single_sign_on",
                "hub",
                "health",
                "observation",
                "pages",
                "secret_keys",
                "bmcs",
                "templates",
                "images",
                "audit",
                "webhooks",
                "deliveries",
                "rules",
                "dry_runs",
                "unmatched",
            )
        },
        guards=[services.gate],
        before_request=check_request,
        before_send=[services.observation.before_send],
        middleware=[timed, stating(services.hub.revision)],
        exception_handlers={Exception: services.refusals.answer_error},
        request_max_body_size=BODY_LIMIT_BYTES,
        compression_config=CompressionConfig(backend="gzip", minimum_size=1000),
        openapi_config=None,
        on_shutdown=[services.hub.close, services.senders.close, services.single_sign_on.close],
        logging_config=None,
        debug=False,
    )


def _api(tag: str, calls: Sequence[BaseRouteHandler]) -> Router:
    return Router("/api/v1", route_handlers=calls, tags=[tag])


def _given(collaborator: Any) -> Provide:
    return Provide(lambda: collaborator, sync_to_thread=False, use_cache=True)
