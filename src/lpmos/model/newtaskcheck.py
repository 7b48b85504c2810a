"""The check of a new task: every field, so that all that is wrong is named at once."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from lpmos.model.diskplan import is_encrypted, layout_problems
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.job import JOB_OS, job_problems
from lpmos.model.kernelline import parse_kernel_arguments
from lpmos.model.machine import (
    hostname_from_sn,
    parse_hostname,
    parse_idc,
    parse_mac,
    parse_sn,
    parse_tenant,
    sn_from_mac,
    tag_problems,
)
from lpmos.model.network import network_problems
from lpmos.model.newtask import OS_PATTERN, SSH_KEYS_LIMIT, NewTask, TaskSpec
from lpmos.model.setup import SSH_KEY_PATTERN, setup_problems
from lpmos.model.windows import OS_TYPE as WINDOWS
from lpmos.model.windows import windows_problems

T = TypeVar("T")

TEXT_LIMIT_BYTES = 16_384
"""What SSH keys and tags of one task may take together: its document has a limit (S13)."""
_OS = re.compile(OS_PATTERN)
_SSH_KEY = re.compile(SSH_KEY_PATTERN.removeprefix("^").removesuffix("$"))
_OF_INSTALLS = (
    "os_type",
    "os_version",
    "disk_layout",
    "disk_passphrase",
    "root_disk",
    "network_config",
    "method",
    "kernel_arguments",
    "setup",
)
"""The fields of a new task that a job does not have."""
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(NewTask)}


def check_new_task(new: NewTask) -> TaskSpec:
    """Check every field, and report all that is wrong at once.

    Raises:
        InvalidInput: names each wrong field.
    """
    problems: list[FieldProblem] = []

    def checked(parse: Callable[[str, str], T], text: str | None, field: str) -> T | None:
        if text is None:
            problems.append(FieldProblem(field, "is missing"))
            return None
        try:
            return parse(text, field)
        except InvalidInput as error:
            problems.extend(error.problems)
            return None

    idc = checked(parse_idc, *_either(new, "idc", "region_id", problems))
    mac = checked(parse_mac, *_either(new, "mac", "target_mac", problems))
    sn = checked(parse_sn, new.sn, "sn") if new.sn is not None else mac and sn_from_mac(mac)
    hostname = (
        checked(parse_hostname, new.hostname, "hostname")
        if new.hostname is not None
        else sn and hostname_from_sn(sn)
    )
    if new.tenant is not None:
        checked(parse_tenant, new.tenant, "tenant")
    checked(parse_kernel_arguments, new.kernel_arguments, "kernel_arguments")
    system = _system(new, problems)
    problems += _other_problems(new)
    if new.os_type == WINDOWS:
        problems += windows_problems(new, hostname)
    if problems or idc is None or mac is None or sn is None or hostname is None:
        raise InvalidInput(*problems)
    setup, secrets = new.setup.parted()
    secrets = msgspec.structs.replace(secrets, disk_passphrase=new.disk_passphrase)
    return TaskSpec(
        idc=idc,
        sn=sn,
        mac=mac,
        os_type=system[0],
        os_version=system[1],
        hostname=hostname,
        disk_layout=new.disk_layout,
        root_disk=new.root_disk,
        network_config=new.network_config,
        ssh_keys=new.ssh_keys,
        tags=new.tags,
        tenant=new.tenant,
        method=new.method,
        kernel_arguments=new.kernel_arguments,
        setup=setup,
        job=new.job,
        secrets=secrets,
    )


def of_tenant(spec: TaskSpec, tenant: str | None) -> TaskSpec:
    """The specification as users of `tenant` may give it: what they create is their tenant's.

    Raises:
        InvalidInput: it names another tenant.
    """
    if tenant is None or spec.tenant == tenant:
        return spec
    if spec.tenant is not None:
        raise InvalidInput(FieldProblem("tenant", f"must be {tenant}"))
    return msgspec.structs.replace(spec, tenant=tenant)


def _either(
    new: NewTask, name: str, older: str, problems: list[FieldProblem]
) -> tuple[str | None, str]:
    """The value of a field that has an older name, and the name under which it came."""
    value, old_value = getattr(new, name), getattr(new, older)
    if value is not None and old_value is not None and value != old_value:
        problems.append(FieldProblem(older, f"contradicts {name}"))
    return (old_value, older) if value is None and old_value is not None else (value, name)


def _system(new: NewTask, problems: list[FieldProblem]) -> tuple[str, str]:
    """The OS of an install; the name and the steps of a job, which has nothing else of one."""
    if new.job is not None:
        problems += [
            FieldProblem(name, "is for an install, and this task is a job")
            for name in _OF_INSTALLS
            if getattr(new, name) != _DEFAULTS[name]
        ]
        problems += job_problems(new.job, new.ssh_keys)
        return JOB_OS, new.job.title
    wrong = "must be up to 64 of a-z, 0-9, '.', '-', a letter or digit first"
    system = (new.os_type, new.os_version)
    for name, value in zip(("os_type", "os_version"), system, strict=True):
        if value is None:
            problems.append(FieldProblem(name, "is missing; or say a job"))
        elif not _OS.fullmatch(value) or (name == "os_type" and value == JOB_OS):
            problems.append(FieldProblem(name, wrong if value != JOB_OS else "stands for jobs"))
    return new.os_type or "", new.os_version or ""


def _other_problems(new: NewTask) -> list[FieldProblem]:
    problems = network_problems(new.network_config)
    problems += layout_problems(new.disk_layout, new.root_disk)
    if is_encrypted(new.disk_layout) != (new.disk_passphrase is not None):
        wrong = "is for a disk_layout with encrypt"
        text = wrong if new.disk_passphrase else "is missing, and disk_layout has encrypt"
        problems.append(FieldProblem("disk_passphrase", text))
    if len(new.ssh_keys) > SSH_KEYS_LIMIT:
        problems.append(FieldProblem("ssh_keys", f"more than {SSH_KEYS_LIMIT} keys"))
    problems += [
        FieldProblem(f"ssh_keys.{number}", "is not one line of an OpenSSH public key")
        for number, key in enumerate(new.ssh_keys)
        if len(key) > 4096 or not _SSH_KEY.fullmatch(key)
    ]
    size_bytes = sum(len(text.encode()) for text in (*new.ssh_keys, *new.tags, *new.tags.values()))
    if size_bytes > TEXT_LIMIT_BYTES:
        problems.append(
            FieldProblem("ssh_keys", f"with the tags over {TEXT_LIMIT_BYTES} bytes together")
        )
    problems += tag_problems(new.tags)
    problems += setup_problems(new.setup)
    return problems
