"""The one table of what a call does, in the words of the audit log.

A refused attempt has the action of what would have been done, with the outcome `refused`: so a
search by `action` finds both. A call that may make or change a thing (`PUT`) stands as a change.
"""

from collections.abc import Mapping
from types import MappingProxyType

ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "create_task": "task.created",
        "create_tasks": "task.created",
        "retry_task": "task.created",
        "requeue_dead_letter": "task.created",
        "cancel_task": "task.cancelled",
        "roll_back_task": "task.rolled-back",
        "approve_task": "task.approved",
        "reject_task": "task.rejected",
        "dismiss_dead_letter": "dead_letter.dismissed",
        "change_machine": "machine.changed",
        "forget_machine": "machine.forgotten",
        "put_bmc": "bmc.changed",
        "delete_bmc": "bmc.deleted",
        "dismiss_report": "unmatched-report.dismissed",
        "match_report": "task.matched",
        "log_in": "session.opened",
        "log_in_program": "session.opened",
        "finish_oidc": "session.opened",
        "refresh_login": "session.refreshed",
        "log_out": "session.ended",
        "log_out_program": "session.ended",
        "end_session": "session.ended",
        "end_sessions": "user.sessions-ended",
        "create_user": "user.created",
        "change_user": "user.changed",
        "delete_user": "user.deleted",
        "set_password": "user.password-changed",
        "create_token": "token.created",
        "revoke_token": "token.revoked",
        "revoke_key_token": "key-token.revoked",
        "put_template": "template.changed",
        "delete_template": "template.deleted",
        "preview_template": "template.previewed",
        "validate_template": "template.validated",
        "begin_upload": "image.added",
        "append_upload": "image.added",
        "delete_upload": "upload.deleted",
        "sign_image": "image.signed",
        "verify_image": "image.verified",
        "delete_image": "image.deleted",
        "rotate_secrets": "secrets.rotating",
        "remove_key": "secrets.key_removed",
        "create_rule": "rule.created",
        "put_rule": "rule.changed",
        "delete_rule": "rule.deleted",
        "dry_run_rule": "rule.tried",
        "create_webhook": "webhook.created",
        "change_webhook": "webhook.changed",
        "delete_webhook": "webhook.deleted",
        "test_webhook": "webhook.test",
        "rotate_webhook_secret": "webhook.secret_rotated",
        "redeliver": "delivery.redelivered",
    }
)
"""By the name of the call, what is in the log once it is done."""

UNKNOWN = "request.made"
"""What a call of no row is told as: a path that nothing answers."""
