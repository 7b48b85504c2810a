"""What can be done with what a call has made (OpenAPI links): its name, and where it goes in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

CREATED = "201"
SHOWN = "200"


class Made(NamedTuple):
    """Where an answer or its request names what there is now, and the calls that take the name."""

    status: str
    names: Mapping[str, str]
    calls: tuple[str, ...]


_TASK = {"task_id": "$response.body#/task_id"}
_MACHINE = {"idc": "$request.path.idc", "sn": "$request.path.sn"}

LINKS: Mapping[str, Made] = MappingProxyType(
    {
        "create_task": Made(
            CREATED,
            _TASK,
            ("show_task", "approve_task", "reject_task", "cancel_task", "show_decision"),
        ),
        "retry_task": Made(CREATED, _TASK, ("show_task", "cancel_task")),
        "requeue_dead_letter": Made(CREATED, _TASK, ("show_task", "cancel_task")),
        "match_report": Made(SHOWN, _TASK, ("show_task",)),
        "change_machine": Made(SHOWN, _MACHINE, ("show_machine", "forget_machine")),
        "put_bmc": Made(SHOWN, _MACHINE, ("show_bmc", "delete_bmc")),
        "create_user": Made(
            CREATED,
            {"name": "$response.body#/name"},
            ("show_user", "change_user", "set_password", "list_sessions", "delete_user"),
        ),
        "create_token": Made(
            CREATED,
            {"token_id": "$response.body#/id", "user": "$response.body#/user"},
            ("revoke_token",),
        ),
        "put_template": Made(
            SHOWN,
            {"name": "$response.body#/name"},
            ("show_template", "list_versions", "preview_template", "delete_template"),
        ),
        "begin_upload": Made(
            CREATED,
            {"upload_id": "$response.body#/upload_id"},
            ("append_upload", "show_upload", "delete_upload"),
        ),
        "create_rule": Made(
            CREATED, {"name": "$response.body#/name"}, ("show_rule", "put_rule", "delete_rule")
        ),
        "create_webhook": Made(
            CREATED,
            {"webhook_id": "$response.body#/webhook_id"},
            ("show_webhook", "change_webhook", "test_webhook", "list_deliveries", "delete_webhook"),
        ),
    }
)
"""By the call that made it."""


def links(operation_id: str) -> dict[str, dict[str, object]]:
    """The links of a call's answers, by status."""
    made = LINKS.get(operation_id)
    if made is None:
        return {}
    linked: dict[str, object] = {
        call: {"operationId": call, "parameters": dict(made.names)} for call in made.calls
    }
    return {made.status: linked}
