"""What a task says of a disk that shall be written: every hint that is given must match."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

HINT_CHARACTERS = 256
BY_PATH = "/dev/disk/by-path/"
Hint = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": HINT_CHARACTERS})]
HintBytes = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""Every number of it is the same to every reader of JSON (RFC 8259 section 6)."""
_UNKNOWN = "not known to this version: "


class RootDiskHints(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What the task says of one disk, or of each that a layout over several takes.

    `model` matches as a part of the disk's model, whatever the case; the others match exactly.
    `path` is the place that the disk is plugged into, with or without `/dev/disk/by-path/`.
    """

    serial: Hint | None = None
    wwn: Hint | None = None
    model: Hint | None = None
    device: Hint | None = None
    min_size_bytes: HintBytes | None = None
    max_size_bytes: HintBytes | None = None
    rotational: bool | None = None
    overwrite: bool = False
    nvme: bool | None = None
    path: Hint | None = None

    @staticmethod
    def read_without(names: Iterable[str]) -> dict[str, str]:
        """What is read in place of hints that a newer version wrote: a model that no disk has.

        A hint that was left out would let the task have disks that it does not want.
        """
        return {"model": f"{_UNKNOWN}{min(names)[:64]}"}

    @property
    def unknown(self) -> str | None:
        """The hint that only a newer version understands, where there is one."""
        return (self.model or "").partition(_UNKNOWN)[2] or None

    def names_one_disk(self) -> bool:
        """Whether they name a disk by its identity; `choose` refuses one that several have."""
        return self.serial is not None or self.wwn is not None
