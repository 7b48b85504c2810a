"""A task's setup run as the agent runs it: in a real chroot, which is this system under an overlay.

What is written goes to the overlay alone. One package is really installed, from this machine's own
package mirror.
"""

import contextlib
import io
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.errors import InstallError, Stopped
from lpmos.agent.plan import Step
from lpmos.agent.steps import StepRunner
from lpmos.agent.stop import Stop
from lpmos.install import steps as planned
from lpmos.model import installplan
from lpmos.model.setup import NewAccount, NewSetup, TaskSecrets
from tests.support.builders import make_task

PASSWORD_HASH = "$6$saltsaltsalt$" + "Qw7/" * 21 + "Qw"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHFzZGZhc2RmYXNkZmFzZGZhc2RmYXNkZmFzZGZhc2Rm lab"
NO_SHELL = NewAccount(name="alice", shell="/bin/none")  # noqa: S604 - a field
TOKEN = "s3cret 'quoted' \"twice\" $(touch /broken-out) `touch /broken-out`\\"


class Chroot:
    """A root with a runner for it, and what was said."""

    def __init__(self, root: Path, ram: Path) -> None:
        self.root = root
        self.ram = ram
        self.stop = Stop()
        self.stream = io.StringIO()
        self.reports: list[tuple[str, float, str]] = []
        self.name_servers = ram / "resolv.conf"
        self.name_servers.write_text("nameserver 192.0.2.53\n")
        self.commands = Commands(self.stop, Console(self.stream).info)

    def run(self, *steps: Step) -> str:
        """Run them; what was said."""
        runner = StepRunner(
            self.commands,
            Console(self.stream).info,
            self.root,
            ram=self.ram,
            name_servers=self.name_servers,
        )
        runner.run(steps, lambda *report: self.reports.append(report))
        return self.stream.getvalue()

    def setup(self, new: NewSetup) -> str:
        """Run the setup of a task."""
        setup, secrets = new.parted()
        task = msgspec.structs.replace(make_task(), setup=setup)
        return self.run(*map(as_parsed, planned.steps(task, secrets, "debian")))

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()


def as_parsed(step: installplan.Step) -> Step:
    return Step(step.title, step.script, step.timeout_s, step.secrets)


def command(script: str, *, timeout_s: int = 30, secrets: tuple[str, ...] = ()) -> Step:
    return Step("a command", script, timeout_s, secrets)


@contextlib.contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *arguments], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)


@pytest.fixture
def chroot(tmp_path: Path) -> Iterator[Chroot]:
    """This system, of which nothing can be changed, with the kernel's file systems."""
    upper, work, root, ram = (tmp_path / name for name in ("upper", "work", "root", "ram"))
    for directory in (upper, work, root, ram):
        directory.mkdir()
    layers = f"lowerdir=/,upperdir={upper},workdir={work}"
    with (
        mounted("-t", "overlay", "overlay", "-o", layers, root),
        mounted("--bind", "/dev", root / "dev"),
        mounted("-t", "proc", "proc", root / "proc"),
        mounted("--bind", ram, root / "run"),
    ):
        yield Chroot(root, ram)


def test_users_passwords_commands_and_secrets_are_in_the_new_system(chroot: Chroot) -> None:
    said = chroot.setup(
        NewSetup(
            users=(
                NewAccount(name="alice", ssh_keys=(SSH_KEY,), groups=("adm", "web"),
                        password_hash=PASSWORD_HASH),
                NewAccount(name="bob", shell="/bin/sh"),  # noqa: S604 - a field
            ),
            root_password_hash=PASSWORD_HASH,
            timezone="Etc/GMT+5",
            secrets={"TOKEN": TOKEN},
            commands=("printf %s \"$TOKEN\" >/token", "echo \"it is $TOKEN\"\necho done >>/order"),
        )
    )  # fmt: skip
    passwd = chroot.read("/etc/passwd")
    assert ":/home/alice:/bin/bash\n" in passwd and ":/home/bob:/bin/sh\n" in passwd
    groups = dict(line.split(":")[::3] for line in chroot.read("/etc/group").splitlines())
    assert "alice" in groups["adm"].split(",") and groups["web"] == "alice"
    shadow = dict(line.split(":")[:2] for line in chroot.read("/etc/shadow").splitlines())
    assert shadow["alice"] == shadow["root"] == PASSWORD_HASH and shadow["bob"] == "!"
    keys = chroot.root / "home/alice/.ssh/authorized_keys"
    assert keys.read_text() == f"{SSH_KEY}\n" and keys.stat().st_mode & 0o777 == 0o600
    assert keys.stat().st_uid == (chroot.root / "home/alice").stat().st_uid >= 1000
    assert (chroot.root / "etc/localtime").readlink() == Path("/usr/share/zoneinfo/Etc/GMT+5")
    assert chroot.read("/token") == TOKEN
    assert not (chroot.root / "broken-out").exists()
    assert "it is ***" in said and "s3cret" not in said and PASSWORD_HASH not in said
    assert [percent for _, percent, _ in chroot.reports] == sorted(
        percent for _, percent, _ in chroot.reports
    )
    assert all(stage == "configuring" and 90 <= p < 93 for stage, p, _ in chroot.reports)
    assert not list(chroot.ram.glob("lpmos-step-*"))


