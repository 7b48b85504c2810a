"""What `lpmos doctor` finds: a line for each thing looked at, and what to do about it.

The functions here judge what was asked already; they ask nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from lpmos.cli.client import Document
from lpmos.cli.words import ago, plain, span

CLOCK_DIFFERENCE_S = 5.0
HEARTBEAT_OLDEST_S = 40.0
"""A region that is online was heard within its lease of 30 s, by its own clock."""
EXPIRES_SOON = timedelta(days=14)
LITTLE_SPACE = 0.1
FEW_ADDRESSES = 0.1


class Level(StrEnum):
    """How well a thing is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """One thing that was looked at; `do` says how it is put right, where it has to be."""

    level: Level
    subject: str
    found: str
    do: str = ""


def ok(subject: str, found: str) -> Finding:
    """It is well."""
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, do: str) -> Finding:
    """It works, and will not do for long, or not as well as it could."""
    return Finding(Level.WARNING, subject, found, do)


def wrong(subject: str, found: str, do: str) -> Finding:
    """It does not work."""
    return Finding(Level.WRONG, subject, found, do)


def judge_clock(server: datetime, here: datetime) -> Finding:
    """Whether the two clocks agree; the server's is told to the second."""
    difference_s = (here - server).total_seconds()
    if abs(difference_s) <= CLOCK_DIFFERENCE_S:
        return ok("clock", "agrees with the server's")
    way = "ahead of" if difference_s > 0 else "behind"
    return wrong(
        "clock",
        f"this machine's is {span(abs(difference_s))} {way} the server's",
        "let both take the time by NTP (timedatectl set-ntp true): logins and leases depend on it",
    )


def judge_certificate(
    subject: str, ends: datetime, now: datetime, then: str = "no restart is needed"
) -> Finding:
    """Whether a certificate still holds for a while; `then` is what its renewal takes."""
    when = ago(ends.isoformat(), now)
    if ends <= now:
        return wrong(subject, f"ended {when}", f"put a new one in its place; {then}")
    if ends - now < EXPIRES_SOON:
        return warning(subject, f"ends {when}", f"renew it before that; {then}")
    return ok(subject, f"ends {when}")


def judge_store(health: Document) -> Finding:
    """Whether the store answers and its changes are heard."""
    store = health["store"]
    if store["connected"] and store["healthy"] and not store["alarms"]:
        if hint := store.get("hint"):  # an older control plane gives none
            found, _, do = hint.partition(": ")
            return warning("store", plain(found), plain(do))
        return ok("store", f"{store['backend']}, revision {store['revision']}")
    if store["alarms"]:
        return wrong(
            "store",
            f"alarms: {plain(', '.join(store['alarms']))}",
            "NOSPACE: compact, defragment and disarm (etcdctl); CORRUPT: restore a backup",
        )
    if store["healthy"]:
        return wrong(
            "store", "answers, but its changes are not heard", "look at the control plane's log"
        )
    return wrong(
        "store",
        f"away ({store['error'] or 'not healthy'})",
        "look at etcd: `etcdctl endpoint status`; machines that boot now wait",
    )


def judge_regions(regions: Iterable[Document], now: datetime) -> Iterator[Finding]:
    """Each data center: there, its services answering, something to install."""
    none = True
    for region in regions:
        none = False
        name = f"region {region['idc']}"
        heard = ago(region["last_heartbeat"], now) or "never"
        failing = {
            service: state
            for service, state in region["services"].items()
            if state not in ("ok", "off")
        }
        if not region["online"]:
            yield wrong(
                name,
                f"offline; heard of last: {heard}",
                f"start the regional client there: lpmos region --idc {region['idc']}",
            )
        elif failing:
            told = ", ".join(f"{service}: {plain(state)}" for service, state in failing.items())
            yield wrong(name, told, "look at the regional client's log; lpmos doctor --local there")
        elif not region["offered"]:
            yield warning(name, "online, and has no image to install", "lpmos image build debian")
        else:
            offers = sorted(f"{each['os_type']} {each['os_version']}" for each in region["offered"])
            yield ok(name, f"online; offers {', '.join(offers)}")
        if region["online"]:
            yield from _judge_region_clock(name, region["last_heartbeat"], now)
            for network in region.get("dhcp", ()):  # an older control plane tells of none
                yield from _judge_network(name, network)
            yield from judge_fetching(name, region.get("fetching"))
            for client in region.get("standby", ()):
                yield from judge_fetching(f"{name}, {client['identity']}", client.get("fetching"))
    if none:
        yield warning("regions", "none was ever heard of", "start one: lpmos region --idc …")


