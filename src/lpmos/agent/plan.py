"""The install plan as the agent takes it from the wire, checked before anything is believed.

The same shape as `lpmos.model.installplan`, declared once more because the agent stands alone; a
contract test holds the two together. Unknown fields are ignored, so a newer region can send more.
"""

from typing import NamedTuple

from lpmos.agent.diskplan import Disk, parse_disk
from lpmos.agent.fields import mapping, not_understood, optional, sequence, take


class Image(NamedTuple):
    """The root archive, or the disk of `disk_bytes` that it unpacks to.

    `url` is a path on the region, `sha256` lower-case hex.
    """

    name: str
    url: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int
    disk_bytes: int | None = None


class File(NamedTuple):
    """A file for the new root."""

    path: str
    content: str
    mode: int


class Step(NamedTuple):
    """A script that runs in the new root; `secrets` are what must not be said of it."""

    title: str
    script: str
    timeout_s: int
    secrets: tuple[str, ...]


class Plan(NamedTuple):
    """One installation.

    With the files of `first_boot` the installed system tells the region that it came up; where
    there are none, the agent's word that all is written completes the task.
    """

    task_id: str
    intent_id: str
    hostname: str
    image: Image
    disk: Disk
    files: tuple[File, ...]
    boot_entry: str
    kernel_arguments: str
    first_boot: tuple[File, ...] = ()
    steps: tuple[Step, ...] = ()
    disk_passphrase: str | None = None


def parse_plan(document: object) -> Plan:
    """Check and take the plan of an approval.

    Raises:
        InstallError: a field is missing, of the wrong type, or asks for what this agent cannot do.
    """
    plan = mapping(document, "plan")
    if plan.get("boot_loader", "grub") not in ("grub", "grub-steps", "image"):
        raise not_understood("boot_loader", plan["boot_loader"])
    first_boot = plan.get("first_boot")
    disk = parse_disk(mapping(plan.get("disk"), "disk"))
    passphrase = optional(plan, "disk_passphrase", str)
    if disk.encrypted and not passphrase:
        raise not_understood("disk_passphrase", passphrase)
    return Plan(
        task_id=take(plan, "task_id", str),
        intent_id=take(plan, "intent_id", str),
        hostname=take(plan, "hostname", str),
        image=_image(mapping(plan.get("image"), "image"), whole=disk.whole_image),
        disk=disk,
        files=_files(plan.get("files", []), "files"),
        boot_entry=take(plan, "boot_entry", str),
        kernel_arguments=take(plan, "kernel_arguments", str),
        first_boot=()
        if first_boot is None
        else _files(mapping(first_boot, "first_boot").get("files"), "first_boot.files"),
        steps=tuple(
            _step(mapping(each, "steps")) for each in sequence(plan.get("steps", []), "steps")
        ),
        disk_passphrase=passphrase,
    )


def _image(image: dict[str, object], *, whole: bool) -> Image:
    if image.get("format") != ("raw.zst" if whole else "tar.zst"):
        raise not_understood("image.format", image.get("format"))
    url = take(image, "url", str)
    if not url.startswith("/") or url.startswith("//"):
        raise not_understood("image.url", url)
    return Image(
        name=take(image, "name", str),
        url=url,
        sha256=take(image, "sha256", str),
        size_bytes=take(image, "size_bytes", int),
        unpacked_bytes=take(image, "unpacked_bytes", int),
        disk_bytes=take(image, "disk_bytes", int) if whole else None,
    )


def _step(step: dict[str, object]) -> Step:
    return Step(
        title=take(step, "title", str),
        script=take(step, "script", str),
        timeout_s=take(step, "timeout_s", int),
        secrets=tuple(map(str, sequence(step.get("secrets", []), "steps.secrets"))),
    )


def _files(files: object, name: str) -> tuple[File, ...]:
    return tuple(_file(mapping(file, name)) for file in sequence(files, name))


def _file(file: dict[str, object]) -> File:
    mode = optional(file, "mode", int)
    return File(
        path=take(file, "path", str),
        content=take(file, "content", str),
        mode=0o644 if mode is None else mode,
    )
