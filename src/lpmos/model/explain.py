"""Why a machine waits: what it waits for, what was seen of it last, and what is probably wrong.

`RULES` is the whole knowledge, one row for each thing that goes wrong, read from the top: a row
speaks where its condition holds of a `Situation`. What is known beyond doubt comes before what is
only likely. Pure: the time is a part of the situation.
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from lpmos.model.diskerrors import disk_fails
from lpmos.model.evidence import ANOTHER_MACHINE, Sign, Transfer
from lpmos.model.lifecycle import Status
from lpmos.model.situation import QUIET, STUCK, Situation

SETTLED = timedelta(seconds=5)
"""Before that a download has no rate that says anything."""
SLOW_BYTES_PER_S = 2_000_000
"""What no healthy network of servers goes below (16 Mbit/s); REQUIREMENTS want 100 Mbit/s."""
TRANSFER_BYTES_PER_S = 300_000
"""A kernel and an initramfs that come slower than that are stuck, or as good as."""
INSTALLER_STARTS = timedelta(minutes=5)
"""A server's firmware takes minutes, and an installer one or two before its first word."""
INSTALLER_QUIET = timedelta(minutes=10)
"""Many packages are fetched and unpacked between two words of an installer."""
LONG = timedelta(minutes=30)
"""A wait of which nothing is known that takes so long is worth a look."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What is probably wrong, and what to do; `code` is for programs."""

    code: str
    cause: str
    do: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A row: where `holds` does, `cause` is likely and `do` helps.

    In `cause`, `{reason}` stands for why the region had the machine wait, `{awaits}` for what it
    fetches for it still.
    """

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


def _is_proxied(now: Situation) -> bool:
    """Whether another server gives the addresses, so that the region sees none being given."""
    return now.seen.asked is not None and now.seen.asked.by == "proxy"


def _hears_systems(now: Situation) -> bool:
    """Whether the region gives the addresses, so that it hears a system that asks for one."""
    return now.seen.asked is not None and not _is_proxied(now)


def _has_to_wait(now: Situation) -> bool:
    """Whether the last that was seen is that the region had it wait."""
    waits = now.told_to_wait is not None and not now.task.finished
    return waits and now.task.status is not Status.PENDING


def _awaits_its_image(now: Situation) -> bool:
    return now.awaits is not None and now.is_(Status.PENDING, Status.APPROVED)


def _was_refused(now: Situation) -> Sign | None:
    """The refused call of its agent, while it is news."""
    refused = now.seen.refused
    return refused if refused and now.now - refused.at < 10 * QUIET else None


def _is_another(now: Situation) -> bool:
    """Whether another machine was refused: lately, or since an agent is waited for."""
    refused = now.seen.refused
    if now.task.finished or refused is None or refused.detail != ANOTHER_MACHINE:
        return False
    waits = now.is_(*_BOOTS, Status.PENDING_APPROVAL, Status.APPROVED) or _agent_installs(now)
    return (waits and not now.agent) or _was_refused(now) is not None


def _agent_started(now: Situation) -> bool:
    """Whether the network came up once more after the agent's files had gone out."""
    files = now.seen.initramfs
    asked = now.seen.asked
    if asked is None or not _hears_systems(now):
        return False
    return bool(files and files.done_at and asked.at > files.done_at)


def _files_are_there(now: Situation) -> bool:
    files = now.seen.initramfs
    return now.is_(Status.BOOTING) and bool(
        files and files.done_at and now.now - files.done_at > now.agent_starts
    )


def _agent_installs(now: Situation) -> bool:
    return now.is_(Status.INSTALLING) and now.task.handover is None


def _in_step(now: Situation, *steps: str) -> bool:
    return _agent_installs(now) and now.step is not None and now.step.step in steps


def _rate(now: Situation) -> float | None:
    return now.step.bytes_per_second if now.step else None


