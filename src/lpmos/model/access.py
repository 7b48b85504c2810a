"""Who may do what: roles, permissions, tenants, and the one table that joins them.

Every call of the API names one `Permission`; `GRANTS` says which roles have it. A user's tenant
bounds all of it: who has one sees and touches only what belongs to it (X8), and never what is
`provider_only`, whatever the role. The table is drawn into `docs/reference/access.md`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from lpmos.model.errors import Forbidden


class Role(StrEnum):
    """What a person is trusted with; a user may have several."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a call does, as `thing:verb`."""

    SELF = "self:use"
    TASK_READ = "task:read"
    TASK_CREATE = "task:create"
    TASK_CANCEL = "task:cancel"
    TASK_RETRY = "task:retry"
    TASK_APPROVE = "task:approve"
    MACHINE_READ = "machine:read"
    MACHINE_WRITE = "machine:write"
    REGION_READ = "region:read"
    UNMATCHED_READ = "unmatched:read"
    UNMATCHED_HANDLE = "unmatched:handle"
    TEMPLATE_READ = "template:read"
    TEMPLATE_WRITE = "template:write"
    IMAGE_READ = "image:read"
    IMAGE_WRITE = "image:write"
    RULE_READ = "rule:read"
    RULE_WRITE = "rule:write"
    WEBHOOK_READ = "webhook:read"
    WEBHOOK_WRITE = "webhook:write"
    USER_READ = "user:read"
    USER_WRITE = "user:write"
    BREAK_GLASS = "break-glass:handle"
    AUDIT_READ = "audit:read"
    AUDIT_VERIFY = "audit:verify"
    SECRETS_ROTATE = "secrets:rotate"
    METRICS_READ = "metrics:read"


_V, _O, _A, _ADMIN = Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN
_EVERYBODY = frozenset(Role)


class Grant(NamedTuple):
    """Which roles have a permission, and whether it is never a tenant's."""

    roles: frozenset[Role]
    what: str
    provider_only: bool = False


GRANTS: Mapping[Permission, Grant] = MappingProxyType(
    {
        Permission.SELF: Grant(_EVERYBODY, "one's own session, password and API tokens"),
        Permission.TASK_READ: Grant(_EVERYBODY, "see tasks, live messages included"),
        Permission.TASK_CREATE: Grant(frozenset({_O, _ADMIN}), "create tasks, one or many"),
        Permission.TASK_CANCEL: Grant(frozenset({_O, _ADMIN}), "cancel tasks"),
        Permission.TASK_RETRY: Grant(
            frozenset({_O, _ADMIN}), "try a task again, empty the dead-letter queue"
        ),
        Permission.TASK_APPROVE: Grant(
            frozenset({_A, _ADMIN}), "approve and reject: the disk will be written"
        ),
        Permission.MACHINE_READ: Grant(_EVERYBODY, "see machines and their inventory"),
        Permission.MACHINE_WRITE: Grant(
            frozenset({_O, _ADMIN}), "tag machines, set their BMC's credentials, forget them"
        ),
        Permission.REGION_READ: Grant(_EVERYBODY, "see the data centers and what they offer"),
        Permission.UNMATCHED_READ: Grant(
            _EVERYBODY, "see reports of machines without a task", provider_only=True
        ),
        Permission.UNMATCHED_HANDLE: Grant(
            frozenset({_O, _ADMIN}), "match, use or dismiss such reports", provider_only=True
        ),
        Permission.TEMPLATE_READ: Grant(_EVERYBODY, "see, preview and check templates"),
        Permission.TEMPLATE_WRITE: Grant(
            frozenset({_ADMIN}), "change templates", provider_only=True
        ),
        Permission.IMAGE_READ: Grant(_EVERYBODY, "see images"),
        Permission.IMAGE_WRITE: Grant(
            frozenset({_ADMIN}), "upload, verify and delete images", provider_only=True
        ),
        Permission.RULE_READ: Grant(_EVERYBODY, "see rules, and what they would decide"),
        Permission.RULE_WRITE: Grant(frozenset({_ADMIN}), "change rules"),
        Permission.WEBHOOK_READ: Grant(frozenset({_ADMIN}), "see webhooks and their deliveries"),
        Permission.WEBHOOK_WRITE: Grant(frozenset({_ADMIN}), "change and try webhooks"),
        Permission.USER_READ: Grant(frozenset({_ADMIN}), "see users, sessions and API tokens"),
        Permission.USER_WRITE: Grant(
            frozenset({_ADMIN}), "make, change and lock users; revoke their sessions and tokens"
        ),
        Permission.BREAK_GLASS: Grant(
            frozenset({_ADMIN}), "see and revoke tokens signed with the key", provider_only=True
        ),
        Permission.AUDIT_READ: Grant(frozenset({_ADMIN}), "read the audit log"),
        Permission.AUDIT_VERIFY: Grant(
            frozenset({_ADMIN}), "read the whole chain, to verify it", provider_only=True
        ),
        Permission.SECRETS_ROTATE: Grant(
            frozenset({_ADMIN}), "encrypt the stored secrets with a new key", provider_only=True
        ),
        Permission.METRICS_READ: Grant(_EVERYBODY, "read the metrics", provider_only=True),
    }
)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The caller, as the control plane knows it at this moment.

    `credential` says by what it was known: `session:ID`, `token:ID` or `key:ID`.
    """

    subject: str
    roles: tuple[Role, ...]
    tenant: str | None = None
    expires_at: datetime
    credential: str


def permits(roles: Iterable[Role], tenant: str | None, permission: Permission) -> bool:
    """Whether who has these roles, in this tenant (None: the provider), may do it."""
    grant = GRANTS[permission]
    if grant.provider_only and tenant is not None:
        return False
    return not grant.roles.isdisjoint(roles)


def require(principal: Principal, permission: Permission) -> None:
    """Let only those pass who have the permission.

    Raises:
        Forbidden: names what is needed.
    """
    if not permits(principal.roles, principal.tenant, permission):
        raise Forbidden(f"this needs {permission.value}; {principal.subject} has not got it")


def sees(tenant: str | None, owner: str | None) -> bool:
    """Whether users of `tenant` see what belongs to `owner`; the provider's see everything."""
    return tenant is None or tenant == owner
