"""Examples of what callers get of access, audit, secrets, rules, webhooks and health."""

from datetime import timedelta

import msgspec

from lpmos.control.oidc.routes import Offer, SignedIn
from lpmos.control.openapi.story import AT, LATER, MAC, REVISION, TASK_ID
from lpmos.control.resources.health import HealthView, StoreHealth
from lpmos.control.resources.rules import DecisionView, RuleList, RuleView
from lpmos.control.resources.secrets import RotationView, SecretsView
from lpmos.control.resources.session import SessionView, Tokens
from lpmos.control.resources.tokens import (
    CreatedToken,
    KeyTokenList,
    KeyTokenView,
    TokenList,
    TokenView,
)
from lpmos.control.resources.users import SessionInfo, SessionInfos, UserList, UserView
from lpmos.control.resources.webhooks import (
    DeliveryList,
    DeliveryView,
    MadeWebhookView,
    TestResult,
    WebhookList,
    WebhookView,
)
from lpmos.core.audit.reader import AuditPage
from lpmos.core.rules.dry_run import DryRunLine, DryRunResult
from lpmos.core.rules.rules import RuleVerdict
from lpmos.core.secrets.rotation import KeyUse, Rotation
from lpmos.model.access import Permission, Role
from lpmos.model.audit import Actor, Anchor, AuditEvent, Head, chained
from lpmos.model.auditcheck import ChainPage
from lpmos.model.diskplan import GIB
from lpmos.model.lifecycle import Status
from lpmos.model.task import Approval
from lpmos.model.webhook import Attempt, DeliveryState

_DAY = timedelta(days=1)
_USER = UserView(
    name="alice",
    display_name="Alice Miller",
    roles=(Role.OPERATOR,),
    tenant=None,
    disabled=False,
    source="local",
    has_password=True,
    created_at=AT,
    revision=REVISION,
)
_TOKEN = TokenView(
    id="7a" * 16,
    user="alice",
    name="nightly build",
    roles=(Role.VIEWER,),
    created_at=AT,
    expires_at=AT + 30 * _DAY,
    last_used_at=None,
)
_RULE = RuleView(
    name="blank-disks",
    kind="approve",
    condition="size(plan.overwrites) == 0 && machine.memory.total_bytes >= 64*GiB",
    description="Blank disks in machines with enough memory.",
    enabled=True,
    priority=200,
    idc=("dc1",),
    tenant=None,
    allow_overwrite=False,
    jobs="none",
    task=None,
    created_at=AT,
    changed_at=AT,
    changed_by="alice",
    revision=REVISION,
)
_VERDICT = RuleVerdict(
    rule="blank-disks", priority=200, matched=True, reason="size(plan.overwrites) is 0"
)
_WEBHOOK = WebhookView(
    webhook_id="9b" * 16,
    name="on call",
    url="https://hooks.example.net/…",
    events=("task.failed", "region.*"),
    idc=None,
    tenant=None,
    enabled=True,
    disabled_reason=None,
    signed=True,
    url_set_at=AT,
    secret_set_at=AT,
    previous_secret_until=None,
    waiting=0,
    created_at=AT,
    created_by="alice",
    revision=REVISION,
)
_EVENT = AuditEvent(
    event_id="20260102T030405.000006Z-0123456789ab",
    at=AT,
    action="task.failed",
    actor=Actor(name="region:dc1"),
    target=f"task/{TASK_ID}",
    idc="dc1",
    sn="SN-0042",
)
_ENTRY = chained(_EVENT, 1, Anchor().previous)
_DELIVERY = DeliveryView(
    event_id=_EVENT.event_id,
    type=_EVENT.action,
    status=DeliveryState.SENT,
    created_at=AT,
    next_at=None,
    done_at=AT,
    tries=1,
    attempts=(Attempt(at=AT, duration_ms=84, status=204),),
    payload={"id": _EVENT.event_id, "type": _EVENT.action},
)
_APPROVAL = Approval(
    approved=True, status="approved", approved_by="bob", approved_at=LATER, notes="seen with Carol"
)

