"""The shell that runs inside an installer: its words to the region, its disks, its last steps.

The rule: it needs POSIX sh and what Debian's installer has (busybox without timeouts), so that one
text serves all families; what differs stands in a family's module. A disk is found by what the
agent read in the same places of sysfs, never by its name alone, and a disk that is not there, or is
there twice, ends the install before anything is written. The functions that all scripts share are
the files of the folder `shell`.

Sources: POSIX.1-2017 (shell), sysfs of block devices, SPC-4 7.8.15 for page 80h, RFC 3986 for what
is encoded in a URL, RFC 8259 and Ruby's `String#inspect` for quotes.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import shell, words
from lpmos.model.diskplan import Member
from lpmos.model.installplan import PlannedFile
from lpmos.model.trace import root_of

PLACE = "/tmp/lpmos"  # noqa: S108 - the installer's own file system, in RAM, with nobody else in it
HOOKS = f"{PLACE}/hooks.sh"
LATE_LOG = f"{PLACE}/late.log"
SECRETS = f"{PLACE}/secrets"
MASKED_CHARACTERS = 4
"""Shorter secrets would hide every line."""
SILENT_S = 1800
"""How long nothing of an installer may move before it counts as one that waits for an answer."""
MOVED_BYTES = 16 << 20
"""What a card receives, or a disk takes, of an installer that works: a network's broadcasts alone
bring some megabytes within `SILENT_S`."""
_RUBYS = re.compile("#(?=[{$@])")
_PARTS = ("region.sh", "logs.sh", "watch.sh", "disks.sh")


def hooks(order: Order, logs: Iterable[str] = (), signs: Iterable[str] = ()) -> str:
    """The functions that all scripts of an install share; `logs` and `signs` as in `start`."""
    values = {
        "PROGRESS": shell(order.urls.progress),
        "FAILED": shell(order.urls.failed),
        "INSTALLED": shell(order.urls.installed),
        "LOG": shell(order.urls.log),
        "LOGS": shell(" ".join(logs)),
        "SIGNS": shell(" ".join(signs)),
        "TRACE": shell(str(root_of(order.task))),
        "PLACE": PLACE,
        "SILENT": str(SILENT_S),
        "MOVED": str(MOVED_BYTES),
    }
    return re.sub("@([A-Z]+)@", lambda found: values[found[1]], _functions())


@cache
def _functions() -> str:
    """The shell of the package as it is written, with names in `@` for what an install fills in."""
    place = files(__package__) / "shell"
    return "\n".join((place / part).read_text(encoding="ascii") for part in _PARTS)


def start(
    order: Order,
    state: str,
    logs: Iterable[str],
    *,
    signs: Iterable[str] = (),
    background: str = "",
) -> str:
    """What the first script begins with: the functions, the first word, and the watching.

    Args:
        order: what is installed.
        state: shell lines that print `STAGE PERCENT TEXT`, run every few seconds.
        logs: the installer's own log files, which are handed in as they grow; patterns too.
        signs: more files that grow while it works, which are not handed in.
        background: the command before one that shall outlive the script; else it is the shell's.
    """
    watch = f"{background} sh {PLACE}/watch.sh" if background else f"sh {PLACE}/watch.sh"
    return "\n".join(
        [
            f"mkdir -p {PLACE}/log",
            f"cat >{HOOKS} <<'LPMOS_HOOKS'",
            f"{hooks(order, logs, signs)}LPMOS_HOOKS",
            f". {HOOKS}",
            *_hidden(order),
            f"cat >{PLACE}/watch.sh <<'LPMOS_WATCH'",
            f". {HOOKS}",
            "lpmos_state() {",
            state.strip("\n"),
            "}",
            "lpmos_watch",
            "LPMOS_WATCH",
            "lpmos_progress partitioning 1 the installer runs",
            f"{watch} </dev/null >/dev/null 2>&1 3>&-{'' if background else ' &'}",
            "",
        ]
    )


def find_disks(order: Order) -> str:
    """Shell lines that set `$lpmos_disk1` and so on to the names that the plan's disks have now.

    Where something assembled on them stands on another disk, too, they end the install.
    """
    found = "".join(
        f"lpmos_disk{number}=$(lpmos_disk {words(_identity(disk))}) || exit 1\n"
        for number, disk in enumerate(order.disks.disks, 1)
    )
    names = " ".join(f"$lpmos_disk{number}" for number in range(1, len(order.disks.disks) + 1))
    return f"{found}lpmos_alone {names} || exit 1\n"


def _identity(disk: Member) -> tuple[str, ...]:
    named = (disk.serial, disk.wwn, disk.model)
    return (disk.device, str(disk.size_bytes), *(word or "" for word in named))


def named_disks(order: Order, files: str) -> str:
    """Shell lines that put these names into files, in place of those that `placeholder` gives."""
    edits = " ".join(
        f'-e "s|{placeholder(number)}|$lpmos_disk{number}|g"'
        for number in range(1, len(order.disks.disks) + 1)
    )
    return f"sed {edits} {files}\n"


def placeholder(number: int) -> str:
    """What stands for a disk, counted from 1, until it is found."""
    return f"/dev/lpmos-disk-{number:02d}"


class Ending(NamedTuple):
    """How a family's last script is its own.

    `target` is the shell's word for the new system's root, `run` the command before one that runs
    in it; `before` and `after` are shell lines around all else, a failing one ends the install.
    """

    target: str
    run: str = 'chroot "$target"'
    files: tuple[PlannedFile, ...] = ()
    before: str = ""
    after: str = ""


def late(order: Order, own: Ending) -> str:
    """The last script: files, the task's own steps, the first boot's word, and the end."""
    lines = [
        f". {HOOKS}",
        f"target={own.target}",
        "lpmos_progress configuring 90 the files of this machine",
        *_hidden(order),
        "(",
        "set -eu",
        own.before.strip("\n"),
        *(written(file) for file in own.files),
        *_steps(order, own.run),
        "lpmos_progress configuring 98 what tells that this system came up",
        f"lpmos_insist {shell(order.urls.first_boot)} {PLACE}/first-boot.sh",
        f'sh {PLACE}/first-boot.sh "$target"',
        own.after.strip("\n"),
        f") >{LATE_LOG} 2>&1",
        'if [ "$?" != 0 ]; then',
        f'    lpmos_failed "the installed system could not be finished" {LATE_LOG}',
        "    exit 1",
        "fi",
        f": >{PLACE}/end",
        "lpmos_stream last",
        'lpmos_insist "$lpmos_installed_url" /dev/null',
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _hidden(order: Order) -> list[str]:
    """The line that keeps what no log that is handed in may show; none where there is nothing."""
    hidden = [text for text in order.secrets.texts if len(text) >= MASKED_CHARACTERS]
    forms = dict.fromkeys(form for line in _lines(hidden) for form in _quoted(line))
    return [f"printf '%s\\n' {words(forms)} >{SECRETS}"] if forms else []


def _quoted(text: str) -> tuple[str, ...]:
    """A text as it is, and as installers log it in quotes: JSON, and Ruby of YaST's."""
    json = text.replace("\\", "\\\\").replace('"', '\\"')
    return (text, json, _RUBYS.sub(r"\\#", json))


