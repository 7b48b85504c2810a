"""Why a machine waits: what it waits for, what was seen of it last, and what is probably wrong.

`RULES` is the whole knowledge, one row for each thing that goes wrong, read from the top: a row
speaks where its condition holds of a `Situation`. What is known beyond doubt comes before what is
only likely. Pure: the time is a part of the situation.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from lpmos.model.evidence import Evidence, Sign, Transfer
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, Task

QUIET = timedelta(seconds=20)
"""A layer that follows another within seconds is late after so long."""
STUCK = timedelta(seconds=90)
"""An install that says nothing new for so long has stopped, or its disk is very slow."""
SETTLED = timedelta(seconds=5)
"""Before that a download has no rate that says anything."""
SLOW_BYTES_PER_S = 2_000_000
"""What no healthy network of servers goes below (16 Mbit/s); REQUIREMENTS want 100 Mbit/s."""
TRANSFER_BYTES_PER_S = 300_000
"""A kernel and an initramfs that come slower than that are stuck, or as good as."""
_DISK_ERRORS = (
    *("i/o error", "input/output error", "medium error", "write error", "blk_update"),
    "read-only file system",
)
"""In the words of the kernel, of strerror(3), and of programs."""


class Usual(msgspec.Struct, frozen=True, kw_only=True):
    """How long a wait takes, from `count` finished tasks of machines of this model."""

    model: str | None
    count: int
    p50_s: float
    p95_s: float


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What is probably wrong, and what to do; `code` is for programs."""

    code: str
    cause: str
    do: str


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the way: what was seen last; `at` is None where nothing was, though it is due."""

    layer: str
    at: datetime | None
    what: str


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at. `seen` has only what is newer than the task.

    `online` is the region's, `agent` whether its agent lives; None: it was never heard.
    """

    task: Task
    since: datetime
    now: datetime
    seen: Evidence
    online: bool = True
    agent: bool | None = None
    usual: Usual | None = None

    @property
    def waited(self) -> timedelta:
        """How long it has waited in this state."""
        return self.now - self.since

    @property
    def step(self) -> Progress | None:
        """The newest step of its install."""
        return self.task.progress[-1] if self.task.progress else None

    @property
    def silent(self) -> timedelta:
        """How long the install has told nothing new."""
        step = self.step
        return self.now - (max(step.timestamp, self.since) if step else self.since)

    @property
    def stepping(self) -> timedelta:
        """How long the present step of its install takes already."""
        steps = self.task.progress
        return self.now - (max(steps[-2].timestamp, self.since) if steps[1:] else self.since)

    @property
    def late(self) -> bool:
        """Whether it takes longer than nearly always, or than `STUCK` where that is not known."""
        usual = timedelta(seconds=1.5 * self.usual.p95_s) if self.usual else STUCK
        return self.waited > max(usual, QUIET)

    def is_(self, *statuses: Status) -> bool:
        """Whether the task is in one of these, and its system does not start already."""
        return self.task.status in statuses and self.task.handed_over_at is None

    def quiet_since(self, sign: Sign | Transfer | None) -> bool:
        """Whether this was seen, and nothing newer of any layer for a while."""
        newest = self.seen.newest
        return sign is not None and newest is not None and self.now - newest > QUIET


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A row: where `holds` does, `cause` is likely and `do` helps."""

    code: str
    holds: Callable[[Situation], bool]
    cause: str
    do: str


_BOOTS = (Status.READY, Status.BOOTING)


def _waits_to_boot(now: Situation) -> bool:
    return now.is_(Status.READY) and now.waited > STUCK


def _stuck_transfer(file: Transfer | None, now: Situation) -> bool:
    """Whether a file is still on its way after a time in which it has to have come."""
    if file is None or file.done_at is not None:
        return False
    return now.now - file.at > QUIET + timedelta(seconds=file.size_bytes / TRANSFER_BYTES_PER_S)


def _agent_started(now: Situation) -> bool:
    """Whether the network came up once more after the agent's files had gone out."""
    files = now.seen.initramfs
    asked = now.seen.asked
    return bool(files and files.done_at and asked and asked.at > files.done_at)