def _installer_waits(now: Situation, longest: timedelta, *, spoke: bool) -> bool:
    """Whether a distribution's installer has told nothing new for longer than that; `spoke`: but
    something before.
    """
    since = now.installer_since
    if since is None or not now.is_(Status.INSTALLING):
        return False
    said = now.step is not None and now.step.timestamp > since
    return said is spoke and now.now - max(since, now.task.updated_at) > longest


def _is_at_its_job(now: Situation) -> bool:
    """Whether it does what takes as long as was asked for."""
    return now.task.job is not None and now.task.status is Status.INSTALLING


def _starts_its_system(now: Situation) -> bool:
    return now.task.starts_its_system and now.late


def _asked_after_restart(now: Situation) -> bool:
    """Whether the installed system asked for an address: not firmware on its way to the disk.

    Who netboots again asks before it is sent anything.
    """
    over, asked = now.task.handed_over_at, now.seen.asked
    if over is None or asked is None or asked.by is not None:
        return False
    sent = (now.seen.loader, now.seen.entry, now.seen.script)
    return asked.at > max([over, *(sign.at for sign in sent if sign)])


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
        code="image-on-its-way",
        holds=lambda now: _awaits_its_image(now),
        cause="The region fetches what it is installed from still: {awaits}.",
        do="It goes on by itself when that is there before its time is over; `lpmos region show`"
        " says how far it is and what keeps it.",
    ),
    Rule(
        code="not-prepared",
        holds=lambda now: (
            now.is_(Status.PENDING) and now.waited > QUIET and not _awaits_its_image(now)
        ),
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
            and not _is_proxied(now)
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
            and now.seen.script is None
            and now.quiet_since(now.seen.asked if _is_proxied(now) else now.seen.given)
        ),
        cause="It got an address, or asks another server for one where the region is a proxy, and"
        " fetched no boot loader: TFTP (UDP 69) does not come through, or it was its own system"
        " that asked, not the firmware's network boot.",
        do="Let UDP 69 (of a proxy 4011, too) and the answers' high ports through between the"
        " machine and the region; check that the firmware boots from the network, and that the"
        " other server gives addresses.",
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
        code="told-to-wait",
        holds=lambda now: _has_to_wait(now) and now.asks_again,
        cause="The region has it wait and ask again: {reason}.",
        do="Mend what it names; the region's log has all of it ('no boot script', 'no nonce for a"
        " machine', 'a machine cannot boot the agent'). The machine goes on by itself then.",
    ),
    Rule(
        code="asks-no-more",
        holds=lambda now: _has_to_wait(now) and not now.asks_again,
        cause="The region had it wait and ask again ({reason}), and it has not asked since: it is"
        " off, or was moved to another network.",
        do="Look at the machine's screen and power; mend what made it wait, then power it on again"
        " with network boot first.",
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
            and now.told_to_wait is None
            and now.quiet_since(now.seen.script)
        ),
        cause="It got its script and did not fetch the agent's files: it stopped or was turned off"
        " in iPXE.",
        do="Look at the machine's screen; power it on again: it begins anew, nothing is lost.",
    ),
    Rule(
        code="another-machine",
        holds=_is_another,
        cause="Another machine reports with this one's MAC and is refused: a board or a card was"
        " replaced since this one reported, or two machines have one MAC.",
        do="The task's log says what differs, and the other machine's report is under Unmatched."
        " Where it was repaired, cancel the task and create a new one; else look for the other.",
    ),
    Rule(
        code="agent-refused",
        holds=lambda now: (
            now.is_(*_BOOTS, Status.PENDING_APPROVAL, Status.APPROVED)
            and (refused := _was_refused(now)) is not None
            and refused.detail != ANOTHER_MACHINE
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
        holds=lambda now: _files_are_there(now) and _hears_systems(now) and not _agent_started(now),
        cause="The agent's kernel and initramfs were loaded whole, and it never asked for an"
        " address: the kernel stopped (panic, less than 384 MB of memory), or the agent image has"
        " no driver for this card.",
        do="Look at the console (serial, 115200 baud); if the card is not found, or its driver asks"
        " for firmware (`lpmos doctor` on the region's host names drivers that lack theirs), build"
        " the agent image from a mirror that has non-free-firmware (`lpmos image build-agent`).",
    ),
    Rule(
        code="agent-silent",
        holds=lambda now: _files_are_there(now) and not _hears_systems(now),
        cause="The agent's kernel and initramfs were loaded whole, and nothing came of the agent;"
        " this region does not see its DHCP: its kernel stopped, it has no driver for this card or"
        " no address, or TCP to the region's API port does not come through.",
        do="Look at the console (serial, 115200 baud), which shows how far the agent came; let TCP"
        " to the region's API port through; see that the network's DHCP server gives addresses.",
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
            now.task.status in (Status.INSTALLING, Status.FAILED) and disk_fails(now.task)
        ),
        cause="The disk gives errors.",
        do="Replace the disk, then try the task again; the lines with the errors are in its log.",
    ),
    Rule(
        code="agent-away",
        holds=lambda now: _agent_installs(now) and now.agent is False,
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
        code="installer-not-started",
        holds=lambda now: _installer_waits(now, INSTALLER_STARTS, spoke=False),
        cause="The agent handed over to the distribution's installer, and nothing came of that: the"
        " machine did not ask for the one boot script that starts it, or its kernel stopped, has no"
        " driver for this card or disk, or cannot reach the region.",
        do="Look at the console. A script that was not asked for yet (the task's log says when it"
        " was sent) needs a network boot; after that, try the task again.",
    ),
    Rule(
        code="installer-silent",
        holds=lambda now: _installer_waits(now, INSTALLER_QUIET, spoke=True),
        cause="The distribution's installer told nothing new for long: its packages come slowly, it"
        " asks something on the console, or it stopped.",
        do="Read the task's log and the console; see whether the mirror is reachable from that"
        " network. It fails by itself when its time is over.",
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
        holds=lambda now: (
            _starts_its_system(now) and _hears_systems(now) and not _asked_after_restart(now)
        ),
        cause="Nothing was seen of its system since the restart: the firmware does not start the"
        " disk, the system stops on its way, or its network is configured otherwise than its port.",
        do="Look at the console and the firmware's boot order; compare the task's network with the"
        " port's VLAN.",
    ),
    Rule(
        code="system-silent",
        holds=lambda now: _starts_its_system(now) and not _hears_systems(now),
        cause="Nothing came of its system since the restart, and this region does not see its DHCP:"
        " the firmware does not start the disk, the system stops on its way, its network is"
        " configured otherwise than its port, or TCP to the region's API port does not come"
        " through.",
        do="Look at the console. Where the system runs, log in and look at `journalctl -u"
        " lpmos-first-boot`; else at the firmware's boot order and the port's VLAN.",
    ),
    Rule(
        code="takes-longer",
        holds=lambda now: (
            not (now.task.finished or _is_at_its_job(now))
            and now.late
            and (now.usual is not None or now.waited > LONG)
        ),
        cause="It takes longer than nearly always, and nothing that was seen says why.",
        do="Look at the machine's console and at the task's log.",
    ),
)


def explain(now: Situation) -> tuple[Cause, ...]:
    """What is probably wrong, the likeliest first; nothing where it only takes its time.

    The last row speaks where no other does.
    """
    *known, last = RULES
    found = [rule for rule in known if rule.holds(now)]
    if not found and last.holds(now):
        found = [last]
    told = (now.told_to_wait or "").rstrip(".")
    awaits = now.awaits or ""
    return tuple(
        Cause(
            code=rule.code,
            cause=rule.cause.replace("{reason}", told).replace("{awaits}", awaits),
            do=rule.do,
        )
        for rule in found
    )