def failure(log: str) -> str:
    """The script for an installer that gave up; it says nothing where that was said before."""
    return f'. {HOOKS}\nlpmos_failed "the installer gave up" {log}\n'


def authorized_keys(order: Order) -> tuple[PlannedFile, ...]:
    """Who may log in as root."""
    keys = "".join(f"{key}\n" for key in order.task.ssh_keys)
    if not keys:
        return ()
    return (PlannedFile(path="/root/.ssh/authorized_keys", content=keys, mode=0o600),)


def written(file: PlannedFile) -> str:
    path = f'"$target"{shell(file.path)}'
    folder = f'"$target"{shell(file.path.rpartition("/")[0])}'
    private = f"chmod 700 {folder}; " if folder.endswith("/.ssh'") else ""
    return (
        f"mkdir -p {folder}; {private}printf %s {shell(file.content)} >{path};"
        f" chmod {file.mode:o} {path}"
    )


def _steps(order: Order, run: str) -> list[str]:
    """Each step is a file of the new system while it runs, as its own shell reads it."""
    place = "/var/lib/lpmos-step.sh"
    lines = []
    for number, step in enumerate(order.steps):
        percent = 91 + 6 * number // len(order.steps)
        lines += [
            f"lpmos_progress configuring {percent} {shell(step.title)}",
            f'printf %s {shell(step.script)} >"$target{place}"; chmod 700 "$target{place}"',
            f"{run} timeout {step.timeout_s} /bin/sh {place} ||"
            f" {{ echo {shell(f'failed: {step.title}')}; exit 1; }}",
            f'rm -f "$target{place}"',
        ]
    return lines


def _lines(texts: Iterable[str]) -> list[str]:
    found = (line for text in texts for line in text.split("\n"))
    return [line for line in found if len(line) >= MASKED_CHARACTERS]
