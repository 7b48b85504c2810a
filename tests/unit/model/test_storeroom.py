"""Whether the store has room."""

from typing import Any

import pytest

from lpmos.model.storeroom import DEFAULT_QUOTA_BYTES, Room, judge_room

GIB = 1 << 30


def judge(backend: str = "etcd", **fields: Any) -> tuple[Room, str]:
    whole = {"size_bytes": 0, "in_use_bytes": 0, "quota_bytes": None, "alarms": (), **fields}
    judgement = judge_room(backend, **whole)
    return judgement.room, judgement.hint or ""


@pytest.mark.parametrize(
    ("fields", "room", "word"),
    [
        ({}, Room.ENOUGH, ""),
        ({"size_bytes": GIB, "in_use_bytes": GIB}, Room.ENOUGH, ""),
        ({"size_bytes": GIB, "in_use_bytes": GIB // 4}, Room.LOOSE, "768 of its 1024 MiB"),
        ({"size_bytes": GIB // 8, "in_use_bytes": 0}, Room.ENOUGH, ""),
        (
            {"size_bytes": DEFAULT_QUOTA_BYTES, "in_use_bytes": DEFAULT_QUOTA_BYTES},
            Room.FILLING,
            "unless",
        ),
        ({"size_bytes": 7 * GIB, "in_use_bytes": 7 * GIB, "quota_bytes": 8 * GIB},
         Room.FILLING, "raise"),
        ({"size_bytes": 7 * GIB, "in_use_bytes": GIB, "quota_bytes": 8 * GIB},
         Room.FILLING, "defragment"),
        ({"size_bytes": 4 * GIB, "in_use_bytes": 4 * GIB, "quota_bytes": 8 * GIB},
         Room.ENOUGH, ""),
        ({"alarms": ("memberID:1 alarm:NOSPACE",)}, Room.FULL, "alarm disarm"),
        ({"backend": "sqlite", "alarms": ("NOSPACE",)}, Room.FULL, "disk"),
        ({"backend": "sqlite", "size_bytes": 9 * GIB, "in_use_bytes": GIB}, Room.ENOUGH, ""),
    ],
)  # fmt: skip
def test_room_is_judged_and_said(fields: dict[str, Any], room: Room, word: str) -> None:
    found, hint = judge(**fields)
    assert found is room and word in hint
    assert bool(hint) is (room is not Room.ENOUGH)
