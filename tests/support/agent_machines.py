"""Recorded machines: a JSON file becomes a tree of `/proc` and `/sys` that the agent reads.

A profile has `links` (made first), `files` (text, or bytes as `{"hex": …}`), the SMBIOS structures,
what low-level probing says of each device (`null`: unreadable), and the NIC that booted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpmos.agent.inventory import Inventory, collect
from lpmos.agent.inventory.tree import Tree

PROFILES = Path(__file__).parents[2] / "examples/machines"
NAMES = tuple(sorted(path.stem for path in PROFILES.glob("*.json")))
COLLECTED_S = 1_700_000_000.0


@dataclass(frozen=True)
class RecordedMachine:
    """A machine laid out below a directory."""

    tree: Tree
    root: Path
    probes: dict[str, dict[str, str] | None]
    boot_mac: str | None

    def probe(self, device: str) -> dict[str, str] | None:
        """What blkid said of this device."""
        return self.probes.get(device, {})

    def inventory(self) -> Inventory:
        """What the agent makes of it."""
        return collect(self.tree, self.probe, self.boot_mac, COLLECTED_S)


def recorded_machine(name: str, root: Path) -> RecordedMachine:
    """Lay out the profile `name` below `root`."""
    profile = json.loads((PROFILES / f"{name}.json").read_text())
    lay_out(root, profile["files"], profile["links"])
    if profile["smbios"] is not None:
        table = smbios_table(
            [
                (row["type"], bytes.fromhex(row["formatted"]), row["strings"])
                for row in profile["smbios"]
            ]
        )
        cut = profile.get("truncate_smbios_bytes", 0)
        lay_out(root, {"sys/firmware/dmi/tables/DMI": {"hex": table[: len(table) - cut].hex()}}, {})
    return RecordedMachine(Tree(root), root, profile["probe"], profile["boot_mac"])


def lay_out(root: Path, files: dict[str, Any], links: dict[str, str]) -> None:
    """Make links (their targets become directories), then files."""
    for name, target in links.items():
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        (link.parent / target).mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(bytes.fromhex(content["hex"]))


def smbios_table(rows: Sequence[tuple[int, bytes, Sequence[str]]]) -> bytes:
    """A structure table (DSP0134, 6.1) of (type, formatted bytes after the header, strings)."""
    table = b""
    for handle, (kind, formatted, strings) in enumerate([*rows, (127, b"", ())]):
        table += bytes((kind, 4 + len(formatted))) + handle.to_bytes(2, "little") + formatted
        table += b"".join(text.encode() + b"\0" for text in strings) or b"\0"
        table += b"\0"
    return table
