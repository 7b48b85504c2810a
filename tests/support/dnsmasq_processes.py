"""The processes of dnsmasq on this machine."""

import contextlib
from pathlib import Path


def dnsmasq_pids(config: Path) -> list[int]:
    """Those with this configuration that have not ended (proc(5))."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "cmdline").read_bytes().split(b"\0")
            state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
            ours = f"--conf-file={config}".encode() in words
            if ours and words[0].endswith(b"dnsmasq") and state != "Z":
                found.append(int(directory.name))
    return found
