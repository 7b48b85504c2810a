"""Examples of what callers get of tasks, machines, regions, images and templates."""

import msgspec

from lpmos.control.openapi.story import AT, LATER, MAC, REVISION, TASK_ID
from lpmos.control.resources.bmc import BmcView
from lpmos.control.resources.bulk import BulkResult
from lpmos.control.resources.dlq import DeadLetterList
from lpmos.control.resources.image_files import ImageItemList, ImageItemView
from lpmos.control.resources.images import ImageList, ImageView, UploadView
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
from lpmos.control.resources.unmatched import MatchedTask, ReportList, ReportSummary, ReportView
from lpmos.control.views.machines import (
    MachineLinks,
    MachineList,
    MachineSummary,
    TaskNow,
    machine_full,
)
from lpmos.control.views.regions import ClientSummary, RegionList, RegionSummary
from lpmos.control.views.tasks import (
    ApprovedTask,
    ApprovedView,
    PageLinks,
    RejectedTask,
    RejectedView,
    RolledBackTask,
    TaskList,
    created,
    full,
    letter_summary,
    retried,
    summary,
)
from lpmos.core.bulk import RowProblem, RowResult, RowStatus
from lpmos.core.duplicates import Duplicate
from lpmos.core.explaining import Explanation
from lpmos.core.machines import StoredMachine
from lpmos.core.statistics import BUCKET_S, Bucket
from lpmos.core.taskrow import row_of_task
from lpmos.core.taskstore import StoredTask
from lpmos.model.diskplan import GIB, LAYOUTS, RootDiskHints, plan_disk
from lpmos.model.durations import Took
from lpmos.model.errors import FieldProblem
from lpmos.model.explain import Cause
from lpmos.model.fetching import Arrival, Fetching
from lpmos.model.image import ImageManifest, OfferedOs
from lpmos.model.inventory import Bios, Cpu, Disk, Inventory, Memory, Nic, Product
from lpmos.model.layers import Layer
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.region import (
    DhcpNetworkState,
    HeldImage,
    HeldInstaller,
    OutboxState,
    ServiceState,
)
from lpmos.model.rollback import next_boot
from lpmos.model.situation import Usual
from lpmos.model.task import RolledBack, StatusChange, Task, TaskError

