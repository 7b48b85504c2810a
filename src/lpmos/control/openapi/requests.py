"""What callers send, as examples: each is valid, and together they tell one story.

A machine in the data center `dc1` gets Debian 12; alice operates it, bob approves.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

JSON, CSV = "application/json", "text/csv"

_TASK = {"idc": "dc1", "mac": "52:54:00:12:34:56", "os_type": "debian", "os_version": "12"}
_STATIC = {
    "idc": "dc1",
    "mac": "52:54:00:12:34:57",
    "sn": "SN-0043",
    "os_type": "debian",
    "os_version": "12",
    "hostname": "web-2",
    "network_config": {
        "address": "192.0.2.10/24",
        "gateway": "192.0.2.1",
        "dns": ["192.0.2.53"],
    },
    "root_disk": {"min_size_bytes": 100_000_000_000, "rotational": False},
    "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5 alice"],
    "tags": {"rack": "r12", "role": "web"},
}
_MIRRORED = {**_TASK, "sn": "SN-0044", "disk_layout": "raid1"}
_PARTITIONED = {
    **_TASK,
    "sn": "SN-0045",
    "disk_layout": {
        "raid": "raid1",
        "members": [{"serial": "DISK01"}, {"serial": "DISK02"}],
        "lvm": True,
        "filesystem": "xfs",
        "swap_bytes": 8 * 2**30,
        "partitions": [
            {"mount": "/", "size_bytes": 40 * 2**30},
            {"mount": "/var", "fill": True, "min_bytes": 100 * 2**30},
        ],
        "erase": "discard",
    },
}
_SET_UP = {
    **_TASK,
    "sn": "SN-0046",
    "setup": {
        "users": [
            {
                "name": "alice",
                "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5 alice"],
                "sudo": "nopasswd",
                "groups": ["adm"],
            }
        ],
        "root_password_hash": "$6$saltsalt$UZpL0g0vQ4n5qSmwJv2Ld1",
        "packages": ["nginx"],
        "commands": ["systemctl enable nginx", "register --token $TOKEN"],
        "secrets": {"TOKEN": "only for the commands"},
        "ansible": {
            "repository": "https://git.example.net/site.git",
            "playbook": "web.yml",
            "branch": "main",
            "variables": {"role": "web"},
        },
        "timezone": "Europe/Berlin",
    },
}
_BURN_IN = {
    "idc": "dc1",
    "mac": "52:54:00:12:34:58",
    "sn": "SN-0047",
    "job": {
        "steps": [
            {"step": "memory_test", "passes": 2},
            {"step": "disk_test"},
            {
                "step": "disk_test",
                "mode": "write",
                "disks": [{"serial": "DISK01", "overwrite": True}],
            },
            {"step": "disk_erase", "disks": [{"serial": "DISK01"}], "level": "discard"},
            {"step": "inventory"},
        ]
    },
}
_RESCUE = {
    "idc": "dc1",
    "mac": "52:54:00:12:34:59",
    "sn": "SN-0048",
    "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5 alice"],
    "job": {"steps": [{"step": "rescue", "minutes": 60, "ssh": True}]},
}
_CSV = (
    "idc,mac,sn,os_type,os_version,hostname,tags.rack\r\n"
    "dc1,52:54:00:12:34:56,SN-0042,debian,12,web-1,r12\r\n"
    "dc1,52:54:00:12:34:57,SN-0043,debian,12,web-2,r12\r\n"
)
_RULE = {
    "kind": "approve",
    "condition": "size(plan.overwrites) == 0 && machine.memory.total_bytes >= 64*GiB",
    "description": "Blank disks in machines with enough memory.",
    "priority": 200,
    "idc": ["dc1"],
}
_CREATING = {
    "kind": "create",
    "condition": "machine.product.vendor == 'Example' && machine.cpu.cores >= 8",
    "task": {"os_type": "debian", "os_version": "12", "hostname": "node-{sn}"},
}
_TEMPLATE = "#!/bin/sh\necho {{ task.hostname }} >> /etc/motd\n"
_PASSWORD = "correct horse battery"  # noqa: S105 - an example that everybody knows

REQUESTS: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {
        ("create_task", JSON): {
            "smallest": _TASK,
            "static address": _STATIC,
            "two disks": _MIRRORED,
            "disks of one's own": _PARTITIONED,
            "users, packages and Ansible": _SET_UP,
            "burn-in": _BURN_IN,
            "rescue": _RESCUE,
        },
        ("create_tasks", JSON): {"two machines": [_TASK, _STATIC]},
        ("create_tasks", CSV): {"two machines": _CSV},
        ("approve_task", JSON): {
            "what was seen": {
                "approved": True,
                "notes": "seen with Carol",
                "plan_digest": "3b8e0f52" * 8,
                "fingerprint": "5f1c90ae" * 8,
            }
        },
        ("reject_task", JSON): {"wrong machine": {"reason": "this is the old storage node"}},
        ("change_machine", JSON): {
            "tags": {"tags": {"rack": "r13", "role": None}},
            "give away": {"tenant": "team-a"},
        },
        ("put_bmc", JSON): {
            "by address": {"address": "192.0.2.90", "username": "ADMIN", "password": _PASSWORD}
        },
        ("log_in_program", JSON): {"alice": {"username": "alice", "password": _PASSWORD}},
        ("refresh_login", JSON): {
            "before it ends": {"refresh_token": "eyJhbGciOiJIUzI1NiJ9.e30.x"}
        },
        ("log_in", JSON): {
            "by password": {"username": "alice", "password": _PASSWORD},
            "by token": {"token": "eyJhbGciOiJIUzI1NiJ9.e30.x"},
        },
        ("finish_oidc", JSON): {
            "allowed": {"state": "af0ifjsldkj", "code": "SplxlOBeZQQYbYS6WxSbIA"}
        },
        ("create_user", JSON): {
            "operator": {
                "name": "alice",
                "roles": ["operator"],
                "password": _PASSWORD,
                "display_name": "Alice Miller",
            },
            "program of a tenant": {"name": "team-a-ci", "roles": ["viewer"], "tenant": "team-a"},
        },
        ("change_user", JSON): {"more to do": {"roles": ["operator", "approver"]}},
        ("set_password", JSON): {
            "own": {"password": "four words that last", "old_password": _PASSWORD}
        },
        ("create_token", JSON): {
            "for a program": {"name": "nightly build", "roles": ["viewer"], "lifetime_days": 30}
        },
        ("put_template", JSON): {"message": {"content": _TEMPLATE, "description": "Who is it?"}},
        ("preview_template", JSON): {
            "as it is stored": {"task_id": "0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0001"}
        },
        ("validate_template", JSON): {"message": {"content": _TEMPLATE}},
        ("begin_upload", JSON): {
            "debian": {
                "name": "debian-12",
                "family": "debian",
                "os_type": "debian",
                "os_version": "12",
                "sha256": "ab" * 32,
                "size_bytes": 268_435_456,
                "unpacked_bytes": 1_073_741_824,
            },
            "the disk of a cloud image": {
                "name": "rocky-9",
                "family": "rhel",
                "os_type": "rocky",
                "os_version": "9",
                "sha256": "cd" * 32,
                "size_bytes": 609_566_720,
                "source_format": "qcow2",
                "network": "networkmanager",
                "cloud_init": True,
                "first_boot": True,
            },
        },
        ("sign_image", JSON): {
            "by a key of image_trusted_keys": {
                "signature": "A" * 86 + "==",
                "public_key": "-----BEGIN PUBLIC KEY-----\n"
                "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\n"
                "-----END PUBLIC KEY-----\n",
            }
        },
        ("create_rule", JSON): {
            "approve": {"name": "blank-disks", **_RULE},
            "zero touch": {"name": "new-nodes", **_CREATING},
        },
        ("put_rule", JSON): {"approve": {**_RULE, "enabled": False}},
        ("dry_run_rule", JSON): {"approve": {"rule": _RULE}},
        ("match_report", JSON): {
            "a task that waits": {"task_id": "0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0001"},
            "a new one": {"create": {"os_type": "debian", "os_version": "12"}},
        },
        ("create_webhook", JSON): {
            "failures": {
                "name": "on call",
                "url": "https://hooks.example.net/lpmos",
                "events": ["task.failed", "region.*"],
            }
        },
        ("change_webhook", JSON): {"pause": {"enabled": False}},
    }
)
"""By the call's id and the media type, the examples of what it takes."""
