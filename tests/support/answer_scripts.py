"""What the scripts of answer files run on and talk to: a machine in a folder, a region that hears.

Each shell that an installer has is tried: dash and bash here, and busybox where it is installed.
"""

import os
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lpmos.install import answers
from lpmos.install.answers import samples, scripts
from lpmos.install.answers.order import InstallerUrls
from lpmos.model.installer import Family
from lpmos.model.setup import TaskSecrets
from lpmos.model.task import Task
from tests.support.answers import READERS

SHELLS = [
    pytest.param([path, *more], id=name)
    for name, *more in (("dash",), ("bash", "--posix"), ("busybox", "sh"))
    if (path := shutil.which(name))
]
TIMEOUT_S = 60
PROFILE = "/tmp/profile"  # noqa: S108 - AutoYaST's own place
YAST = "/var/lib/YaST2"
STARTUP = "/usr/lib/YaST2"
FINISH = "/usr/lib/finish-install.d"
_OF_THE_KERNEL_OR_PARTMAN = re.compile(
    r"/sys/class/block|/proc/self/mountinfo|(?:/var)?/lib/partman|/etc/lvm|/dev/md(?=\s)"
)
FIRST_BOOT = 'echo first boot >"$1/first-boot"\n'


class Region(ThreadingHTTPServer):
    """Hears what an installer says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.traces: set[str | None] = set()
        self.logged: list[tuple[dict[str, str], str]] = []
        self.refuses = 0

    @property
    def urls(self) -> InstallerUrls:
        names = (name for name in InstallerUrls.__struct_fields__)
        base = f"http://127.0.0.1:{self.server_port}"
        return InstallerUrls(**{name: f"{base}/{name}" for name in names})

    def said(self, name: str) -> list[dict[str, str]]:
        return [query for path, query in self.heard if path == f"/{name}"]


class _Handler(BaseHTTPRequestHandler):
    server: Region

    def do_GET(self) -> None:
        """Note it; the first boot's script is the only answer."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.heard.append((parts.path, query))
        self.server.traces.add(self.headers["traceparent"])
        body = FIRST_BOOT.encode() if parts.path == "/first_boot" else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Lines of a log; refused as often as the test says."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.logged.append((query, text))
        self.server.traces.add(self.headers["traceparent"])
        status = 503 if len(self.server.logged) <= self.server.refuses else 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Machine:
    """What an installer's scripts see of a machine, in a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.block = place / "sys" / "block"
        self.target = place / "target"
        self.programs = place / "bin"
        self.path = f"{self.programs}:{os.environ['PATH']}"
        for folder in (self.block, self.target / "var/lib", self.programs, place / "tmp"):
            folder.mkdir(parents=True)
        for name in ("depmod", "modprobe", "mdadm"):
            self.add_program(name, ":")

    def add_disk(self, name: str, size_bytes: int, files: dict[str, bytes]) -> None:
        """A disk with what sysfs says of it."""
        for file, content in {**files, "size": f"{size_bytes // 512}\n".encode()}.items():
            path = self.block / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def add_program(self, name: str, script: str) -> None:
        """A program that is found before the system's own."""
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def run(self, shell: list[str], script: str) -> subprocess.CompletedProcess[str]:
        """Run a script that takes this folder for the machine."""
        script = _OF_THE_KERNEL_OR_PARTMAN.sub(lambda found: f"{self.place}{found[0]}", script)
        for path in ("/sys/block", scripts.PLACE, PROFILE, YAST, STARTUP, FINISH):
            script = script.replace(path, f"{self.place}{path}")
        (self.place / "script.sh").write_text(script)
        environment = {"PATH": self.path, "LC_ALL": "C"}
        return subprocess.run(
            [*shell, str(self.place / "script.sh")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def end_watching(self) -> None:
        """What ends the watching in the background."""
        (self.place / "tmp/lpmos/end").touch()


SIZE_BYTES = 100 * 1024**3


def answer_scripts(
    family: Family, task: Task, region: Region, secrets: TaskSecrets
) -> tuple[str, ...]:
    """The scripts in the answer file of a task, in the order that they are run in."""
    of = answers.FAMILIES[family]
    manifest = samples.manifest_of(of, *of.releases[1])
    text = answers.render(family, answers.variables(task, manifest, region.urls, secrets))
    return READERS[family](text).scripts