def _files_are_there(now: Situation) -> bool:
    files = now.seen.initramfs
    return now.is_(Status.BOOTING) and bool(
        files and files.done_at and now.now - files.done_at > 3 * QUIET
    )


def _in_step(now: Situation, *steps: str) -> bool:
    return now.is_(Status.INSTALLING) and now.step is not None and now.step.step in steps


def _rate(now: Situation) -> float | None:
    return now.step.bytes_per_second if now.step else None


def _disk_complains(now: Situation) -> bool:
    error = now.task.error
    texts = [*now.task.logs, (error.reason if error else ""), ((error and error.output) or "")]
    return any(word in text.lower() for text in texts for word in _DISK_ERRORS)


def _starts_its_system(now: Situation) -> bool:
    return now.task.starts_its_system and now.late


def _asked_after_restart(now: Situation) -> bool:
    over = now.task.handed_over_at
    return over is not None and now.seen.asked is not None and now.seen.asked.at > over


RULES: tuple[Rule, ...] = (
    Rule(
        code="region-offline",
        holds=lambda now: not now.online and not now.task.finished,
        cause="The region is off line: what is below is of before. It goes on booting machines and"
        " installing what was approved, and hands in what happened when it is back.",
        do="Look at the region's page; on its host, `lpmos doctor` says whether it reaches the"
        " store.",
    ),
    Rule(
        code="not-prepared",
        holds=lambda now: now.is_(Status.PENDING) and now.waited > QUIET,
        cause="The region has not prepared the boot files: it is busy, or cannot read its images.",
        do="Look at the region's log for 'tasks wait to be prepared', and at `lpmos image list`"
        " there.",
    ),
    Rule(
        code="nothing-seen",
        holds=lambda now: _waits_to_boot(now) and now.seen.newest is None,
        cause="Nothing was seen of this MAC: the machine is off, does not boot from the network, is"
        " plugged into another network (wrong VLAN, no DHCP relay), or the task names a MAC that"
        " is not the one that boots.",
        do="Power it on with network boot first (`lpmos bmc`), compare the MAC with the firmware's"
        " screen, and look whether its port's VLAN leads to this region.",
    ),
    Rule(
        code="no-address",
        holds=lambda now: (
            now.is_(*_BOOTS)
            and not any((now.seen.given, now.seen.loader, now.seen.entry, now.seen.script))
            and now.quiet_since(now.seen.asked)
        ),
        cause="It asks for an address and takes none: the range is used up, the region gives"
        " addresses to known machines only, or another DHCP server answered first.",
        do="See on the region's page how full its networks are; look for another DHCP server in"
        " that network.",
    ),
    Rule(
        code="no-loader",
        holds=lambda now: (
            now.is_(*_BOOTS)
            and now.seen.loader is None
            and now.seen.entry is None
            and now.quiet_since(now.seen.given)
        ),
        cause="It got an address and fetched no boot loader: TFTP (UDP 69) does not come through,"
        " or it was its own system that asked, not the firmware's network boot.",
        do="Let UDP 69 and the answers' high ports through between the machine and the region;"
        " check that the firmware boots from the network.",
    ),
    Rule(
        code="loader-without-script",
        holds=lambda now: (
            now.is_(*_BOOTS)
            and now.seen.entry is None
            and now.seen.script is None
            and now.quiet_since(now.seen.loader)
        ),
        cause="The boot loader was sent and never asked for its script: Secure Boot refused it, it"
        " has no driver for this card, or HTTP to the region does not come through.",
        do="Look at the machine's screen; turn Secure Boot off or set secure_boot in the"
        " machine's network (docs/how-to/dhcp.md); let TCP to the region's API port through.",
    ),
    Rule(
        code="no-script-of-its-own",
        holds=lambda now: (
            now.is_(*_BOOTS) and now.seen.script is None and now.quiet_since(now.seen.entry)
        ),
        cause="iPXE runs and did not get this machine's script: it asks with another card's MAC, or"
        " from an address that DHCP gave to another machine.",
        do="Compare the MAC on the machine's screen with the task's; look at the region's log for"
        " 'no boot script' and 'no nonce for a machine'.",
    ),
    Rule(
        code="agent-files-slow",
        holds=lambda now: (
            now.is_(*_BOOTS)
            and (_stuck_transfer(now.seen.kernel, now) or _stuck_transfer(now.seen.initramfs, now))
        ),
        cause="The agent's kernel or initramfs comes very slowly, or the transfer broke.",
        do="Look for errors on the switch port (duplex, cable), and at the load of the region.",
    ),
    Rule(
        code="agent-files-not-taken",
        holds=lambda now: (
            now.is_(Status.BOOTING)
            and (now.seen.kernel is None or now.seen.initramfs is None)
            and now.quiet_since(now.seen.script)
        ),
        cause="It got its script and did not fetch the agent's files: it stopped or was turned off"
        " in iPXE.",
        do="Look at the machine's screen; power it on again: it begins anew, nothing is lost.",
    ),
    Rule(
        code="agent-refused",
        holds=lambda now: (
            now.is_(*_BOOTS, Status.PENDING_APPROVAL, Status.APPROVED)
            and now.seen.refused is not None
            and now.now - now.seen.refused.at < 10 * QUIET
        ),
        cause="The region refuses its agent's calls.",
        do="Look at the region's log for this MAC: two machines with one MAC or address, or an"
        " agent that was started long ago; boot it again for a new identity.",
    ),
    Rule(
        code="agent-cannot-reach-region",
        holds=lambda now: _files_are_there(now) and _agent_started(now),
        cause="The agent runs and has an address, and no call of it comes: TCP to the region's API"
        " port does not come through from there, or its clock is too wrong for TLS.",
        do="Let TCP to the region's API port through; read the agent's own words on the console.",
    ),
    Rule(
        code="agent-does-not-start",
        holds=lambda now: _files_are_there(now) and not _agent_started(now),
        cause="The agent's kernel and initramfs were loaded whole, and it never asked for an"
        " address: the kernel stopped (panic, less than 384 MB of memory), or the agent image has"
        " no driver for this card.",
        do="Look at the console (serial, 115200 baud); if the card is not found, or its driver asks"
        " for firmware (`lpmos doctor` on the region's host names drivers that lack theirs), build"
        " the agent image from a mirror that has non-free-firmware (`lpmos image build-agent`).",
    ),
    Rule(
        code="nobody-decided",
        holds=lambda now: now.is_(Status.PENDING_APPROVAL) and now.late,
        cause="Nobody has approved or rejected it, and no rule matches.",
        do="Approve or reject it; `lpmos explain` says of each rule why it does not match.",
    ),
    Rule(
        code="agent-left",
        holds=lambda now: now.is_(Status.PENDING_APPROVAL, Status.APPROVED) and now.agent is False,
        cause="Its agent is not heard any more: the machine was turned off or restarted, or its"
        " network is gone.",
        do="Power it on again: it reports anew, and an approval of the same hardware stays.",
    ),
    Rule(
        code="disk-fails",
        holds=lambda now: (
            now.task.status in (Status.INSTALLING, Status.FAILED) and _disk_complains(now)
        ),
        cause="The disk gives errors.",
        do="Replace the disk, then try the task again; the lines with the errors are in its log.",
    ),
    Rule(
        code="agent-away",
        holds=lambda now: now.is_(Status.INSTALLING) and now.agent is False,
        cause="Its agent is not heard in the middle of the install: no power, no network, or the"
        " kernel stopped.",
        do="Look at its console and power before the task fails; the disk may be half written.",
    ),
    Rule(
        code="image-slow",
        holds=lambda now: (
            _in_step(now, "downloading")
            and now.stepping > SETTLED
            and (rate := _rate(now)) is not None
            and rate < SLOW_BYTES_PER_S
        ),
        cause="The image comes slowly: the network between the machine and the region, or a disk"
        " that takes it slowly.",
        do="Compare with other machines of this region at the moment: are all slow, it is the"
        " region's link or load; is it this one, look at its port's speed and errors.",
    ),
    Rule(
        code="disk-slow",
        holds=lambda now: (
            _in_step(now, "partitioning", "installing", "configuring") and now.silent > STUCK
        ),
        cause="It works on the disk and told nothing new for long: a slow or failing disk, or a"
        " command that waits.",
        do="Look at the console for errors of the disk, and at its log for the command; the task"
        " fails by itself when its time is over.",
    ),
    Rule(
        code="download-stands",
        holds=lambda now: _in_step(now, "downloading") and now.silent > STUCK,
        cause="The image stopped coming; the agent asks again for what is missing.",
        do="Look at the region's health and at the machine's link.",
    ),
    Rule(
        code="system-cannot-call",
        holds=lambda now: _starts_its_system(now) and _asked_after_restart(now),
        cause="The installed system has an address and its word did not come: TCP to the region's"
        " API port does not come through from its network, or its image cannot run the unit.",
        do="Log in and look at `journalctl -u lpmos-first-boot`.",
    ),
    Rule(
        code="system-does-not-start",
        holds=lambda now: _starts_its_system(now) and not _asked_after_restart(now),
        cause="Nothing was seen since the restart: the firmware does not start the disk, the system"
        " stops on its way, or its network is configured otherwise than its port.",
        do="Look at the console and the firmware's boot order; compare the task's network with the"
        " port's VLAN.",
    ),
)


