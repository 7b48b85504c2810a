"""What callers get, as examples: one of each answer, made by the code that makes the real ones.

They go on with the story of `openapi_requests`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from lpmos.control.oidc.routes import Offer, SignedIn
from lpmos.control.resources.bmc import BmcView
from lpmos.control.resources.bulk import BulkResult
from lpmos.control.resources.dlq import DeadLetterList
from lpmos.control.resources.health import HealthView, StoreHealth
from lpmos.control.resources.images import ImageList, ImageView, UploadView
from lpmos.control.resources.rules import DecisionView, RuleList, RuleView
from lpmos.control.resources.secrets import RotationView, SecretsView
from lpmos.control.resources.session import SessionView, Tokens
from lpmos.control.resources.statistics import RegionFigures, StatisticsView, SystemFigures
from lpmos.control.resources.task_hardware import compared
from lpmos.control.resources.task_logs import log_after
from lpmos.control.resources.templates import (
    PreviewView,
    TemplateList,
    TemplateSummary,
    TemplateVersions,
    TemplateView,
    ValidationView,
)
from lpmos.control.resources.tokens import (
    CreatedToken,
    KeyTokenList,
    KeyTokenView,
    TokenList,
    TokenView,
)
from lpmos.control.resources.unmatched import MatchedTask, ReportList, ReportSummary, ReportView
from lpmos.control.resources.users import SessionInfo, SessionInfos, UserList, UserView
from lpmos.control.resources.webhooks import (
    DeliveryList,
    DeliveryView,
    MadeWebhookView,
    TestResult,
    WebhookList,
    WebhookView,
)
from lpmos.control.views.machines import (
    MachineLinks,
    MachineList,
    MachineSummary,
    TaskNow,
    machine_full,
)
from lpmos.control.views.regions import RegionList, RegionSummary
from lpmos.control.views.tasks import (
    ApprovedTask,
    ApprovedView,
    PageLinks,
    RejectedTask,
    RejectedView,
    TaskList,
    created,
    full,
    letter_summary,
    retried,
    summary,
)
from lpmos.core.audit.reader import AuditPage
from lpmos.core.bulk import RowProblem, RowResult, RowStatus
from lpmos.core.machines import StoredMachine
from lpmos.core.rules.dry_run import DryRunLine, DryRunResult
from lpmos.core.rules.rules import RuleVerdict
from lpmos.core.secrets.rotation import KeyUse, Rotation
from lpmos.core.statistics import BUCKET_S, Bucket
from lpmos.core.taskrow import row_of_task
from lpmos.core.taskstore import StoredTask
from lpmos.model.access import Permission, Role
from lpmos.model.audit import Actor, Anchor, AuditEvent, Head, chained
from lpmos.model.auditcheck import ChainPage
from lpmos.model.diskplan import GIB, LAYOUTS, RootDiskHints, plan_disk
from lpmos.model.errors import FieldProblem
from lpmos.model.image import OfferedOs
from lpmos.model.inventory import Bios, Cpu, Disk, Inventory, Memory, Nic, Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.region import HeldImage, ServiceState
from lpmos.model.task import Approval, StatusChange, Task, TaskError
from lpmos.model.webhook import Attempt, DeliveryState

_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_LATER = _AT + timedelta(minutes=5)
_DAY = timedelta(days=1)
_TASK_ID = "0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0001"
_MAC = "52:54:00:12:34:56"
_DIGEST = "ab" * 32
_NO_PAGES = PageLinks(next=None, prev=None)
_REVISION = 4711

_INVENTORY = Inventory(
    collected_at=_LATER,
    boot_mode="uefi",
    product=Product(vendor="Example", name="Server 1U", serial="SN-0042"),
    bios=Bios(vendor="Example", version="2.4"),
    cpu=Cpu(model="Example 9 3.0 GHz", vendor="Example", sockets=1, cores=16, threads=32),
    memory=Memory(total_bytes=128 * GIB),
    disks=(Disk(device="/dev/nvme0n1", size_bytes=960 * 10**9, kind="nvme", serial="DISK01"),),
    nics=(Nic(interface="eth0", mac=_MAC, speed_mbps=25_000, booted=True),),
)
_WAITING = Task(
    task_id=_TASK_ID,
    idc="dc1",
    sn="SN-0042",
    mac=_MAC,
    os_type="debian",
    os_version="12",
    hostname="web-1",
    tags={"rack": "r12"},
    status=Status.PENDING_APPROVAL,
    status_history=(
        StatusChange(status=Status.PENDING, timestamp=_AT, by="alice"),
        StatusChange(status=Status.READY, timestamp=_AT, by="region:dc1"),
        StatusChange(status=Status.PENDING_APPROVAL, timestamp=_LATER, by="region:dc1"),
    ),
    logs=("2026-01-02T03:09:05.000Z [INFO] hardware reported; will write /dev/nvme0n1",),
    log_count=1,
    hardware=_INVENTORY,
    plan=plan_disk(_INVENTORY, "auto", RootDiskHints(), GIB),
    created_at=_AT,
    updated_at=_LATER,
    created_by="alice",
)
_FAILED = msgspec.structs.replace(
    _WAITING,
    status=Status.FAILED,
    status_history=(
        *_WAITING.status_history,
        StatusChange(status=Status.FAILED, timestamp=_LATER, by="region:dc1"),
    ),
    error=TaskError(reason="the disk cannot be written", command="sgdisk --zap-all /dev/nvme0n1"),
)
_PENDING = msgspec.structs.replace(
    _WAITING,
    status=Status.PENDING,
    status_history=_WAITING.status_history[:1],
    hardware=None,
    plan=None,
)
_EARLIER = msgspec.structs.replace(
    _WAITING,
    task_id="0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0000",
    hardware=msgspec.structs.replace(_INVENTORY, bios=Bios(vendor="Example", version="2.3")),
)
_AGAIN = msgspec.structs.replace(
    _PENDING, task_id="0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0002", attempt=2, retry_of=_TASK_ID
)
_ROW = row_of_task(_WAITING, revision=_REVISION)
_MACHINE = Machine(
    idc="dc1",
    sn="SN-0042",
    macs=(_MAC,),
    inventory=_INVENTORY,
    tags={"rack": "r12"},
    first_seen_at=_AT,
    reported_at=_LATER,
    updated_at=_LATER,
)
_LINE = MachineSummary(
    idc="dc1",
    sn="SN-0042",
    macs=(_MAC,),
    vendor="Example",
    product="Server 1U",
    cpu=_INVENTORY.cpu.model,
    cores=16,
    memory_bytes=128 * GIB,
    disks=1,
    disk_bytes=960 * 10**9,
    bmc_address=None,
    tags={"rack": "r12"},
    tenant=None,
    installed=None,
    online=True,
    first_seen_at=_AT,
    reported_at=_LATER,
    updated_at=_LATER,
    task=TaskNow(_TASK_ID, Status.PENDING_APPROVAL, 0.0, "debian", "12"),
    revision=_REVISION,
    links=MachineLinks("/api/v1/machines/dc1/SN-0042", f"/api/v1/tasks/{_TASK_ID}"),
)
_REGION = RegionSummary(
    idc="dc1",
    online=True,
    identity="region-1:812",
    last_heartbeat=_LATER,
    services={"dhcp": "ok", "http": "ok", "tftp": "failed: TFTP did not answer in 2 s"},
    health={
        "dhcp": ServiceState(state="ok", since=_AT),
        "http": ServiceState(state="ok", since=_AT),
        "tftp": ServiceState(state="failed", detail="TFTP did not answer in 2 s", since=_LATER),
        "store": ServiceState(state="ok"),
    },
    capabilities=("dhcp", "http", "tftp"),
    offered=(OfferedOs(os_type="debian", os_version="12", unpacked_bytes=GIB),),
    images=(
        HeldImage(
            name="debian-12",
            os_type="debian",
            os_version="12",
            sha256=_DIGEST,
            size_bytes=GIB // 4,
            built_at=_AT,
        ),
    ),
    layouts=LAYOUTS,
    version="0.1.0",
    updated_at=_AT,
    counts={status.value: int(status is Status.PENDING_APPROVAL) for status in Status},
    machines=1,
    unmatched=0,
)
_USER = UserView(
    name="alice",
    display_name="Alice Miller",
    roles=(Role.OPERATOR,),
    tenant=None,
    disabled=False,
    source="local",
    has_password=True,
    created_at=_AT,
    revision=_REVISION,
)
_TOKEN = TokenView(
    id="7a" * 16,
    user="alice",
    name="nightly build",
    roles=(Role.VIEWER,),
    created_at=_AT,
    expires_at=_AT + 30 * _DAY,
    last_used_at=None,
)
_TEMPLATE = TemplateView(
    name="debian.motd",
    version=3,
    description="Who is it?",
    content="#!/bin/sh\necho {{ task.hostname }} >> /etc/motd\n",
    updated_by="alice",
    updated_at=_AT,
    revision=_REVISION,
)
_IMAGE = ImageView(
    name="debian-12",
    os_type="debian",
    os_version="12",
    family="debian",
    sha256=_DIGEST,
    size_bytes=GIB // 4,
    unpacked_bytes=GIB,
    built_at=_AT,
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
    task=None,
    created_at=_AT,
    changed_at=_AT,
    changed_by="alice",
    revision=_REVISION,
)
_VERDICT = RuleVerdict(
    rule="blank-disks", priority=200, matched=True, reason="size(plan.overwrites) is 0"
)
_REPORT_ID = "dc1-20260102T030405.000006Z-525400123456"
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
    url_set_at=_AT,
    secret_set_at=_AT,
    previous_secret_until=None,
    waiting=0,
    created_at=_AT,
    created_by="alice",
    revision=_REVISION,
)
_EVENT = AuditEvent(
    event_id="20260102T030405.000006Z-0123456789ab",
    at=_AT,
    action="task.failed",
    actor=Actor(name="region:dc1"),
    target=f"task/{_TASK_ID}",
    idc="dc1",
    sn="SN-0042",
)
_ENTRY = chained(_EVENT, 1, Anchor().previous)
_DELIVERY = DeliveryView(
    event_id=_EVENT.event_id,
    type=_EVENT.action,
    status=DeliveryState.SENT,
    created_at=_AT,
    next_at=None,
    done_at=_AT,
    tries=1,
    attempts=(Attempt(at=_AT, duration_ms=84, status=204),),
    payload={"id": _EVENT.event_id, "type": _EVENT.action},
)
_APPROVAL = Approval(
    approved=True, status="approved", approved_by="bob", approved_at=_LATER, notes="seen with Carol"
)

_SHOWN: tuple[msgspec.Struct, ...] = (
    created(_PENDING),
    retried(_AGAIN),
    full(StoredTask(_WAITING, _REVISION, past=False)),
    log_after(_WAITING, 0),
    compared(_WAITING, _EARLIER),
    TaskList([summary(_ROW)], 1, 50, 0, _REGION.counts, _NO_PAGES),
    DeadLetterList([letter_summary(row_of_task(_FAILED, revision=9))], 1, 50, 0, _NO_PAGES),
    ApprovedTask(
        task_id=_TASK_ID,
        approval=ApprovedView(
            status="approved", approved_by="bob", approved_at=_LATER, notes="seen with Carol"
        ),
        next_status=Status.INSTALLING,
    ),
    RejectedTask(
        task_id=_TASK_ID,
        approval=RejectedView(
            status="rejected",
            rejected_by="bob",
            rejected_at=_LATER,
            reason="this is the old storage node",
        ),
    ),
    BulkResult(
        dry_run=False,
        atomic=False,
        total=2,
        counts={"created": 1, "invalid": 1},
        rows=[
            RowResult(
                row=1,
                line=2,
                status=RowStatus.CREATED,
                idc="dc1",
                sn="SN-0042",
                task_id=_TASK_ID,
                task_status=Status.PENDING,
            ),
            RowResult(
                row=2,
                line=3,
                status=RowStatus.INVALID,
                problem=RowProblem(
                    code="invalid-input",
                    detail="mac: 'x' is not a MAC address",
                    errors=(FieldProblem("mac", "'x' is not a MAC address"),),
                ),
            ),
        ],
    ),
    machine_full(
        "dc1",
        "SN-0042",
        StoredMachine(_MACHINE, _WAITING, _REVISION, _REVISION),
        _ROW,
        [],
        online=True,
    ),
    MachineList([_LINE], 1, 50, 0, _NO_PAGES),
    BmcView(
        idc="dc1",
        sn="SN-0042",
        address="192.0.2.90",
        username="ADMIN",
        password_set=True,
        password_set_at=_AT,
    ),
    RegionList([_REGION]),
    _REGION,
    StatisticsView(
        at=_LATER,
        hours=6,
        bucket_s=BUCKET_S,
        refresh_s=10,
        total=1,
        counts=_REGION.counts,
        regions=[
            RegionFigures(idc="dc1", online=True, total=1, counts=_REGION.counts, unmatched=0)
        ],
        systems=[SystemFigures(os_type="debian", os_version="12", total=1, counts=_REGION.counts)],
        unmatched=0,
        throughput=[Bucket(at=_AT.replace(minute=0, second=0), created=1, completed=0, failed=0)],
    ),
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
        expires_at=_AT + timedelta(hours=12),
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
                created_at=_AT,
                expires_at=_AT + _DAY,
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
                first_used_at=_AT,
                address="192.0.2.7",
                expires_at=_AT + _DAY,
                revoked=False,
            )
        ]
    ),
    TemplateList(
        [
            TemplateSummary(
                name=_TEMPLATE.name,
                version=3,
                description=_TEMPLATE.description,
                updated_by="alice",
                updated_at=_AT,
                revision=_REVISION,
            )
        ]
    ),
    _TEMPLATE,
    TemplateVersions([msgspec.structs.replace(_TEMPLATE, revision=None)]),
    PreviewView("#!/bin/sh\necho web-1 >> /etc/motd\n"),
    ValidationView(valid=True, errors=[]),
    ImageList([_IMAGE]),
    _IMAGE,
    UploadView(upload_id="5f0c" * 8, name="debian-12", offset=0, size_bytes=GIB // 4),
    SecretsView(
        source="file",
        current="2026-01",
        keys=[KeyUse(key_id="2026-01", values=12, present=True, current=True)],
        rotation=Rotation(key_id="2026-01", started_at=_AT, finished_at=_LATER, rewrapped=12),
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
                mac=_MAC,
                unmatched=False,
                matched=True,
                reason=_VERDICT.reason,
            )
        ],
    ),
    DecisionView(
        task_id=_TASK_ID,
        status=Status.APPROVED,
        waits_for=None,
        approval=_APPROVAL,
        rules=[_VERDICT],
    ),
    ReportList(
        reports=[
            ReportSummary(
                id=_REPORT_ID,
                idc="dc1",
                mac=_MAC,
                sn="SN-0042",
                vendor="Example",
                model="Server 1U",
                cpu_cores=16,
                memory_bytes=128 * GIB,
                disk_sizes_bytes=(960 * 10**9,),
                received_at=_LATER,
                error="no task for this machine",
            )
        ],
        total=1,
        limit=50,
        offset=0,
        counts={"dc1": 1},
        alert=False,
        alert_over=10,
    ),
    ReportView(
        id=_REPORT_ID,
        idc="dc1",
        mac=_MAC,
        sn="SN-0042",
        received_at=_LATER,
        error="no task for this machine",
        hardware=_INVENTORY,
        known_as=None,
        rules=[],
        revision=_REVISION,
    ),
    MatchedTask(task_id=_TASK_ID, idc="dc1", sn="SN-0042", mac=_MAC, status=Status.PENDING),
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
        store=StoreHealth(connected=True, healthy=True, backend="etcd", revision=_REVISION),
    ),
)

ANSWERS: Mapping[type, Any] = MappingProxyType(
    {type(each): msgspec.to_builtins(each) for each in _SHOWN}
)
"""By the answer's type."""
