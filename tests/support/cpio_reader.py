"""Reads newc archives, written from the format's description and not from our writer."""

from typing import NamedTuple


class Member(NamedTuple):
    """One entry as the archive has it."""

    number: int
    mode: int
    owner: int
    group: int
    links: int
    mtime_s: int
    device: tuple[int, int]
    data: bytes


def read_newc(archive: bytes) -> dict[str, Member]:
    """Every entry up to the trailer, in order; a second entry of one name is an error."""
    members: dict[str, Member] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701", f"no header at {at}"
        values = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        number, mode, owner, group, links, mtime_s, size = values[:7]
        name_size = values[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        assert archive[at + 110 + name_size - 1] == 0, "the name has no end"
        start = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert set(archive[start:]) <= {0}, "something follows the trailer"
            return members
        assert name not in members, f"{name} twice"
        data = archive[start : start + size]
        device = (values[9], values[10])
        members[name] = Member(number, mode, owner, group, links, mtime_s, device, data)
        at = (start + size + 3) // 4 * 4