def test_package_and_sudo_are_installed_and_the_name_servers_put_back(chroot: Chroot) -> None:
    """From this machine's own mirror; the user's rights are checked by visudo."""
    chroot.name_servers.write_text(Path("/etc/resolv.conf").read_text())
    before = Path("/etc/resolv.conf").read_text()
    (chroot.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    chroot.setup(NewSetup(users=(NewAccount(name="alice", sudo="nopasswd"),), packages=("hello",)))
    assert (chroot.root / "usr/bin/hello").exists() and (chroot.root / "usr/bin/sudo").exists()
    assert chroot.read("/etc/sudoers.d/lpmos-alice") == "alice ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert chroot.read("/etc/resolv.conf") == before
    assert not (chroot.root / "usr/sbin/policy-rc.d").exists()


def test_failing_command_fails_with_its_title_status_and_output_without_secrets(
    chroot: Chroot,
) -> None:
    with pytest.raises(InstallError) as raised:
        chroot.setup(
            NewSetup(
                secrets={"TOKEN": "hunter22"},
                commands=(
                    "echo before",
                    "echo the token is $TOKEN\n( exit 7 )\necho never",
                    "echo no",
                ),
            )
        )  # fmt: skip
    error = raised.value
    assert str(error) == "command 2 of 3: echo the token is $TOKEN: failed (exit status 7)"
    assert error.output == "the token is ***\n" and "hunter22" not in chroot.stream.getvalue()
    assert "never" not in chroot.stream.getvalue()


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (NewSetup(timezone="Mars/Olympus"), "there is no time zone Mars/Olympus"),
        (NewSetup(users=(NO_SHELL,)), "there is no shell /bin/none"),
        (NewSetup(users=(NewAccount(name="daemon"),)), "daemon is a user of the system itself"),
    ],
)  # fmt: skip
def test_setup_that_the_system_cannot_do_says_why(
    chroot: Chroot, setup: NewSetup, said: str
) -> None:
    with pytest.raises(InstallError) as raised:
        chroot.setup(setup)
    assert said in raised.value.output


def test_hanging_command_is_ended_at_its_limit(chroot: Chroot) -> None:
    with pytest.raises(InstallError, match=r"failed \(took longer than 1 s\)"):
        chroot.run(command("echo begun\nsleep 600", timeout_s=1))


def test_stop_ends_a_running_command_and_puts_the_name_servers_back(chroot: Chroot) -> None:
    before = chroot.read("/etc/resolv.conf")

    def stop_when_begun() -> None:
        until = time.monotonic() + 30
        while "begun" not in chroot.stream.getvalue() and time.monotonic() < until:
            time.sleep(0.02)
        chroot.stop.set("cancelled")

    thread = threading.Thread(target=stop_when_begun)
    thread.start()
    with pytest.raises(Stopped):
        chroot.run(command("echo begun\nsleep 600", timeout_s=300))
    thread.join()
    assert chroot.read("/etc/resolv.conf") == before


@pytest.mark.parametrize("left", ["/bin/sh", "chroot /usr /bin/sh"])
def test_program_left_running_is_ended_so_that_the_root_can_be_unmounted(
    chroot: Chroot, left: str
) -> None:
    """Also one that changed its root once more, as services do; it did before its script ends."""
    chroot.run(
        command(
            "mkfifo /begun\n"
            f"setsid {left} -c 'echo begun >&3; exec /bin/sleep 600' 3<>/begun >/dev/null 2>&1 &\n"
            "echo $! >/pid\nread -r _ </begun"
        )
    )
    with contextlib.suppress(ProcessLookupError):  # it ended, and was waited for
        left_over = os.pidfd_open(int(chroot.read("/pid")))
        ended, _, _ = select.select([left_over], [], [], 30)
        if not ended:
            signal.pidfd_send_signal(left_over, signal.SIGKILL)
            select.select([left_over], [], [], 30)
        os.close(left_over)
        assert ended


def test_resolv_conf_that_a_package_made_stays(chroot: Chroot) -> None:
    chroot.run(command("rm /etc/resolv.conf; ln -s ../run/stub.conf /etc/resolv.conf"))
    assert (chroot.root / "etc/resolv.conf").readlink() == Path("../run/stub.conf")
    assert not (chroot.root / "etc/resolv.conf.lpmos").is_symlink()


SHELL_TEXT = st.text(
    st.one_of(st.sampled_from("'\"$`\\;&|<>(){}*?!#~\n\t -"), st.characters(codec="utf-8")),
    min_size=4,
    max_size=60,
).filter(lambda text: "\0" not in text)


@settings(max_examples=60, deadline=None)
@given(SHELL_TEXT)
def test_value_of_any_text_is_one_value_of_the_environment(text: str) -> None:
    script = f"{planned.exports(TaskSecrets(values={'VALUE': text}))}printenv VALUE\n"
    done = subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode() == f"{text}\n" and not done.stderr
