"""What a region fetches, removes and leaves, of what its source lists and what it holds.

The rule: what was put there by hand is never changed; a copy goes only when no list of the source
had it for a day, though these listed something, and no task that is known needs it. The agent never
goes: every machine boots it. Where anything is in doubt, what is there stays.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from lpmos.images.copies import Held
from lpmos.images.items import Item, Key, System

GONE_AFTER = timedelta(hours=24)
"""A source that was just installed again, or has half of its disks, lists little for a while."""


class Plan(NamedTuple):
    """`fetch` in this order; `wait` are copies that go later: after a day, and after their tasks.

    `missed` are those of them that no list had for the first time now; `back` were missed, and are
    listed again. `own` were put there by hand, and differ from what the source has under their
    names.
    """

    fetch: tuple[Item, ...] = ()
    remove: tuple[Held, ...] = ()
    wait: tuple[Held, ...] = ()
    missed: tuple[Held, ...] = ()
    back: tuple[Held, ...] = ()
    own: tuple[Key, ...] = ()


def plan(
    source: str,
    listed: Sequence[Item],
    doubtful: Collection[Key],
    held: Iterable[Held],
    needed: Collection[System] | None,
    *,
    now: datetime,
) -> Plan:
    """Decide.

    Args:
        source: the URL of who lists.
        listed: the items that can be fetched.
        doubtful: items that the source lists and cannot give, or that are not to be taken.
        held: what is there.
        needed: the systems of unfinished tasks; None where the tasks are not known.
        now: the time.
    """
    here = {each.key: each for each in held}
    own = {each.key for each in here.values() if each.source is None}
    fetch = [
        each
        for each in listed
        if each.key not in own and not _is_there(each, here.get(each.key), source)
    ]
    differing = [
        each.key for each in listed if each.key in own and here[each.key].digest != each.digest
    ]
    known = {each.key for each in listed} | set(doubtful)
    gone = [
        each
        for each in here.values()
        if known and each.source == source and each.key not in known and each.kind != "agent"
    ]
    removable = [
        each
        for each in gone
        if needed is not None and each.system not in needed and _is_long_gone(each, now)
    ]
    return Plan(
        fetch=tuple(sorted(fetch, key=lambda each: _rank(each, needed or ()))),
        remove=tuple(removable),
        wait=tuple(each for each in gone if each not in removable),
        missed=tuple(each for each in gone if each.missing_since is None),
        back=tuple(
            each
            for each in here.values()
            if each.source == source and each.key in known and each.missing_since is not None
        ),
        own=tuple(sorted(differing)),
    )


def _is_there(item: Item, held: Held | None, source: str) -> bool:
    return held is not None and held.whole and held.digest == item.digest and held.source == source


def _is_long_gone(held: Held, now: datetime) -> bool:
    return held.missing_since is not None and now - held.missing_since >= GONE_AFTER


def _rank(item: Item, needed: Collection[System]) -> tuple[bool, bool, int, Key]:
    """The agent first, then what tasks wait for, then the smallest."""
    return item.kind != "agent", item.system not in needed, item.size_bytes, item.key