OPERATING: tuple[msgspec.Struct, ...] = (
    Tokens(
        access_token="eyJhbGciOiJIUzI1NiJ9.e30.a",  # noqa: S106 - nobody's token
        refresh_token="eyJhbGciOiJIUzI1NiJ9.e30.r",  # noqa: S106 - nobody's token
        expires_in=900,
    ),
    SessionView(
        name="alice",
        display_name="Alice Miller",
        roles=(Role.OPERATOR,),
        tenant=None,
        permissions=(Permission.SELF, Permission.TASK_READ, Permission.TASK_CREATE),
        expires_at=AT + timedelta(minutes=15),
        session_ends_at=AT + timedelta(hours=12),
    ),
    Offer(configured=True),
    SignedIn(next="/"),
    UserList(users=[_USER], total=1, limit=50, offset=0),
    _USER,
    SessionInfos(
        sessions=[
            SessionInfo(
                id="c0ffee00" * 4,
                kind="program",
                created_at=AT,
                expires_at=AT + _DAY,
                address="192.0.2.7",
                user_agent="lpmos/0.1.0",
                current=True,
            )
        ]
    ),
    TokenList(tokens=[_TOKEN]),
    CreatedToken(
        id=_TOKEN.id,
        token="lpmos_0123456789abcdef",  # noqa: S106 - nobody's token
        user="alice",
        name=_TOKEN.name,
        roles=_TOKEN.roles,
        expires_at=_TOKEN.expires_at,
    ),
    KeyTokenList(
        key_tokens=[
            KeyTokenView(
                id="3f2a8f0e-58a5-4a1f-9a0b-5d1f0c2b7e11",
                subject="first-admin",
                roles=(Role.ADMIN,),
                first_used_at=AT,
                address="192.0.2.7",
                expires_at=AT + _DAY,
                revoked=False,
            )
        ]
    ),
    SecretsView(
        source="file",
        current="2026-01",
        keys=[KeyUse(key_id="2026-01", values=12, present=True, current=True)],
        rotation=Rotation(key_id="2026-01", started_at=AT, finished_at=LATER, rewrapped=12),
    ),
    RotationView(key_id="2026-01", done=True, rewrapped_now=12, rewrapped=12, failed=[]),
    AuditPage(entries=(_ENTRY,), next=None),
    _ENTRY,
    ChainPage(anchor=Anchor(), head=Head(seq=1, digest=_ENTRY.digest), entries=(_ENTRY,)),
    _RULE,
    RuleList([_RULE], 1, 200, 0),
    DryRunResult(
        total=1,
        looked_at=1,
        matched=1,
        not_matched=0,
        complete=True,
        machines=[
            DryRunLine(
                idc="dc1",
                sn="SN-0042",
                mac=MAC,
                unmatched=False,
                matched=True,
                reason=_VERDICT.reason,
            )
        ],
    ),
    DecisionView(
        task_id=TASK_ID,
        status=Status.APPROVED,
        waits_for=None,
        approval=_APPROVAL,
        rules=[_VERDICT],
    ),
    _WEBHOOK,
    WebhookList([_WEBHOOK], 1, 50, 0),
    MadeWebhookView(**msgspec.structs.asdict(_WEBHOOK), secret="whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),  # noqa: S106
    TestResult(accepted=True, status=204, error=None, duration_ms=84),
    _DELIVERY,
    DeliveryList([_DELIVERY], 1, 50, 0),
    HealthView(
        status="ok",
        live=True,
        ready=True,
        store=StoreHealth(
            connected=True,
            healthy=True,
            backend="etcd",
            revision=REVISION,
            size_bytes=GIB // 16,
            in_use_bytes=GIB // 32,
        ),
    ),
)
