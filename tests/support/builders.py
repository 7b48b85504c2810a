"""Whole, valid values of the model; a test names only the fields that matter to it."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from lpmos.model.access import Principal, Role
from lpmos.model.audit import Actor
from lpmos.model.diskplan import GIB
from lpmos.model.image import ImageManifest, OfferedOs
from lpmos.model.inventory import Disk, Inventory, Memory, Nic
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask, TaskSpec
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.region import Capabilities
from lpmos.model.task import StatusChange, Task
from lpmos.model.trace import Span
from lpmos.model.user import User, new_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MAC = "52:54:00:00:00:01"


def actor(name: str = "admin", tenant: str | None = None) -> Actor:
    """Who does something in a test."""
    return Actor(name=name, tenant=tenant)


def make_inventory(**fields: Any) -> Inventory:
    """One blank 8 GiB disk and one NIC."""
    whole = Inventory(
        collected_at=NOW,
        boot_mode="bios",
        memory=Memory(total_bytes=2 * GIB),
        disks=(Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial="DISK01"),),
        nics=(Nic(interface="eth0", mac=MAC, booted=True),),
    )
    return msgspec.structs.replace(whole, **fields)


def make_task(**fields: Any) -> Task:
    """A pending task of machine SN-1 in dc1."""
    status = fields.pop("status", Status.PENDING)
    whole = Task(
        task_id="0b0b6f5e-0000-4000-8000-000000000001",
        idc="dc1",
        sn="SN-1",
        mac=MAC,
        os_type="debian",
        os_version="12",
        hostname="sn-1",
        status=status,
        status_history=(StatusChange(status=status, timestamp=NOW),),
        created_at=NOW,
        updated_at=NOW,
        created_by="admin",
    )
    return msgspec.structs.replace(whole, **fields)


def make_spec(**fields: Any) -> TaskSpec:
    """What `Tasks.create` takes for machine SN-1 in dc1."""
    values = {"idc": "dc1", "sn": "SN-1", "mac": MAC, "os_type": "debian", "os_version": "12"}
    return check_new_task(msgspec.convert({**values, **fields}, NewTask))


def make_manifest(**fields: Any) -> ImageManifest:
    """An image of Debian 12 of 1 GiB unpacked."""
    whole = ImageManifest(
        name="debian-12",
        family="debian",
        os_type="debian",
        os_version="12",
        architecture="x86_64",
        format="tar.zst",
        file="root.tar.zst",
        sha256="ab" * 32,
        size_bytes=GIB // 4,
        unpacked_bytes=GIB,
        built_at=NOW,
    )
    return msgspec.structs.replace(whole, **fields)


def make_capabilities(idc: str = "dc1") -> Capabilities:
    """A region that offers Debian 12."""
    return Capabilities(
        idc=idc,
        offered=(OfferedOs(os_type="debian", os_version="12", unpacked_bytes=GIB),),
        services=("http",),
        version="0.1.0",
        updated_at=NOW,
    )


def make_user(**fields: Any) -> User:
    """An enabled viewer of the provider, without a password."""
    whole = User(
        name="alice",
        user_id=new_id(),
        generation=new_id(),
        roles=(Role.VIEWER,),
        created_at=NOW,
    )
    return msgspec.structs.replace(whole, **fields)


def make_principal(*roles: Role, **fields: Any) -> Principal:
    """A caller of the provider with these roles, an administrator where none is given."""
    whole = Principal(
        subject="admin",
        roles=roles or (Role.ADMIN,),
        expires_at=NOW.replace(year=NOW.year + 1),
        credential="session:1",
    )
    return msgspec.structs.replace(whole, **fields)


def make_span() -> Span:
    """The span of a call that took no time, alone in its trace."""
    return Span(
        trace_id="1" * 32,
        span_id="2" * 16,
        parent_id=None,
        name="GET /x",
        start=NOW,
        end=NOW,
        attributes={},
    )
