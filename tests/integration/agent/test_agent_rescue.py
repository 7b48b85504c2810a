"""The rescue with the real SSH server: what it leaves behind when it ends."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lpmos.agent import rescue
from lpmos.agent.console import Console
from lpmos.agent.errors import Stopped
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.joborder import PlannedStep, Rescue
from lpmos.agent.jobs import Bench
from lpmos.agent.logins import end_logins
from lpmos.agent.pace import Pace
from lpmos.agent.region import Region
from lpmos.agent.stop import Stop
from tests.support.etcd import free_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dYHYk9TbJCB7fFzv3Zr5 alice"
END_S = 20.0


def until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + END_S
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def connected(port: int) -> socket.socket:
    ends_at = time.monotonic() + END_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), END_S)
        except ConnectionRefusedError:
            assert time.monotonic() < ends_at
            time.sleep(0.05)


def test_rescue_that_is_cancelled_ends_while_somebody_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "PORT", free_port())
    stop, ended = Stop(), threading.Event()
    job = Job(Region("http://127.0.0.1:1"), Console(None), stop, Pace(), lambda _: None)
    bench = Bench(job, "step 1 of 1", 0, 99, time.monotonic)
    planned = PlannedStep("rescue", Rescue(minutes=None, ssh=True), ())

    def run() -> None:
        with pytest.raises(Stopped, match="cancelled"):
            rescue.run(planned, bench, Tree(tmp_path), [KEY], root=tmp_path)
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with connected(rescue.PORT) as connection:
        assert connection.recv(4) == b"SSH-"
        stop.set("cancelled")
        assert ended.wait(END_S)
        connection.settimeout(END_S)
        while connection.recv(4096):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", rescue.PORT), END_S)
    assert not (tmp_path / "root/.ssh/authorized_keys").exists()
    assert not (tmp_path / "run/dropbear/host_key").exists()


def test_end_of_a_rescue_ends_the_shells_and_what_they_left_running(tmp_path: Path) -> None:
    host_key = str(tmp_path / "host_key")
    login = f"setsid sh -c 'sleep 987 & echo $! > {tmp_path}/left; sleep 986' & sleep 985"
    argv = ["dropbear", "-c", login, "dropbear", "-r", host_key]
    server = subprocess.Popen(argv, executable="/bin/sh", start_new_session=True)
    other = subprocess.Popen(["sleep", "984"], start_new_session=True)
    try:
        until(lambda: bool((tmp_path / "left").exists() and (tmp_path / "left").read_text()))
        left = int((tmp_path / "left").read_text())
        assert is_alive(left)
        assert os.getsid(left) != os.getsid(server.pid)
        assert end_logins(host_key, END_S)
        assert server.wait(END_S) == -9
        assert not is_alive(left)
        assert is_alive(other.pid)
    finally:
        for process in (server, other):
            process.kill()
            process.wait(END_S)


def test_no_rescue_is_ended_by_a_watchdog() -> None:
    longest_asked_s = 7 * 86_400
    assert 100 * longest_asked_s < rescue.SERVE_TIMEOUT_S < threading.TIMEOUT_MAX