_DIGEST = "ab" * 32
_NO_PAGES = PageLinks(next=None, prev=None)
_INVENTORY = Inventory(
    collected_at=LATER,
    boot_mode="uefi",
    product=Product(vendor="Example", name="Server 1U", serial="SN-0042"),
    bios=Bios(vendor="Example", version="2.4"),
    cpu=Cpu(model="Example 9 3.0 GHz", vendor="Example", sockets=1, cores=16, threads=32),
    memory=Memory(total_bytes=128 * GIB),
    disks=(Disk(device="/dev/nvme0n1", size_bytes=960 * 10**9, kind="nvme", serial="DISK01"),),
    nics=(Nic(interface="eth0", mac=MAC, speed_mbps=25_000, booted=True),),
)
_WAITING = Task(
    task_id=TASK_ID,
    idc="dc1",
    sn="SN-0042",
    mac=MAC,
    os_type="debian",
    os_version="12",
    hostname="web-1",
    tags={"rack": "r12"},
    status=Status.PENDING_APPROVAL,
    status_history=(
        StatusChange(status=Status.PENDING, timestamp=AT, by="alice"),
        StatusChange(status=Status.READY, timestamp=AT, by="region:dc1"),
        StatusChange(status=Status.PENDING_APPROVAL, timestamp=LATER, by="region:dc1"),
    ),
    logs=("2026-01-02T03:09:05.000Z [INFO] hardware reported; will write /dev/nvme0n1",),
    log_count=1,
    hardware=_INVENTORY,
    plan=plan_disk(_INVENTORY, "auto", RootDiskHints(), GIB),
    created_at=AT,
    updated_at=LATER,
    created_by="alice",
)
_FAILED = msgspec.structs.replace(
    _WAITING,
    status=Status.FAILED,
    status_history=(
        *_WAITING.status_history,
        StatusChange(status=Status.FAILED, timestamp=LATER, by="region:dc1"),
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
    _PENDING, task_id="0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0002", attempt=2, retry_of=TASK_ID
)
_ROW = row_of_task(_WAITING, revision=REVISION)
_MACHINE = Machine(
    idc="dc1",
    sn="SN-0042",
    macs=(MAC,),
    inventory=_INVENTORY,
    tags={"rack": "r12"},
    address="192.0.2.42",
    first_seen_at=AT,
    reported_at=LATER,
    updated_at=LATER,
)
_LINE = MachineSummary(
    idc="dc1",
    sn="SN-0042",
    macs=(MAC,),
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
    address="192.0.2.42",
    installed=None,
    online=True,
    duplicate=True,
    first_seen_at=AT,
    reported_at=LATER,
    updated_at=LATER,
    task=TaskNow(TASK_ID, Status.PENDING_APPROVAL, 0.0, "debian", "12"),
    revision=REVISION,
    links=MachineLinks("/api/v1/machines/dc1/SN-0042", f"/api/v1/tasks/{TASK_ID}"),
)
_REGION = RegionSummary(
    idc="dc1",
    online=True,
    identity="region-1",
    active=ClientSummary(
        identity="region-1",
        since=AT,
        last_heartbeat=LATER,
        address="192.0.2.2",
        api_url="http://192.0.2.2:8081",
        version="0.1.0",
    ),
    standby=(
        ClientSummary(
            identity="region-2",
            since=AT,
            last_heartbeat=LATER,
            address="192.0.2.3",
            api_url="http://192.0.2.3:8081",
            version="0.1.0",
        ),
    ),
    last_heartbeat=LATER,
    services={"dhcp": "ok", "http": "ok", "tftp": "failed: TFTP did not answer in 2 s"},
    health={
        "dhcp": ServiceState(state="ok", since=AT),
        "http": ServiceState(state="ok", since=AT),
        "tftp": ServiceState(state="failed", detail="TFTP did not answer in 2 s", since=LATER),
        "store": ServiceState(state="ok"),
    },
    outbox=OutboxState(waiting=3, size_bytes=2048, oldest_at=AT, kept=120, handed_in=117),
    dhcp=(
        DhcpNetworkState(
            interface="eno1",
            mode="full",
            subnet="192.0.2.0/24",
            range="192.0.2.100-192.0.2.199",
            size=100,
            leases=12,
        ),
    ),
    capabilities=("dhcp", "http", "tftp"),
    offered=(OfferedOs(os_type="debian", os_version="12", unpacked_bytes=GIB),),
    images=(
        HeldImage(
            name="debian-12",
            os_type="debian",
            os_version="12",
            sha256=_DIGEST,
            size_bytes=GIB // 4,
            built_at=AT,
        ),
    ),
    installers=(
        HeldInstaller(
            name="debian-12-installer",
            family="debian",
            os_type="debian",
            os_version="12",
            repository="http://mirror.example.net/debian",
            size_bytes=45_000_000,
            added_at=AT,
        ),
    ),
    layouts=LAYOUTS,
    version="0.1.0",
    updated_at=AT,
    counts={status.value: int(status is Status.PENDING_APPROVAL) for status in Status},
    machines=1,
    unmatched=0,
    fetching=Fetching(
        source="https://lpmos.example.com",
        listed_at=LATER,
        current="debian-13",
        rate_bytes_per_s=11_000_000,
        arriving=(
            Arrival(
                kind="image",
                name="debian-13",
                os_type="debian",
                os_version="13",
                size_bytes=GIB // 4,
                done_bytes=GIB // 8,
            ),
        ),
    ),
)
_TEMPLATE = TemplateView(
    name="debian.motd",
    version=3,
    description="Who is it?",
    content="#!/bin/sh\necho {{ task.hostname }} >> /etc/motd\n",
    updated_by="alice",
    updated_at=AT,
    revision=REVISION,
)
_IMAGE_ITEM = ImageItemView(
    kind="image",
    name="debian-12",
    manifest=msgspec.to_builtins(
        ImageManifest(
            name="debian-12",
            family="debian",
            os_type="debian",
            os_version="12",
            architecture="x86_64",
            format="tar.zst",
            file=f"root-{_DIGEST[:16]}.tar.zst",
            sha256=_DIGEST,
            size_bytes=GIB // 4,
            unpacked_bytes=GIB,
            built_at=AT,
        )
    ),
)
_IMAGE = ImageView(
    name="debian-12",
    os_type="debian",
    os_version="12",
    family="debian",
    architecture="x86_64",
    format="tar.zst",
    sha256=_DIGEST,
    size_bytes=GIB // 4,
    unpacked_bytes=GIB,
    built_at=AT,
    first_boot=True,
    network="systemd-networkd",
)
_REPORT_ID = "dc1-20260102T030405.000006Z-525400123456"

INSTALLING: tuple[msgspec.Struct, ...] = (
    created(_PENDING),
    retried(_AGAIN),
    full(StoredTask(_WAITING, REVISION, past=False)),
    log_after(_WAITING, 0),
    compared(_WAITING, _EARLIER),
    TaskList([summary(_ROW)], 1, 50, 0, _REGION.counts, _NO_PAGES),
    DeadLetterList([letter_summary(row_of_task(_FAILED, revision=9))], 1, 50, 0, _NO_PAGES),
    RolledBackTask(
        task_id=TASK_ID,
        status=Status.FAILED,
        rolled_back=RolledBack(by="alice", at=LATER, generation=3),
        next_boot=next_boot(RolledBack(by="alice", at=LATER, generation=3)),
    ),
    ApprovedTask(
        task_id=TASK_ID,
        approval=ApprovedView(
            status="approved", approved_by="bob", approved_at=LATER, notes="seen with Carol"
        ),
        next_status=Status.INSTALLING,
    ),
    RejectedTask(
        task_id=TASK_ID,
        approval=RejectedView(
            status="rejected",
            rejected_by="bob",
            rejected_at=LATER,
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
                task_id=TASK_ID,
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
        StoredMachine(_MACHINE, _WAITING, REVISION, REVISION),
        _ROW,
        [],
        online=True,
        duplicates=[Duplicate(idc="dc2", sn="SN-0042", field="serial", value="SN-0042")],
    ),
    MachineList([_LINE], 1, 50, 0, _NO_PAGES),
    BmcView(
        idc="dc1",
        sn="SN-0042",
        address="192.0.2.90",
        username="ADMIN",
        password_set=True,
        password_set_at=AT,
    ),
    RegionList([_REGION]),
    _REGION,
    StatisticsView(
        at=LATER,
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
        duplicates=1,
        throughput=[Bucket(at=AT.replace(minute=0, second=0), created=1, completed=0, failed=0)],
    ),
    Explanation(
        task_id=TASK_ID,
        idc="dc1",
        sn="SN-0042",
        status=Status.READY,
        since=AT,
        waited_s=300.0,
        until=None,
        online=True,
        agent_online=None,
        model="Example R1",
        usual=Usual(model="Example R1", count=40, p50_s=65.0, p95_s=110.0),
        parts=(Took(part="ready", count=40, p50_s=65.0, p95_s=110.0),),
        layers=(
            Layer(layer="dhcp", at=LATER, what="asked for an address: on eth0"),
            Layer(layer="address", at=LATER, what="was given 192.0.2.42"),
            Layer(layer="loader", at=None, what="not seen"),
        ),
        causes=(
            Cause(
                code="no-loader",
                cause="It got an address and fetched no boot loader.",
                do="Let UDP 69 through between the machine and the region.",
            ),
        ),
    ),
    TemplateList(
        [
            TemplateSummary(
                name=_TEMPLATE.name,
                version=3,
                description=_TEMPLATE.description,
                updated_by="alice",
                updated_at=AT,
                revision=REVISION,
            )
        ]
    ),
    _TEMPLATE,
    TemplateVersions([msgspec.structs.replace(_TEMPLATE, revision=None)]),
    PreviewView("#!/bin/sh\necho web-1 >> /etc/motd\n"),
    ValidationView(valid=True, errors=[]),
    ImageList([_IMAGE]),
    ImageItemList([_IMAGE_ITEM]),
    _IMAGE,
    UploadView(upload_id="5f0c" * 8, name="debian-12", offset=0, size_bytes=GIB // 4),
    ReportList(
        reports=[
            ReportSummary(
                id=_REPORT_ID,
                idc="dc1",
                mac=MAC,
                sn="SN-0042",
                vendor="Example",
                model="Server 1U",
                cpu_cores=16,
                memory_bytes=128 * GIB,
                disk_sizes_bytes=(960 * 10**9,),
                received_at=LATER,
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
        mac=MAC,
        sn="SN-0042",
        received_at=LATER,
        error="no task for this machine",
        hardware=_INVENTORY,
        known_as=None,
        duplicates=[],
        rules=[],
        revision=REVISION,
    ),
    MatchedTask(task_id=TASK_ID, idc="dc1", sn="SN-0042", mac=MAC, status=Status.PENDING),
)