def _judge_region_clock(name: str, heard: str, now: datetime) -> Iterator[Finding]:
    """Whether a region's clock is wrong: its heartbeats have its own time, and come often."""
    age_s = (now - datetime.fromisoformat(heard)).total_seconds()
    if -CLOCK_DIFFERENCE_S <= age_s <= HEARTBEAT_OLDEST_S:
        return
    way = "behind" if age_s > 0 else "ahead of"
    yield wrong(
        name,
        f"its clock is {span(abs(age_s))} {way} this machine's",
        "let both take the time by NTP (timedatectl set-ntp true): deadlines and agents'"
        " identities depend on it",
    )


def _judge_network(name: str, network: Document) -> Iterator[Finding]:
    """Whether a network of a region has addresses left; a proxy gives none."""
    size, free = network["size"], network["size"] - network["leases"]
    if size and free <= size * FEW_ADDRESSES:
        where = plain(network["subnet"] or network["range"] or network["interface"])
        yield warning(
            name,
            f"{free} of {size} addresses of {where} are free",
            "give it a larger range or shorter leases, or serve known machines only"
            " (docs/how-to/dhcp.md)",
        )


def judge_fetching(name: str, fetching: Document | None) -> Iterator[Finding]:
    """Whether a region has the images of its control plane, or gets them; it may fetch none."""
    if not fetching:
        return
    errors = [fetching["error"], *(each["error"] for each in fetching["arriving"])]
    for error in dict.fromkeys(filter(None, errors)):
        text = f"cannot fetch images: {plain(error)}"
        yield warning(name, text, "it installs from what it has; docs/how-to/images.md")
    if fetching["own"]:
        names = plain(", ".join(fetching["own"]))
        text = f"put there by hand, and not the control plane's: {names}"
        yield warning(name, text, "delete them there to have them fetched")


def judge_versions(server: str, regions: Iterable[Document], here: str) -> Iterator[Finding]:
    """Whether all parts are of one version."""
    others = {"the control plane": server}
    others |= {f"region {each['idc']}": each["version"] for each in regions if each["version"]}
    different = {name: version for name, version in others.items() if version != here}
    if not different:
        yield ok("versions", f"all are {here}")
    for name, version in different.items():
        said = f"{name} is {plain(version)}, this is {here}"
        if _one_apart(version, here):
            yield warning("versions", said, "update the older")
        else:
            yield wrong("versions", f"{said}: more than one apart", "docs/how-to/upgrade.md")


def _one_apart(version: str, other: str) -> bool:
    """Whether parts of these versions may work together: 1.4 and 1.5 may, 1.4 and 1.6 not."""
    try:
        (major, minor), (its_major, its_minor) = (
            map(int, each.split(".")[:2]) for each in (version, other)
        )
    except ValueError:
        return False
    return major == its_major and abs(minor - its_minor) <= 1


def judge_unmatched(reports: Document) -> Finding:
    """Whether machines without a task pile up."""
    counts = ", ".join(f"{idc}: {count}" for idc, count in reports["counts"].items())
    if reports["alert"]:
        return warning(
            "unmatched", f"machines without a task: {counts}", "lpmos unmatched list; or a rule"
        )
    return ok("unmatched", counts or "no machine is without a task")


def judge_images(images: Iterable[Document]) -> Iterator[Finding]:
    """Whether the control plane's images are whole."""
    whole = 0
    for image in images:
        if image["error"]:
            name = plain(image["name"])
            yield wrong(
                f"image {name}", plain(image["error"]), f"lpmos image upload {name}, or delete it"
            )
        else:
            whole += 1
    if whole:
        yield ok("images", f"{whole} whole")


def judge_space(subject: str, total_bytes: int, free_bytes: int) -> Finding:
    """Whether a file system has room."""
    share = free_bytes / total_bytes if total_bytes else 0.0
    if share >= LITTLE_SPACE:
        return ok(subject, f"{share:.0%} free")
    return warning(subject, f"only {share:.0%} free", "make room before the store stops")


def judge_modes(modes: Mapping[str, int]) -> Iterator[Finding]:
    """Whether files that hold a secret are for their owner only; by path, as `st_mode`."""
    for path, mode in modes.items():
        if mode & 0o077:
            yield wrong(
                "key files", f"{path} can be read by others", f"chmod 600 {path}, and make it anew"
            )
        else:
            yield ok("key files", f"{path} is for its owner only")
