"""The install plan as the agent takes it from the wire, checked before anything is believed.

The same shape as `lpmos.model.installplan`, declared once more because the agent stands alone; a
contract test holds the two together. Unknown fields are ignored, so a newer region can send more.
"""

from typing import NamedTuple, TypeVar

from lpmos.agent.errors import InstallError

T = TypeVar("T")


class Image(NamedTuple):
    """The root archive; `url` is a path on the region, `sha256` lower-case hex."""

    name: str
    url: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int


class Partition(NamedTuple):
    """One GPT partition; `size_bytes` None takes the rest."""

    number: int
    role: str
    size_bytes: int | None
    filesystem: str | None


class Disk(NamedTuple):
    """The disk that a person saw and approved; `overwrites` is what stood on it then."""

    device: str
    size_bytes: int
    serial: str | None
    wwn: str | None
    model: str | None
    overwrites: tuple[str, ...]
    partitions: tuple[Partition, ...]

    def partition(self, role: str) -> Partition | None:
        """The partition of this role."""
        return next((part for part in self.partitions if part.role == role), None)


class File(NamedTuple):
    """A file for the new root."""

    path: str
    content: str
    mode: int


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


ROLES = ("bios_boot", "esp", "root")
FILESYSTEMS = {"bios_boot": (None,), "esp": ("vfat",), "root": ("ext4",)}


def parse_plan(document: object) -> Plan:
    """Check and take the plan of an approval.

    Raises:
        InstallError: a field is missing, of the wrong type, or asks for what this agent cannot do.
    """
    plan = _mapping(document, "plan")
    if plan.get("boot_loader", "grub") != "grub":
        raise _unknown("boot_loader", plan["boot_loader"])
    first_boot = plan.get("first_boot")
    return Plan(
        task_id=_take(plan, "task_id", str),
        intent_id=_take(plan, "intent_id", str),
        hostname=_take(plan, "hostname", str),
        image=_image(_mapping(plan.get("image"), "image")),
        disk=_disk(_mapping(plan.get("disk"), "disk")),
        files=_files(plan.get("files", []), "files"),
        boot_entry=_take(plan, "boot_entry", str),
        kernel_arguments=_take(plan, "kernel_arguments", str),
        first_boot=()
        if first_boot is None
        else _files(_mapping(first_boot, "first_boot").get("files"), "first_boot.files"),
    )


def _image(image: dict[str, object]) -> Image:
    if image.get("format") != "tar.zst":
        raise _unknown("image.format", image.get("format"))
    url = _take(image, "url", str)
    if not url.startswith("/") or url.startswith("//"):
        raise _unknown("image.url", url)
    return Image(
        name=_take(image, "name", str),
        url=url,
        sha256=_take(image, "sha256", str),
        size_bytes=_take(image, "size_bytes", int),
        unpacked_bytes=_take(image, "unpacked_bytes", int),
    )


def _disk(disk: dict[str, object]) -> Disk:
    partitions = tuple(
        _partition(_mapping(part, "disk.partitions"))
        for part in _sequence(disk.get("partitions"), "disk.partitions")
    )
    roles = [part.role for part in partitions]
    if "root" not in roles or len(set(roles)) != len(roles):
        raise _unknown("disk.partitions", ", ".join(roles))
    return Disk(
        device=_take(disk, "device", str),
        size_bytes=_take(disk, "size_bytes", int),
        serial=_optional(disk, "serial", str),
        wwn=_optional(disk, "wwn", str),
        model=_optional(disk, "model", str),
        overwrites=tuple(str(name) for name in _sequence(disk.get("overwrites", []), "overwrites")),
        partitions=partitions,
    )


def _partition(part: dict[str, object]) -> Partition:
    role = _take(part, "role", str)
    filesystem = _optional(part, "filesystem", str)
    if filesystem not in FILESYSTEMS.get(role, ()):
        raise _unknown("disk.partitions", f"{role} with {filesystem}")
    return Partition(
        number=_take(part, "number", int),
        role=role,
        size_bytes=_optional(part, "size_bytes", int),
        filesystem=filesystem,
    )


def _files(files: object, name: str) -> tuple[File, ...]:
    return tuple(_file(_mapping(file, name)) for file in _sequence(files, name))


def _file(file: dict[str, object]) -> File:
    mode = _optional(file, "mode", int)
    return File(
        path=_take(file, "path", str),
        content=_take(file, "content", str),
        mode=0o644 if mode is None else mode,
    )


def _take(document: dict[str, object], name: str, kind: type[T]) -> T:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _unknown(name, value)
    return value


def _optional(document: dict[str, object], name: str, kind: type[T]) -> T | None:
    return None if document.get(name) is None else _take(document, name, kind)


def _mapping(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _unknown(name, value)
    return value


def _sequence(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise _unknown(name, value)
    return value


def _unknown(field: str, value: object) -> InstallError:
    return InstallError(
        f"the plan's {field} is not understood: {value!r:.200}",
        hint="The agent image and the region are of different versions: build the agent image"
        " again with `lpmos image build-agent`.",
    )
