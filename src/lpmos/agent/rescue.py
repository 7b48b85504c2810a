"""The step that keeps the agent up: for a time, or until the task is cancelled; with SSH if asked.

The rule: nobody logs in but holders of the task's keys, and only while the step lasts. There are no
passwords, nothing is forwarded, and the host key is made anew at each start: its fingerprint is in
the task, for whoever logs in to compare.

Source: dropbear(8), dropbearkey(1) of Debian's dropbear-bin.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lpmos.agent.commands import Commands
from lpmos.agent.errors import InstallError, Stopped
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.joborder import PlannedStep, Rescue
from lpmos.agent.jobs import Bench, Outcome
from lpmos.agent.logins import end_logins
from lpmos.agent.stop import Stop

LOOK_EVERY_S = 1.0
SAY_EVERY_S = 60.0
START_S = 1.0
PORT = 22
ROOT = Path("/")
_HOST_KEY = "run/dropbear/host_key"
SERVE_TIMEOUT_S = 100 * 365 * 86_400.0
"""No watchdog: the step's own end ends it, and a rescue may last until it is cancelled."""
END_S = 10.0
"""For the server and every login to be gone once they are killed."""
_DAY_S = 86_400.0


def run(
    planned: PlannedStep,
    bench: Bench,
    tree: Tree,
    keys: Sequence[str],
    *,
    root: Path = ROOT,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Stay for as long as was asked.

    Raises:
        InstallError: SSH was asked for and does not start.
        Stopped: the task was cancelled.
    """
    asked = Rescue(*planned.asked)
    ends_s = asked.minutes * 60 if asked.minutes else None
    door = _Door(bench, root, keys) if asked.ssh else None
    try:
        reached = door.open(tree) if door else "no SSH: use the machine's console"
        bench.job.console.info(reached)
        begun = clock()
        said_s = -SAY_EVERY_S
        while ends_s is None or clock() - begun < ends_s:
            past_s = clock() - begun
            if past_s - said_s >= SAY_EVERY_S:
                said_s = past_s
                end = f"of {asked.minutes}" if asked.minutes else "; cancel the task to end it"
                share = past_s / (ends_s or _DAY_S)
                bench.tell(min(share, 1.0), f"up for {past_s / 60:.0f} min {end}. {reached}")
            if door is not None:
                door.check()
            bench.job.stop.wait(LOOK_EVERY_S)
    finally:
        if door is not None:
            door.close()
    return Outcome(f"was up for {asked.minutes} min", (reached,))


class _Door:
    """The SSH server of one step."""

    def __init__(self, bench: Bench, root: Path, keys: Sequence[str]) -> None:
        self._bench = bench
        self._root = root
        self._keys = keys
        self._stop: Stop = bench.job.stop.part()
        self._commands = Commands(self._stop, bench.job.console.info)
        self._failure: InstallError | None = None
        self._server = threading.Thread(target=self._serve, daemon=True)

    def open(self, tree: Tree) -> str:
        """Start it; where to log in, and by which host key to know the machine.

        Raises:
            InstallError: it does not start.
        """
        key = self._root / _HOST_KEY
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key.unlink(missing_ok=True)
        said = self._commands.run(["dropbearkey", "-t", "ed25519", "-f", str(key)])
        prints = [word for word in said.split() if word.startswith("SHA256:")]
        self._write("root/.ssh/authorized_keys", "".join(f"{each}\n" for each in self._keys), 0o600)
        self._write("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n", 0o644)
        self._write("etc/shells", "/bin/sh\n", 0o644)
        self._server.start()
        self._server.join(START_S)
        self.check()
        address = tree.text("run/lease") or "the machine's address"
        return f"ssh root@{address.split('/')[0]}, host key {prints[0] if prints else 'unknown'}"

    def check(self) -> None:
        """Go on only while it serves.

        Raises:
            InstallError: it ended.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End it and every login, in bounded time, also of what holds the server's output."""
        for name in ("root/.ssh/authorized_keys", _HOST_KEY):
            with contextlib.suppress(OSError):
                (self._root / name).unlink()
        self._stop.set("the rescue is over")
        if not end_logins(str(self._root / _HOST_KEY), END_S):
            self._bench.job.console.warn("a login of the rescue could not be ended")
        if self._server.ident is not None:
            self._server.join(END_S)  # what still holds its output cannot hold the job

    def _serve(self) -> None:
        argv = [
            *("dropbear", "-F", "-E", "-s", "-j", "-k", "-p", str(PORT)),
            *("-r", str(self._root / _HOST_KEY)),
        ]
        try:
            ended = self._commands.stream(
                argv, say=self._bench.job.console.info, timeout_s=SERVE_TIMEOUT_S
            )
        except (Stopped, InstallError):
            return
        self._failure = InstallError(
            "SSH ended by itself",
            command=" ".join(argv),
            output=ended.text,
            hint="Look at the output; where dropbear is not in the agent image, build it again.",
        )

    def _write(self, name: str, text: str, mode: int) -> None:
        path = self._root / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
