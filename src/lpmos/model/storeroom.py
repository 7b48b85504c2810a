"""Whether the store has room, and what to do where it has not: the one judgement, as a function.

etcd takes no more writes beyond its quota (alarm NOSPACE) until it is compacted, defragmented and
the alarm is disarmed; the control planes compact, the rest is an operator's. Source: etcd's
maintenance guide.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

DEFAULT_QUOTA_BYTES = 2 << 30
"""etcd's, where `--quota-backend-bytes` is not given; before 3.6 it does not tell its own."""

FULL_SHARE = 0.8
DEFRAGMENT_FROM_BYTES = 256 << 20
_MIB = 1 << 20
_CURE = "`etcdctl defrag` on each member in turn, then `etcdctl alarm disarm`"


class Room(StrEnum):
    """How much room there is."""

    ENOUGH = "enough"
    LOOSE = "loose"
    FILLING = "filling"
    FULL = "full"


class Judgement(msgspec.Struct, frozen=True):
    """What is found, and in words what to do; None where nothing is to be done."""

    room: Room
    hint: str | None = None


def quota_of(backend: str, told_bytes: int | None) -> int | None:
    """Beyond what a store takes no writes: etcd's default where it tells none; None: no limit."""
    if backend != "etcd":
        return None
    return told_bytes or DEFAULT_QUOTA_BYTES


def judge_room(
    backend: str,
    *,
    size_bytes: int,
    in_use_bytes: int,
    quota_bytes: int | None,
    alarms: Sequence[str],
) -> Judgement:
    """How much room a store has by what it says of itself (`StoreStatus`)."""
    if any("NOSPACE" in alarm for alarm in alarms):
        cure = _CURE if backend == "etcd" else "make space on its disk"
        return Judgement(Room.FULL, f"the store is full and takes no writes: {cure}")
    quota = quota_of(backend, quota_bytes)
    if quota is None:
        return Judgement(Room.ENOUGH)
    free_bytes = size_bytes - in_use_bytes
    if size_bytes >= quota * FULL_SHARE:
        of = f"{size_bytes // _MIB} of {quota // _MIB} MiB"
        known = "" if quota_bytes else " (unless --quota-backend-bytes was raised)"
        defragment = in_use_bytes < quota * FULL_SHARE / 2
        do = "defragment it: `etcdctl defrag`" if defragment else "raise --quota-backend-bytes"
        return Judgement(Room.FILLING, f"the store has taken {of}{known}: {do}")
    if size_bytes >= DEFRAGMENT_FROM_BYTES and free_bytes > size_bytes / 2:
        text = f"{free_bytes // _MIB} of its {size_bytes // _MIB} MiB are free inside the store"
        return Judgement(Room.LOOSE, f"{text}: `etcdctl defrag` gives them back")
    return Judgement(Room.ENOUGH)
