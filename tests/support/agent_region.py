"""A small region for the agent's tests: the protocol of `docs/reference/agent-protocol.md` over
real HTTP, everything it heard kept for the test, and knobs for bad weather.

Its state outlives `restart`, as a real region's does through its store.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from lpmos.model.diskplan import DiskPlan, Partition
from lpmos.model.installer import InstallerFile, InstallerPlan
from lpmos.model.installplan import ImageSource, InstallPlan, JobOrder, PlannedFile

MIB = 1 << 20
TASK_ID = "7d0f1f5e-52f7-4a0e-9b60-2a6c7a5b1c11"
INTENT_ID = "intent-1"
IMAGE_PATH = "/boot/images/test"


@dataclass(frozen=True)
class Call:
    """One call as the region heard it."""

    method: str
    path: str
    body: dict[str, Any]
    at_s: float
    range: str | None = None
    authorization: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Fault:
    """An answer in place of the real one; status 0 closes the connection without any."""

    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


def plan_for(image: bytes, **changes: Any) -> InstallPlan:
    """A plan for `image` on `/dev/vda`."""
    plan = InstallPlan(
        task_id=TASK_ID,
        intent_id=INTENT_ID,
        hostname="web-1",
        image=ImageSource(
            name="debian-12",
            url=IMAGE_PATH,
            sha256=hashlib.sha256(image).hexdigest(),
            size_bytes=len(image),
            unpacked_bytes=len(image) * 3,
            format="tar.zst",
        ),
        disk=DiskPlan(
            device="/dev/vda",
            size_bytes=4 << 30,
            serial="DISK01",
            partitions=(
                Partition(number=1, role="bios_boot", size_bytes=MIB, filesystem=None),
                Partition(number=2, role="esp", size_bytes=512 * MIB, filesystem="vfat"),
                Partition(number=3, role="root", size_bytes=None, filesystem="ext4"),
            ),
        ),
        files=(PlannedFile(path="/etc/hostname", content="web-1\n"),),
        boot_entry="lpmos",
        kernel_arguments="console=tty0 console=ttyS0,115200n8",
    )
    return msgspec.structs.replace(plan, **changes)


def installer_plan() -> InstallPlan:
    """A plan that hands over to an installer of which nothing is loaded yet."""
    file = InstallerFile(url="/k", sha256="0" * 64, size_bytes=1)
    installer = InstallerPlan(
        name="debian-12", family="debian", kernel=file, initrd=file, kernel_arguments=""
    )
    return msgspec.structs.replace(plan_for(b""), image=None, installer=installer)


def plan_document(plan: InstallPlan | JobOrder) -> dict[str, Any]:
    """The plan as an agent gets it."""
    document = json.loads(msgspec.json.encode(plan))
    assert isinstance(document, dict)
    return document


class AgentRegion:
    """One region with one task."""

    def __init__(self, image: bytes = b"", plan: InstallPlan | None = None) -> None:
        self.image = image
        self.plan: InstallPlan | JobOrder = plan or plan_for(image)
        self.status = "pending_approval"
        self.reason: str | None = None
        self.has_task = True
        self.discovery = False
        self.retry_after: float = 1
        self.report_action = "wait_for_approval"
        self.claimed_by: str | None = None
        self.nonce: str | None = None
        """What the boot script says; without one there is no boot script, as in older regions."""
        self.identities = 0
        """How many it gave; each report and each progress brings the next."""
        self.first_boot_sha256: str | None = None
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.break_after: list[int] = []
        """For each coming download: break the connection after so many bytes of it."""
        self.ignore_range = False
        self.on_progress: Callable[[dict[str, Any]], None] = lambda _: None
        self.on_download: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens; the same after `restart`."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin to listen."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Close the port, and every connection that is open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None

    def set(self, status: str, reason: str | None = None) -> None:
        """Move the task; approvals that wait are answered."""
        with self._changed:
            self.status, self.reason = status, reason
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        """Wait until something was heard."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), [c.path for c in self.calls]

    def heard(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the calls to a path, in order."""
        return [call.body for call in list(self.calls) if call.path.startswith(path)]

    def answer(self, call: Call) -> tuple[int, dict[str, Any], dict[str, str]]:
        """What the protocol says to this call."""
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
            for fault in self.faults:
                if call.path.startswith(fault.path):
                    self.faults.remove(fault)
                    return fault.status, fault.body, fault.headers
            path = urlsplit(call.path)
            if path.path == "/api/v1/agent/identity" and self.nonce:
                assert call.body["nonce"] == self.nonce
                return 200, {"identity": self._next_identity()}, {}
            if path.path == "/api/v1/agent/report":
                status, body, headers = self._report()
                return status, body, {**headers, **self._renewed()}
            if path.path.startswith("/api/v1/agent/approval/"):
                return self._approval(parse_qs(path.query))
            if path.path == "/api/v1/agent/status":
                return self._status(call.body)
            if path.path == "/api/v1/agent/progress":
                status, body, headers = self._progress(call.body)
                return status, body, {**headers, **self._renewed()}
            if path.path == "/api/v1/installed":
                return self._installed(call.body)
        return 404, {"detail": "no such path"}, {}

    def boot_script(self) -> str:
        """The kernel line of this machine's boot script."""
        return f"#!ipxe\nkernel {self.url}/k lpmos_client={self.url} lpmos_nonce={self.nonce}\n"

    def _renewed(self) -> dict[str, str]:
        return {"LPMOS-Identity": self._next_identity()} if self.nonce else {}

    def _next_identity(self) -> str:
        self.identities += 1
        return f"identity-{self.identities}"

    def _report(self) -> tuple[int, dict[str, Any], dict[str, str]]:
        if not self.has_task:
            return (
                404,
                {
                    "error": "no task",
                    "detail": "no task",
                    "retry_after": self.retry_after,
                    "discovery": self.discovery,
                },
                {"Retry-After": str(self.retry_after)},
            )
        answer = {"status": "received", "task_id": TASK_ID, "next_action": self.report_action}
        if self.reason:
            answer["reason"] = self.reason
        return 200, answer, {}

    def _approval(self, query: dict[str, list[str]]) -> tuple[int, dict[str, Any], dict[str, str]]:
        wait_s = min(float(query.get("wait", ["0"])[0]), 60)
        self._changed.wait_for(lambda: self.status != "pending_approval", wait_s)
        if self.status == "pending_approval":
            return 200, {"status": "pending"}, {}
        if self.status == "approved":
            return 200, {"status": "approved", "plan": plan_document(self.plan)}, {}
        return 200, {"status": self.status, "reason": self.reason}, {}

    def _status(self, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        mine = self.claimed_by in (None, body["agent_id"])
        if body["status"] == "installing":
            if self.status not in ("approved", "installing") or not mine:
                return 409, {"title": "Conflict", "detail": "this install is not yours"}, {}
            self.status, self.claimed_by = "installing", body["agent_id"]
        elif body["status"] == "failed":
            self.status = "failed"
        elif body["status"] == "restarting":
            if self.status not in ("installing", "restarting") or not mine:
                return 409, {"title": "Conflict", "detail": f"the task is {self.status}"}, {}
            self.status, self.first_boot_sha256 = "restarting", body["first_boot_sha256"]
        return 200, {"status": self.status}, {}

    def _installed(self, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        if hashlib.sha256(body["token"].encode()).hexdigest() != self.first_boot_sha256:
            return 401, {"title": "Authentication is needed", "detail": "not the token"}, {}
        if self.status not in ("restarting", "completed"):
            return 409, {"title": "Conflict", "detail": f"the task is {self.status}"}, {}
        self.status = "completed"
        return 200, {"status": self.status}, {}

    def _progress(self, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.on_progress(body)
        if self.status != "installing" or self.claimed_by != body["agent_id"]:
            return 409, {"title": "Conflict", "detail": f"the task is {self.status}"}, {}
        if body["percentage"] >= 100:
            self.status = "completed"
        return 200, {"status": self.status}, {}


@contextmanager
def agent_region(image: bytes = b"", **settings: Any) -> Iterator[AgentRegion]:
    """A region that listens until the block ends."""
    region = AgentRegion(image)
    for name, value in settings.items():
        setattr(region, name, value)
    region.start()
    try:
        yield region
    finally:
        region.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], region: AgentRegion) -> None:
        self.region = region
        self._open: set[Any] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An agent that goes away in the middle is nothing to print."""

    def cut(self) -> None:
        for request in list(self._open):
            super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        region = self.server.region
        if self.path.startswith("/boot/images/"):
            self._image(region)
        elif self.path.startswith("/boot/ipxe?"):
            self._script(region)
        else:
            self._answer(region, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(self.server.region, body)

    def log_message(self, *args: Any) -> None:
        """Quiet: the calls are kept in the region."""

    def _answer(self, region: AgentRegion, body: dict[str, Any]) -> None:
        shown = self.headers.get("Authorization")
        call = Call(
            self.command,
            self.path,
            body,
            time.monotonic(),
            authorization=shown,
            traceparent=self.headers.get("traceparent"),
        )
        status, document, headers = region.answer(call)
        if status == 0:
            self.close_connection = True
            return
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _script(self, region: AgentRegion) -> None:
        data = region.boot_script().encode()
        self.send_response(200 if region.nonce else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _image(self, region: AgentRegion) -> None:
        wanted = self.headers.get("Range")
        traceparent = self.headers.get("traceparent")
        region.calls.append(
            Call("GET", self.path, {}, time.monotonic(), wanted, traceparent=traceparent)
        )
        region.on_download()
        for fault in region.faults:
            if self.path.startswith(fault.path):
                region.faults.remove(fault)
                self.send_response(fault.status)
                self.send_header("Content-Length", "0")
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                return
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if found and not region.ignore_range:
            start = int(found[1])
            self.send_response(206)
            size = len(region.image)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(region.image) - start))
        self.end_headers()
        body = region.image[start:]
        if region.break_after:
            body = body[: region.break_after.pop(0)]
        self.wfile.write(body)
        self.close_connection = True