def explain(now: Situation) -> tuple[Cause, ...]:
    """What is probably wrong, the likeliest first; nothing where it only takes its time."""
    return tuple(
        Cause(code=rule.code, cause=rule.cause, do=rule.do) for rule in RULES if rule.holds(now)
    )


def layers(now: Situation) -> tuple[Layer, ...]:
    """The way from power-on to the agent's newest word: what was seen of each part of it, and when.

    What comes after the newest sign and was not seen is left out but for the first: that is where
    it stands.
    """
    found = [*_boot_layers(now.seen), *_agent_layers(now)]
    last = max((number for number, layer in enumerate(found) if layer.at), default=-1)
    if now.task.finished:
        return tuple(layer for layer in found if layer.at)
    return tuple(found[: last + 2])


def _boot_layers(seen: Evidence) -> Sequence[Layer]:
    return (
        _layer("dhcp", seen.asked, "asked for an address: {}"),
        _layer("address", seen.given, "was given {}"),
        _layer("loader", seen.loader, "was sent {}"),
        _layer("ipxe", seen.entry, "iPXE asked what to do"),
        _layer("script", seen.script, "was told: {}"),
        _sent("kernel", seen.kernel),
        _sent("initramfs", seen.initramfs),
    )


def _agent_layers(now: Situation) -> Sequence[Layer]:
    task, step = now.task, now.step
    reported = task.reported_at
    called = Layer(
        layer="agent",
        at=now.seen.agent.at if now.seen.agent else reported,
        what=now.seen.agent.detail
        if now.seen.agent
        else "reported its hardware"
        if reported
        else "no call of the agent",
    )
    if step is None:
        return (called,)
    return called, Layer(layer=step.step, at=step.timestamp, what=_of_step(step))


def _of_step(step: Progress) -> str:
    rate = step.bytes_per_second
    parts = [f"{step.percent:.0f} %", step.message, _in_words(rate) if rate else ""]
    return ", ".join(part for part in parts if part)


def _in_words(bytes_per_s: float) -> str:
    if bytes_per_s < 1e6:
        return f"{bytes_per_s / 1e3:.0f} kB/s"
    return f"{bytes_per_s / 1e6:.1f} MB/s"


def _layer(name: str, sign: Sign | None, text: str) -> Layer:
    if sign is None:
        return Layer(layer=name, at=None, what="not seen")
    return Layer(layer=name, at=sign.at, what=text.format(sign.detail).strip())


def _sent(name: str, file: Transfer | None) -> Layer:
    if file is None:
        return Layer(layer=name, at=None, what="not asked for")
    size = f"{file.size_bytes / 1e6:.1f} MB"
    if file.done_at is None:
        return Layer(layer=name, at=file.at, what=f"asked for; not all of its {size} has gone out")
    took = (file.done_at - file.at).total_seconds()
    return Layer(layer=name, at=file.done_at, what=f"{size} in {took:.1f} s")
