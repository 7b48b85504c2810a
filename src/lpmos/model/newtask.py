"""What a caller asks for: a new task as it is said, and as it is once it is checked.

The types of its text fields say what the API's description says of them; `lpmos.model.newtaskcheck`
checks them.
"""

from typing import Annotated

import msgspec

from lpmos.model.diskplan import DiskLayout, DiskPassphrase, RootDiskHints, StorageLayout
from lpmos.model.installer import Method
from lpmos.model.job import Job
from lpmos.model.kernelline import KernelArguments
from lpmos.model.machine import (
    HOSTNAME_PATTERN,
    IDC_PATTERN,
    MAC_PATTERN,
    RESERVED_IDCS,
    SN_PATTERN,
    TAG_CHARACTERS,
    TAG_PATTERN,
    TAGS_LIMIT,
    TENANT_PATTERN,
    Mac,
)
from lpmos.model.network import NetworkConfig
from lpmos.model.setup import NO_SECRETS, SSH_KEY_PATTERN, NewSetup, Setup, TaskSecrets

SSH_KEYS_LIMIT = 20
OS_PATTERN = "^[a-z0-9][a-z0-9.-]{0,63}$"


def _text(pattern: str, longest: int, example: str, description: str) -> msgspec.Meta:
    """What the API's description says of a text field."""
    schema = {"pattern": pattern, "maxLength": longest, "examples": [example]}
    return msgspec.Meta(extra_json_schema={"description": description, **schema})


IdcName = Annotated[
    str,
    _text(IDC_PATTERN, 32, "dc1", "The data center."),
    msgspec.Meta(extra_json_schema={"not": {"enum": sorted(RESERVED_IDCS)}}),
]
SerialNumber = Annotated[
    str, _text(SN_PATTERN, 64, "SN-0042", "The serial number; made from the MAC where missing.")
]
MacText = Annotated[
    str,
    _text(MAC_PATTERN, 17, "52:54:00:12:34:56", "The NIC that boots, in any usual notation."),
    msgspec.Meta(extra_json_schema={"not": {"pattern": "^[0:.-]*$"}}),
]
HostName = Annotated[
    str, _text(HOSTNAME_PATTERN, 253, "web-1", "RFC 1123; from the serial number.")
]
TenantName = Annotated[str, _text(TENANT_PATTERN, 32, "team-a", "Whose it is.")]
OsType = Annotated[str, _text(OS_PATTERN, 64, "debian", "What the region offers.")]
OsVersion = Annotated[str, _text(OS_PATTERN, 64, "12", "What the region offers.")]
SshKey = Annotated[
    str,
    _text(SSH_KEY_PATTERN, 4096, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me", "One OpenSSH key."),
]
InstallMethod = Annotated[
    Method | None,
    msgspec.Meta(
        extra_json_schema={
            "description": "By image, or by the distribution's own installer; null: by image where"
            " the region has one, else by installer."
        }
    ),
]
JobAsked = Annotated[
    Job | None,
    msgspec.Meta(
        extra_json_schema={
            "description": "What the agent shall do in place of an install. Then no OS is named,"
            " and of an install nothing is said."
        }
    ),
]
SshKeys = Annotated[
    tuple[SshKey, ...],
    msgspec.Meta(
        extra_json_schema={"maxItems": SSH_KEYS_LIMIT, "description": "Who may log in as root."}
    ),
]
TagKey = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": TAG_PATTERN})]
TagValue = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": TAG_CHARACTERS})]
AllTags = msgspec.Meta(
    extra_json_schema={
        "maxProperties": TAGS_LIMIT,
        "description": "What people say of the machine, by key.",
    }
)
Tags = Annotated[dict[TagKey, TagValue], AllTags]


class NewTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /tasks` takes; the older names are accepted beside the present ones."""

    os_type: OsType | None = None
    os_version: OsVersion | None = None
    idc: IdcName | None = None
    region_id: IdcName | None = None
    mac: MacText | None = None
    target_mac: MacText | None = None
    sn: SerialNumber | None = None
    hostname: HostName | None = None
    disk_layout: DiskLayout = "auto"
    disk_passphrase: DiskPassphrase | None = None
    root_disk: RootDiskHints = RootDiskHints()
    network_config: NetworkConfig = "dhcp"
    ssh_keys: SshKeys = ()
    tags: Tags = {}
    tenant: TenantName | None = None
    method: InstallMethod = None
    kernel_arguments: KernelArguments = ""
    setup: NewSetup = NewSetup()
    job: JobAsked = None


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A checked `NewTask`: every name normalised, every default filled in.

    `secrets` are no part of the task; None: those that the machine's last task had.
    """

    idc: str
    sn: str
    mac: Mac
    os_type: str
    os_version: str
    hostname: str
    disk_layout: str | StorageLayout
    root_disk: RootDiskHints
    network_config: NetworkConfig
    ssh_keys: tuple[str, ...]
    tags: dict[str, str]
    tenant: str | None = None
    method: Method | None = None
    kernel_arguments: str = ""
    setup: Setup = Setup()
    job: Job | None = None
    secrets: TaskSecrets | None = NO_SECRETS


ASKED = tuple(name for name in TaskSpec.__struct_fields__ if name != "secrets")
"""The fields of a task that say what was asked for."""
