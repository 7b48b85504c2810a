"""The moments of a machine's boots: from its first packet to its agent, and on to its own system.

A `Boot` is made sign by sign, as a region hears them; what of it belongs to a task is taken out
when the agent reports (`boot_moments`), and when the installed system speaks (`restart_moments`);
before the report, `moments_so_far` has it. The rule: firmware, boot loader, agent and installed
system each ask for an address, so a request says nothing by itself. It begins a boot where what is
seen next is earlier on the way than what was seen before it. Pure.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

Moments = dict[str, datetime]
"""When each moment was, by its name."""

DHCP, ADDRESS = "boot.dhcp", "boot.address"
LOADER, IPXE, SCRIPT = "boot.loader", "boot.ipxe", "boot.script"
KERNEL_ASKED, KERNEL = "boot.kernel_asked", "boot.kernel"
INITRAMFS_ASKED, INITRAMFS = "boot.initramfs_asked", "boot.initramfs"
NETWORK, AGENT = "boot.network", "boot.agent"
RESTART_SEEN, RESTART_SCRIPT = "restart.seen", "restart.script"
RESTART_NETWORK = "restart.network"

MOMENTS: Mapping[str, str] = MappingProxyType(
    {
        DHCP: "the machine asked for an address",
        ADDRESS: "it was given one",
        LOADER: "the boot loader was sent",
        IPXE: "iPXE asked what to do",
        SCRIPT: "the boot script was sent",
        KERNEL_ASKED: "the agent's kernel was asked for",
        KERNEL: "all of it was sent",
        INITRAMFS_ASKED: "the agent's initramfs was asked for",
        INITRAMFS: "all of it was sent",
        NETWORK: "the started kernel asked for an address",
        AGENT: "the agent called",
        RESTART_SEEN: "the machine was seen again",
        RESTART_SCRIPT: "its boot script was sent again",
        RESTART_NETWORK: "the started system asked for an address",
    }
)
"""What each moment is, in the order in which they come; what was not seen is left out."""

QUIET = timedelta(seconds=70)
"""A request for an address that comes so long after the one before is of another boot: who gets no
answer asks again after 65 s at the latest (RFC 2131 section 4.1).
"""
LONGEST = timedelta(minutes=30)
"""An agent that calls so long after the last sign of a boot was not started by it."""
_RANK = {moment: rank for rank, moment in enumerate(MOMENTS)}


class Boot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest boot of one machine.

    `asked` is the first request for an address since the newest of `moments`, `given` its answer:
    nobody can tell yet whether this boot goes on or the next one has begun. `heard` is the newest
    of the requests, or that answer.
    """

    moments: Moments = {}
    asked: datetime | None = None
    given: datetime | None = None
    heard: datetime | None = None

    def after(self, moment: str, at: datetime) -> "Boot":
        """The boot with one moment more, or the next boot, which begins with it."""
        at = _short(at)
        if moment == DHCP:
            asked, given = (self.asked, self.given) if self._is_heard(at) else (at, None)
            return Boot(self.moments, asked, given, at)
        if moment == ADDRESS:
            is_answer = self.asked and self.given is None
            return Boot(self.moments, self.asked, at, at) if is_answer else self
        if moment == AGENT and AGENT in self.moments:
            return Boot(self.moments)
        return Boot({**self._until(moment, at), moment: at})

    @property
    def begun(self) -> Moments:
        """What a boot has that begins with the newest request; none where there was no request."""
        if self.asked is None:
            return {}
        return {DHCP: self.asked, **({ADDRESS: self.given} if self.given else {})}

    def _is_heard(self, at: datetime) -> bool:
        """Whether what comes now goes on from the newest request."""
        return self.heard is not None and at - self.heard <= QUIET

    def _until(self, moment: str, at: datetime) -> Moments:
        """What was before `moment` in its boot."""
        rank = _RANK[moment]
        goes_back = any(_RANK.get(known, 0) > rank for known in self.moments)
        if not self.moments or (goes_back and (self.asked or AGENT in self.moments)):
            return self.begun if self._is_heard(at) else {}
        known = {name: seen for name, seen in self.moments.items() if _RANK.get(name, 0) < rank}
        return {**known, NETWORK: self.asked} if moment == AGENT and self.asked else known


def boot_moments(boot: Boot, now: datetime) -> Moments:
    """The moments of the boot that brought the agent which reports `now`; none where nothing was
    seen of it.
    """
    if not any(at <= now for at in boot.moments.values()):
        return {}
    if AGENT not in boot.moments:
        if now - max(boot.moments.values()) > LONGEST:
            return {}
        boot = boot.after(AGENT, now)
    return {name: at for name, at in boot.moments.items() if at <= now}


def moments_so_far(boot: Boot, since: datetime) -> Moments:
    """The moments of the boot under way, whose agent has not reported yet.

    Of a boot that was over at `since` there are none. Where nobody can tell whether the newest
    request begins the next boot, it does not, as for `boot_moments`; what comes next shows it.
    """
    if all(at < since for at in boot.moments.values()):
        return boot.begun if boot.asked and boot.asked >= since else {}
    if boot.asked and INITRAMFS in boot.moments and AGENT not in boot.moments:
        return {**boot.moments, NETWORK: boot.asked}
    return boot.moments


def restart_moments(boot: Boot, since: datetime, now: datetime) -> Moments:
    """What was seen from the restart at `since` until the installed system spoke, which is `now`.

    A machine that starts its own disk without asking for a script is seen once its system is there.
    """
    later = {name: at for name, at in boot.moments.items() if since <= at <= now}
    network = boot.asked if boot.asked and since <= boot.asked <= now else None
    signs = [*later.values(), *([network] if network else [])]
    if not signs:
        return {}
    found = {RESTART_SEEN: min(signs)}
    if SCRIPT in later:
        found[RESTART_SCRIPT] = later[SCRIPT]
        if network:
            found[RESTART_NETWORK] = network
    return found


def _short(at: datetime) -> datetime:
    """To the millisecond: a task keeps these for years."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
